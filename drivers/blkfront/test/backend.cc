// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The backend of backend.hpp.
#include "backend.hpp"

#include <cstring>

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

void Backend::start() { set_state(2); }

void Backend::set_state(unsigned state)
{
    store::write(backend_dir_ + "/state", std::to_string(state));
}

static unsigned number(const std::string &path)
{
    auto text = store::read(path);
    return text ? static_cast<unsigned>(std::stoul(*text)) : 0;
}

unsigned Backend::state() const { return number(backend_dir_ + "/state"); }
unsigned Backend::frontend_state() const { return number(frontend_dir_ + "/state"); }

bool Backend::attach()
{
    EXPECT_EQ(store::read(frontend_dir_ + "/protocol"), "x86_64-abi");
    page_ = peer_->map(number(frontend_dir_ + "/ring-ref"));
    if (!page_)
        return false;
    sim::guard(page_);
    sim::declare(number(frontend_dir_ + "/ring-ref"), 0, 4096);
    ring_ = Ring(page_, 4096);
    port_ = peer_->bind(number(frontend_dir_ + "/event-channel"), [this] { serve_all(); });
    return port_ != 0;
}

void Backend::publish_keys()
{
    for (const auto &[key, value] : keys)
        if (value)
            store::write(backend_dir_ + "/" + key, *value);
        else
            store::remove(backend_dir_ + "/" + key);
}

void Backend::vanish()
{
    peer_.emplace(); // the old one unmaps and closes everything
    page_ = nullptr;
    port_ = 0;
}

void Backend::frontend_changed()
{
    if (on_frontend_state)
        on_frontend_state(frontend_state());
    if (!follow_states)
        return;
    switch (frontend_state()) {
    case 1:
        if (state() == 6 && number(backend_dir_ + "/online") == 1)
            set_state(2);
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

void Backend::serve_all()
{
    if (on_event)
        on_event();
    Request request;
    do {
        while (automatic && page_ && take(request))
            respond(serve(request));
    } while (automatic && page_ && ring_.final_check());
}

bool Backend::take(Request &request) { return ring_.get(request); }

bool Backend::transfer(const Request &request)
{
    uint64_t at = request.sector * 512;
    for (unsigned i = 0; i < request.segment_count; ++i) {
        const auto &segment = request.segments[i];
        const unsigned offset = segment.first_sector * 512u;
        const unsigned length = (segment.last_sector - segment.first_sector + 1u) * 512;
        if (at + length > disk.size())
            return false;
        sim::declare(segment.grant, offset, length);
        const bool write = request.operation == 1;
        if (write ? !peer_->read(segment.grant, offset, &disk[at], length)
                  : !peer_->write(segment.grant, offset, &disk[at], length))
            return false;
        at += length;
    }
    return true;
}

Response Backend::serve(const Request &request)
{
    Response response{};
    response.id = request.id;
    response.operation = request.operation;
    if (request.operation == 3)
        ++flushes;
    else if (request.operation > 1 || !transfer(request))
        response.status = -1;
    if (change)
        change(response);
    return response;
}

void Backend::respond(const Response &response)
{
    ring_.put(response);
    if (ring_.push())
        notify();
}

void Backend::publish_producer(uint32_t rsp_prod)
{
    xen::store_shared(ring_.shared().rsp_prod, rsp_prod);
    notify();
}

} // namespace blktest
