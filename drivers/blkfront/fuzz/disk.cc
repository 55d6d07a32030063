// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The steps of disk.hpp.
#include "disk.hpp"

#include <xen/grant.hpp>

namespace blkfuzz {

using namespace blktest;

void Disk::begin()
{
    sectors = 64; // to be made anew for each input
    SetUp();
    backend->automatic = backend->follow_states = false;
    for (unsigned i = 0; i < page_count; ++i)
        pages_.push_back(std::make_unique<Page>());
    kernel.on_complete = [this](const Kernel::Completion &done) { completed(done); };
    kernel.on_ready = [this] {
        const blkfront_geometry &disk = kernel.geometry;
        const uint32_t size = disk.sector_size;
        EXPECT_TRUE(size == 512 || size == 1024 || size == 2048 || size == 4096);
        EXPECT_GE(disk.physical_sector_size, size);
        EXPECT_LT(disk.sectors, uint64_t{1} << 54);
        EXPECT_EQ(disk.sectors % (size / 512), 0u);
    };
}

void Disk::completed(const Kernel::Completion &completion)
{
    EXPECT_EQ(outstanding_.erase(reinterpret_cast<uintptr_t>(completion.cookie)), 1u)
        << "completed twice";
}

void Disk::vanish()
{
    race_.disarm();
    taken_.clear();
    held_.clear();
    backend->vanish();
}

// The backend dies, and an honest one with the same disk takes its place.
void Disk::heal()
{
    sim::fail_page_alloc(UINT_MAX);
    sim::store::fail_commits(0);
    vanish();
    blkfront_retry_held(disk);
    pump();
    kernel.in_use = false;
    blkfront_users_left(disk);
    sim::store::write(backend_dir + "/online", "1");
    sim::store::remove(backend_dir + "/physical-sector-size");
    backend->set_state(1);
    backend->follow_states = backend->automatic = true;
    pump();
    backend->start();
    pump();
    EXPECT_EQ(backend->frontend_state(), 4u);
    EXPECT_TRUE(outstanding_.empty()) << "a request was forgotten";
    kernel.on_complete = {};
    expect_working();
}

void Disk::end()
{
    pump();
    heal();
    detach();
    pages_.clear();
    TearDown();
}

void Disk::submit(fuzz::Script &script)
{
    constexpr blkfront_operation operations[] = {BLKFRONT_READ, BLKFRONT_WRITE, BLKFRONT_FLUSH};
    const auto operation = operations[script.below(3)];
    std::vector<blkfront_segment> segments;
    if (operation != BLKFRONT_FLUSH) {
        const unsigned count = script.below(BLKFRONT_MAX_SEGMENTS + 2);
        for (unsigned i = 0; i < count; ++i) {
            const uint8_t part = script.byte();
            segments.push_back(pages_[script.below(page_count)]->segment(part & 15, part >> 4));
        }
    }
    const uint64_t sector = script.near(8);
    const uintptr_t cookie = ++cookies_;
    outstanding_.insert(cookie); // it may complete at once
    if (BlkfrontTest::submit(operation, sector, segments, reinterpret_cast<void *>(cookie)) != 0) {
        EXPECT_EQ(outstanding_.erase(cookie), 1u) << "refused, and completed";
    }
}

namespace {

// The backend of the tests trusts requests; scripts write into them.
bool well_formed(const Request &request, uint64_t sectors)
{
    if (request.segment_count > xen::blk::max_segments || request.sector > sectors)
        return false;
    for (unsigned i = 0; i < request.segment_count; ++i) {
        const auto &segment = request.segments[i];
        if (segment.first_sector > segment.last_sector || segment.last_sector > 7)
            return false;
    }
    return true;
}

} // namespace

void Disk::take()
{
    Request request;
    if (backend->ring_page() && taken_.size() < 64 && backend->take(request) &&
        well_formed(request, sectors))
        taken_.push_back(request);
}

Request *Disk::taken(fuzz::Script &script)
{
    const uint8_t which = script.byte();
    return taken_.empty() ? nullptr : &taken_[which % taken_.size()];
}

void Disk::answer(fuzz::Script &script)
{
    const Request *request = taken(script);
    if (!request || !backend->ring_page())
        return;
    const Response response = backend->serve(*request);
    taken_.erase(taken_.begin() + (request - taken_.data()));
    backend->respond(response);
}

void Disk::lie(fuzz::Script &script)
{
    const Request *request = taken(script);
    if (!backend->ring_page())
        return;
    Response response = request ? backend->serve(*request) : Response{};
    const uint8_t fields = script.byte();
    if (fields & 1)
        response.id = script.near(response.id);
    if (fields & 2)
        response.operation = script.byte();
    if (fields & 4)
        response.status = static_cast<int16_t>(script.near(0));
    backend->ring().put(response);
    if (!(fields & 8) && backend->ring().push())
        backend->notify();
}

void Disk::scribble(fuzz::Script &script)
{
    if (!backend->ring_page())
        return;
    uint8_t *slot = backend->ring().slot(script.byte());
    const unsigned size = script.below(sizeof(Response) + 1);
    for (unsigned i = 0; i < size; ++i)
        slot[i] = script.byte();
}

void Disk::set_index(fuzz::Script &script)
{
    if (!backend->ring_page())
        return;
    xen::RingHeader &header = backend->ring().shared();
    uint32_t *const indices[] = {&header.rsp_prod, &header.req_event, &header.rsp_event,
                                 &header.req_prod};
    uint32_t &index = *indices[script.below(4)];
    index = static_cast<uint32_t>(script.near(index));
    backend->notify();
}

void Disk::race(fuzz::Script &script)
{
    if (backend->ring_page())
        race_.arm(const_cast<uint8_t *>(backend->ring_page()), script);
}

void Disk::set_state(fuzz::Script &script) { backend->set_state(script.below(10)); }

void Disk::follow()
{
    sim::run();
    switch (backend->frontend_state()) {
    case 1:
        backend->set_state(2);
        break;
    case 3:
        vanish();
        if (backend->attach())
            backend->set_state(4);
        break;
    case 5:
        backend->set_state(5);
        break;
    case 6:
        vanish();
        backend->set_state(6);
        break;
    default:
        break;
    }
    pump();
}

void Disk::write_key(fuzz::Script &script)
{
    static const char *const keys[] = {
        "sectors",         "sector-size",          "info",
        "online",          "physical-sector-size", "feature-flush-cache",
        "state",           "feature-barrier",      "feature-persistent",
        "feature-discard", "max-ring-page-order",  "multi-queue-max-queues",
    };
    const std::string path = backend_dir + "/" + keys[script.below(std::size(keys))];
    const uint8_t kind = script.byte();
    if (kind < 32)
        sim::store::remove(path);
    else if (kind < 64)
        backend->publish_keys();
    else
        sim::store::write(path, script.text());
}

void Disk::hold(fuzz::Script &script)
{
    const Request *request = taken(script);
    if (!request || held_.size() >= 8)
        return;
    const auto &segment = request->segments[script.below(xen::blk::max_segments)];
    if (uint8_t *page = backend->peer().map(segment.grant, request->operation == 0))
        held_.push_back(page);
}

void Disk::let_go() { vanish(); }

void Disk::control(fuzz::Script &script)
{
    switch (script.below(6)) {
    case 0:
        pump();
        break;
    case 1:
        blkfront_retry_held(disk);
        break;
    case 2:
        kernel.in_use = true;
        break;
    case 3:
        kernel.in_use = false;
        blkfront_users_left(disk);
        break;
    case 4:
        backend->notify();
        break;
    case 5:
        sim::advance(1'000'000'000);
        break;
    }
}

void Disk::trouble(fuzz::Script &script)
{
    if (script.byte() & 1)
        sim::fail_page_alloc(script.below(4));
    else
        sim::store::fail_commits(script.below(4));
}

} // namespace blkfuzz
