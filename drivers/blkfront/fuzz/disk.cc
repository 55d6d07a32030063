// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The steps of disk.hpp.
#include "disk.hpp"

#include <xen/grant.hpp>

namespace blkfuzz {

using namespace blktest;

namespace {

// Beside the states and "online".
const char *const keys[] = {
    "sectors",
    "sector-size",
    "info",
    "physical-sector-size",
    "feature-flush-cache",
    "feature-barrier",
    "feature-persistent",
    "feature-discard",
    "discard-granularity",
    "discard-alignment",
    "discard-secure",
    "feature-max-indirect-segments",
    "max-ring-page-order",
    "max-ring-pages",
    "multi-queue-max-queues",
};

} // namespace

// The first byte says what both sides can do.
void Disk::begin(fuzz::Script &script)
{
    sectors = 64; // to be made anew for each input
    SetUp();
    backend->automatic = backend->follow_states = false;
    const uint8_t features = script.byte();
    kernel.wishes.polled_queues = features & 1;
    const std::pair<const char *, const char *> offers[] = {
        {"feature-persistent", "1"},  {"multi-queue-max-queues", "3"},
        {"max-ring-page-order", "1"}, {"feature-max-indirect-segments", "32"},
        {"feature-discard", "1"},     {"feature-barrier", "1"},
    };
    for (unsigned i = 0; i < std::size(offers); ++i)
        if (features >> (i + 1) & 1)
            backend->keys[offers[i].first] = offers[i].second;
    if (features & 0x80)
        sim::store::write(frontend_dir + "/trusted", "0");
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
        EXPECT_TRUE(disk.discard_granularity % size == 0 && disk.discard_alignment % size == 0);
        EXPECT_GE(disk.queues, 1u);
        EXPECT_LE(disk.queues + disk.polled_queues, BLKFRONT_MAX_QUEUES);
        EXPECT_GE(disk.segments, 11u);
        EXPECT_LE(disk.segments, BLKFRONT_MAX_SEGMENTS);
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
    blkfront_work(disk);
    sim::store::write(backend_dir + "/online", "1");
    for (const char *key : keys)
        sim::store::remove(backend_dir + "/" + key);
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
    constexpr blkfront_operation operations[] = {BLKFRONT_READ, BLKFRONT_WRITE, BLKFRONT_FLUSH,
                                                 BLKFRONT_DISCARD, BLKFRONT_SECURE_DISCARD};
    const auto operation = operations[script.below(5)];
    std::vector<blkfront_segment> segments;
    Options options;
    const uint8_t how = script.byte();
    options.queue = how & 7;
    options.polled = how & 8;
    options.last = !(how & 16);
    if (operation != BLKFRONT_READ && operation != BLKFRONT_WRITE) {
        options.sectors = script.near(8);
    } else {
        const unsigned count = script.below(36);
        for (unsigned i = 0; i < count; ++i) {
            const uint8_t part = script.byte();
            segments.push_back(pages_[script.below(page_count)]->segment(part & 15, part >> 4));
        }
    }
    const uint64_t sector = script.near(8);
    const uintptr_t cookie = ++cookies_;
    outstanding_.insert(cookie); // it may complete at once
    if (BlkfrontTest::submit(operation, sector, segments, reinterpret_cast<void *>(cookie),
                             options) != 0) {
        EXPECT_EQ(outstanding_.erase(cookie), 1u) << "refused, and completed";
    }
}

void Disk::take(fuzz::Script &script)
{
    const unsigned queue = script.below(4);
    Request request;
    if (taken_.size() < 64 && backend->take(request, queue))
        taken_.push_back({request, queue});
}

Disk::Taken *Disk::taken(fuzz::Script &script)
{
    const uint8_t which = script.byte();
    return taken_.empty() ? nullptr : &taken_[which % taken_.size()];
}

void Disk::answer(fuzz::Script &script)
{
    const Taken *taken = this->taken(script);
    if (!taken)
        return;
    const Response response = backend->serve(taken->request);
    const unsigned queue = taken->queue;
    taken_.erase(taken_.begin() + (taken - taken_.data()));
    backend->respond(response, queue);
}

void Disk::lie(fuzz::Script &script)
{
    const Taken *taken = this->taken(script);
    const unsigned queue = taken ? taken->queue : 0;
    if (backend->queues() == 0)
        return;
    Response response = taken ? backend->serve(taken->request) : Response{};
    const uint8_t fields = script.byte();
    if (fields & 1)
        response.id = script.near(response.id);
    if (fields & 2)
        response.operation = script.byte();
    if (fields & 4)
        response.status = static_cast<int16_t>(script.near(0));
    backend->ring(queue).put(response);
    if (!(fields & 8) && backend->ring(queue).push())
        backend->notify(queue);
}

void Disk::scribble(fuzz::Script &script)
{
    if (backend->queues() == 0)
        return;
    uint8_t *slot = backend->ring(script.byte() % backend->queues()).slot(script.byte());
    const unsigned size = script.below(sizeof(Response) + 1);
    for (unsigned i = 0; i < size; ++i)
        slot[i] = script.byte();
}

void Disk::set_index(fuzz::Script &script)
{
    if (backend->queues() == 0)
        return;
    const unsigned queue = script.byte() % backend->queues();
    xen::RingHeader &header = backend->ring(queue).shared();
    uint32_t *const indices[] = {&header.rsp_prod, &header.req_event, &header.rsp_event,
                                 &header.req_prod};
    uint32_t &index = *indices[script.below(4)];
    index = static_cast<uint32_t>(script.near(index));
    backend->notify(queue);
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
    const unsigned which = script.below(std::size(keys) + 2);
    const std::string path = backend_dir + "/" +
                             (which < std::size(keys)    ? keys[which]
                              : which == std::size(keys) ? "online"
                                                         : "state");
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
    const Taken *taken = this->taken(script);
    if (!taken || held_.size() >= 8)
        return;
    const Request &request = taken->request;
    const uint32_t grant = request.operation == op_indirect
                               ? request.as<Indirect>().grants[0]
                               : request.segments[script.below(direct_segments)].grant;
    if (uint8_t *page = backend->peer().map(grant, request.operation == op_read))
        held_.push_back(page);
}

void Disk::let_go() { vanish(); }

void Disk::control(fuzz::Script &script)
{
    switch (script.below(12)) {
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
        blkfront_work(disk);
        break;
    case 4:
        backend->republish();
        break;
    case 5:
        sim::advance(1'000'000'000);
        break;
    case 6:
        blkfront_commit(disk, script.byte(), script.byte() & 1);
        break;
    case 7:
        blkfront_poll(disk, script.byte(), script.byte() & 1);
        break;
    case 8:
        blkfront_age(disk);
        break;
    case 9:
        blkfront_expire(disk, script.byte() & 1 ? BLKFRONT_ERROR : BLKFRONT_INTERRUPTED);
        break;
    case 10:
        backend->let_go(script.below(4));
        break;
    case 11:
        if (backend->queues() > 0)
            backend->notify(script.byte() % backend->queues());
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
