// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The backend of backend.hpp in xenstore: its keys and states, and how it gets at the rings.
#include "backend.hpp"

#include <sim/access.hpp>

namespace blktest {

using namespace sim;

Backend::Backend(uint64_t sectors, unsigned number)
    : disk(sectors * 512), backend_dir_("/local/domain/0/backend/vbd/5/" + std::to_string(number)),
      frontend_dir_(guest_home + "/device/vbd/" + std::to_string(number))
{
    keys["sectors"] = std::to_string(sectors);
    keys["sector-size"] = "512";
    keys["info"] = "0";
    keys["feature-flush-cache"] = "1";
    peer_.emplace();
    for (size_t i = 0; i < disk.size(); ++i)
        disk[i] = static_cast<uint8_t>(i / 512 * 7 + i);
    watch_ =
        store::watch(frontend_dir_ + "/state", [this](const std::string &) { frontend_changed(); });
}

Backend::~Backend() { store::unwatch(watch_); }

static void publish(const std::string &path, const std::optional<std::string> &value)
{
    if (value)
        store::write(path, *value);
    else
        store::remove(path);
}

void Backend::start()
{
    for (const auto &[key, value] : keys)
        if (publish_early || key.starts_with("max-ring-") || key.starts_with("multi-queue-"))
            publish(backend_dir_ + "/" + key, value);
    set_state(2);
}

void Backend::publish_keys()
{
    for (const auto &[key, value] : keys)
        publish(backend_dir_ + "/" + key, value);
}

void Backend::republish()
{
    publish_keys();
    set_state(4);
}

void Backend::resize(uint64_t sectors)
{
    disk.resize(sectors * 512, 0x3c);
    std::erase_if(uncached_, [&](const auto &entry) { return entry.first >= sectors; });
    keys["sectors"] = std::to_string(sectors);
    republish();
}

void Backend::set_state(unsigned state)
{
    store::write(backend_dir_ + "/state", std::to_string(state));
}

// What is no number is 0.
static uint64_t number(const std::optional<std::string> &text, uint64_t fallback = 0)
{
    return text ? std::strtoull(text->c_str(), nullptr, 10) : fallback;
}

static unsigned number_at(const std::string &path, unsigned fallback = 0)
{
    return static_cast<unsigned>(number(store::read(path), fallback));
}

uint64_t Backend::offer(const char *key, uint64_t fallback) const
{
    const auto it = keys.find(key);
    return it == keys.end() ? fallback : number(it->second, fallback);
}

unsigned Backend::state() const { return number_at(backend_dir_ + "/state"); }
unsigned Backend::frontend_state() const { return number_at(frontend_dir_ + "/state"); }

// A backend that knows one of the two schemes of multi-page rings looks at the keys of that alone.
bool Backend::attach()
{
    EXPECT_EQ(store::read(frontend_dir_ + "/protocol"), "x86_64-abi");
    unsigned pages = 1;
    bool one_page = true; // and said by neither scheme
    if (keys.contains("max-ring-page-order") && keys["max-ring-page-order"]) {
        if (const auto order = store::read(frontend_dir_ + "/ring-page-order")) {
            pages = 1u << (number(order) & 31);
            one_page = pages == 1;
        }
    } else if (keys.contains("max-ring-pages") && keys["max-ring-pages"]) {
        pages = number_at(frontend_dir_ + "/num-ring-pages", 1);
        one_page = pages == 1;
    }
    const unsigned count = number_at(frontend_dir_ + "/multi-queue-num-queues", 1);
    if (pages == 0 || pages > 256 || count == 0 || count > 256)
        return false;
    persistent_ =
        offers("feature-persistent") && number_at(frontend_dir_ + "/feature-persistent") == 1;
    ++connections;
    queues_.clear();
    for (unsigned i = 0; i < count; ++i) {
        const auto dir = count == 1 ? frontend_dir_ : frontend_dir_ + "/queue-" + std::to_string(i);
        if (!attach_queue(dir, one_page, pages))
            return false;
    }
    return true;
}

bool Backend::attach_queue(const std::string &dir, bool one_page, unsigned pages)
{
    std::vector<uint32_t> references;
    for (unsigned i = 0; i < pages; ++i) {
        const auto key = one_page ? "/ring-ref" : "/ring-ref" + std::to_string(i);
        references.push_back(number_at(dir + key));
        declare(references.back(), 0, 4096);
    }
    const size_t index = queues_.size();
    Queue &queue = queues_.emplace_back();
    queue.page = peer_->map_all(references);
    if (!queue.page) {
        queues_.pop_back();
        return false;
    }
    for (unsigned i = 0; i < pages; ++i)
        guard(queue.page + i * 4096);
    queue.pages = pages;
    queue.ring = Ring(queue.page, pages * 4096);
    queue.port = peer_->bind(number_at(dir + "/event-channel"),
                             [this, index] { event(static_cast<unsigned>(index)); });
    return queue.port != 0;
}

void Backend::vanish()
{
    kept_by_grant_.clear();
    kept_.clear();
    queues_.clear();
    peer_.emplace(); // the old one unmaps and closes everything
}

void Backend::frontend_changed()
{
    if (on_frontend_state)
        on_frontend_state(frontend_state());
    if (!follow_states)
        return;
    switch (frontend_state()) {
    case 1:
        if (state() == 6 && number_at(backend_dir_ + "/online") == 1)
            start();
        break;
    case 3:
        if (state() == 2) {
            ASSERT_TRUE(attach());
            publish_keys();
            set_state(4);
        }
        break;
    case 5:
        set_state(5);
        break;
    case 6:
        if (state() != 6) {
            vanish();
            set_state(6);
        }
        break;
    default:
        break;
    }
}

const uint8_t *Backend::ring_page(unsigned queue) const
{
    return queue < queues_.size() ? queues_[queue].page : nullptr;
}

} // namespace blktest
