// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel and the fixture of frontend.hpp.
#include "frontend.hpp"

#include <cstring>
#include <set>

#include <xen/grant.hpp>

namespace blktest {

namespace {
Kernel &kernel_of(void *owner) { return *static_cast<Kernel *>(owner); }

std::vector<void *> pages; // of the running test
} // namespace

extern "C" {

void blkfront_port_complete(void *owner, void *cookie, blkfront_result result)
{
    Kernel &kernel = kernel_of(owner);
    EXPECT_FALSE(kernel.detached);
    kernel.completions.push_back({cookie, result});
    if (kernel.on_complete)
        kernel.on_complete(kernel.completions.back());
}

void blkfront_port_ready(void *owner, const blkfront_geometry *geometry)
{
    Kernel &kernel = kernel_of(owner);
    EXPECT_FALSE(kernel.detached);
    kernel.geometry = *geometry;
    kernel.barred = false;
    ++kernel.ready;
    if (kernel.on_ready)
        kernel.on_ready();
}

void blkfront_port_pause(void *owner, bool drain)
{
    Kernel &kernel = kernel_of(owner);
    EXPECT_FALSE(kernel.detached);
    ++kernel.paused;
    kernel.drained += drain;
    if (drain && kernel.on_drain)
        kernel.on_drain();
}

void blkfront_port_failed(void *owner)
{
    Kernel &kernel = kernel_of(owner);
    EXPECT_FALSE(kernel.detached);
    kernel.barred = false;
    ++kernel.failed;
}

bool blkfront_port_bar_users(void *owner)
{
    Kernel &kernel = kernel_of(owner);
    kernel.barred = !kernel.in_use;
    return kernel.barred;
}

void blkfront_port_wishes(void *owner, blkfront_wishes *wishes)
{
    EXPECT_FALSE(kernel_of(owner).detached);
    *wishes = kernel_of(owner).wishes;
}

void blkfront_port_wake(void *owner)
{
    EXPECT_FALSE(kernel_of(owner).detached);
    kernel_of(owner).wake = true;
}

void blkfront_port_wake_later(void *owner)
{
    EXPECT_FALSE(kernel_of(owner).detached);
    kernel_of(owner).wake_later = true;
}

} // extern "C"

Page::Page() : data(static_cast<uint8_t *>(xen_port_page_alloc())) { pages.push_back(data); }

blkfront_segment Page::segment(unsigned first, unsigned last) const
{
    return {xen_port_frame(data), static_cast<uint8_t>(first), static_cast<uint8_t>(last), data};
}

void BlkfrontTest::SetUp()
{
    sim::boot(16);
    grants_before = xen::free_grants();
    pages_before = sim::pages_in_use();
    create_disk();
}

void BlkfrontTest::TearDown()
{
    sim::filter_hypercalls({}); // which names the test's variables
    end();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(xen::free_grants(), grants_before);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    free_pages();
    EXPECT_EQ(sim::pages_in_use(), pages_before);
    MachineTest::TearDown();
}

void free_pages()
{
    for (void *page : std::exchange(pages, {}))
        xen_port_page_free(page);
}

DiskRig::DiskRig(unsigned number)
    : number_(number), node_("device/vbd/" + std::to_string(number)),
      backend_dir_("/local/domain/0/backend/vbd/5/" + std::to_string(number))
{
}

void DiskRig::create_disk()
{
    using namespace sim;
    const std::string frontend_dir = guest_home + "/" + node_;
    store::write(frontend_dir + "/backend", backend_dir_);
    store::write(frontend_dir + "/backend-id", "0");
    store::write(frontend_dir + "/virtual-device", std::to_string(number_));
    store::write(frontend_dir + "/state", "1");
    store::write(backend_dir_ + "/frontend", frontend_dir);
    store::write(backend_dir_ + "/online", "1");
    store::write(backend_dir_ + "/state", "1");
    backend_ = std::make_unique<Backend>(sectors, number_);
    backend = backend_.get();
    storage_.assign((blkfront_object_size() + 7) / 8, 0);
    disk = reinterpret_cast<blkfront *>(storage_.data());
    watch_ =
        store::watch(backend_dir_ + "/state", [this](const std::string &) { written_ = true; });
    blkfront_init(disk, &kernel, node_.c_str(), backend_dir_.c_str(), 0, number_);
}

void DiskRig::end()
{
    // The test's variables, which these name, are gone.
    kernel.on_ready = kernel.on_drain = {};
    kernel.on_complete = {};
    backend->change = {};
    backend->refuse = {};
    if (disk)
        detach();
    backend_.reset();
    sim::store::unwatch(watch_);
}

bool DiskRig::turn()
{
    bool busy = false;
    const auto state = xen::read_state(backend_dir_.c_str());
    const bool again = std::exchange(written_, false) && state == xen::XenbusState::connected;
    if (!any_delivered_ || state != delivered_ || again) {
        any_delivered_ = busy = true;
        delivered_ = state;
        blkfront_backend_changed(disk, static_cast<unsigned>(state));
    }
    if (kernel.wake) {
        kernel.wake = false;
        busy = true;
        blkfront_work(disk);
    }
    return busy;
}

void DiskRig::pump()
{
    do
        sim::run();
    while (turn());
}

void DiskRig::later()
{
    kernel.wake |= std::exchange(kernel.wake_later, false);
    pump();
}

void DiskRig::restart_backend()
{
    backend->set_state(1);
    pump();
    backend->start();
    pump();
}

void DiskRig::replace_backend()
{
    backend->vanish();
    blkfront_retry_held(disk);
    backend->automatic = backend->follow_states = true;
    restart_backend();
    EXPECT_EQ(backend->frontend_state(), 4u);
}

void DiskRig::connect()
{
    backend->start();
    pump();
    ASSERT_EQ(kernel.ready, 1u);
    ASSERT_EQ(backend->frontend_state(), 4u);
}

void DiskRig::detach()
{
    blkfront_detach(disk);
    kernel.detached = true;
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    disk = nullptr;
    sim::run();
}

int DiskRig::submit(blkfront_operation operation, uint64_t sector,
                    const std::vector<blkfront_segment> &segments, void *cookie,
                    const Options &options)
{
    struct Listed {
        blkfront_request request;
        const blkfront_segment *next, *end;
    } listed{{}, segments.data(), segments.data() + segments.size()};
    blkfront_request &request = listed.request;
    request.operation = operation;
    request.polled = options.polled;
    request.last = options.last;
    request.queue = options.queue;
    request.segment_count = static_cast<uint16_t>(segments.size());
    request.sector = sector;
    request.sectors = options.sectors;
    request.next_segment = [](blkfront_request *request, blkfront_segment *segment) {
        // SAFETY: the first member.
        auto *listed = reinterpret_cast<Listed *>(request);
        ASSERT_NE(listed->next, listed->end) << "asked for too many segments";
        *segment = *listed->next++;
    };
    request.cookie = cookie;
    return blkfront_submit(disk, &request);
}

blkfront_result DiskRig::request(blkfront_operation operation, uint64_t sector,
                                 const std::vector<blkfront_segment> &segments,
                                 const Options &options)
{
    const size_t before = kernel.completions.size();
    int cookie = 0;
    EXPECT_EQ(submit(operation, sector, segments, &cookie, options), 0);
    sim::run();
    EXPECT_EQ(kernel.completions.size(), before + 1);
    if (kernel.completions.size() != before + 1)
        return BLKFRONT_INTERRUPTED;
    EXPECT_EQ(kernel.completions.back().cookie, &cookie);
    return kernel.completions.back().result;
}

blkfront_statistics DiskRig::statistics(uint16_t queue) const
{
    blkfront_statistics statistics{};
    EXPECT_TRUE(blkfront_queue_statistics(disk, queue, &statistics));
    return statistics;
}

void DiskRig::expect_working()
{
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 8, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(std::memcmp(page.data, &backend->disk[8 * 512], 4096), 0);
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
}

void DiskRig::expect_transport(unsigned queues, unsigned ring_pages) const
{
    const std::string dir = sim::guest_home + "/" + node_;
    std::set<std::string> expected, found;
    const auto expect_ring = [&](const std::string &prefix) {
        expected.insert(prefix + "event-channel");
        for (unsigned i = 0; i < ring_pages; ++i)
            expected.insert(prefix + "ring-ref" + (ring_pages > 1 ? std::to_string(i) : ""));
    };
    for (unsigned i = 0; queues > 1 && i < queues; ++i)
        expect_ring("queue-" + std::to_string(i) + "/");
    if (queues == 1)
        expect_ring("");
    const auto is_ring = [](const std::string &key) {
        return key.starts_with("ring-ref") || key == "event-channel";
    };
    for (const auto &key : sim::store::list(dir)) {
        if (is_ring(key))
            found.insert(key);
        else if (key.starts_with("queue-"))
            for (const auto &below : sim::store::list(dir + "/" + key))
                found.insert(key + "/" + below);
    }
    EXPECT_EQ(found, expected);
    const auto expect_number = [&](const char *key, unsigned number, bool needed) {
        const auto text = sim::store::read(dir + "/" + key);
        if (text || needed) {
            EXPECT_EQ(text.value_or("absent"), std::to_string(number)) << key;
        }
    };
    expect_number("multi-queue-num-queues", queues, queues > 1);
    expect_number("num-ring-pages", ring_pages, ring_pages > 1);
    expect_number("ring-page-order", static_cast<unsigned>(__builtin_ctz(ring_pages)),
                  ring_pages > 1);
}

void DiskRig::expect_broken(const std::string &line)
{
    pump();
    const auto &lines = sim::complaints();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_NE(lines[0].find(line), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find(node_), std::string::npos) << lines[0];
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    EXPECT_GE(kernel.failed, 1u);
    const unsigned state = backend->frontend_state();
    EXPECT_TRUE(state == 5 || state == 6) << state;
    Page page;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EIO);
    // As soon as the backend lets go, nothing is granted any more.
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

} // namespace blktest
