// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Grants and memory that run out: a request waits, it never fails. And the counters of each queue.
#include <random>

#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

class Pressure : public BlkfrontTest {
protected:
    // Leaves so many grants to everybody.
    void leave(unsigned grants)
    {
        ASSERT_GE(xen::free_grants(), grants);
        ASSERT_TRUE(others.reserve(xen::free_grants() - grants).ok());
    }

    void TearDown() override
    {
        others.release();
        BlkfrontTest::TearDown();
    }

    // Fills the disk with requests until one is refused, which has to say that it is only for now;
    // they all work later.
    unsigned expect_backpressure(unsigned segments)
    {
        const size_t before = kernel.completions.size();
        backend->automatic = false;
        Buffer buffer(segments);
        unsigned requests = 0;
        int result;
        while ((result = submit(BLKFRONT_READ, 0, buffer.segments())) == 0)
            ++requests;
        EXPECT_EQ(result, -EBUSY);
        EXPECT_GT(requests, 0u);
        backend->automatic = true;
        backend->serve_queue(0);
        EXPECT_EQ(kernel.completions.size(), before + requests);
        for (const auto &done : kernel.completions)
            EXPECT_EQ(done.result, BLKFRONT_DONE);
        EXPECT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0) << "it did wait in vain";
        sim::run();
        return requests;
    }

    xen::GrantPool others;
};

// In each way that data can go.
TEST_F(Pressure, LargestRequests)
{
    backend->disk.resize(4096 * 512);
    backend->keys["sectors"] = "4096";
    backend->keys["feature-max-indirect-segments"] = "512";
    backend->keys["max-ring-page-order"] = "3"; // more requests than pages for their lists
    for (const char *mode : {"granted", "bounced", "persistent"}) {
        SCOPED_TRACE(mode);
        kernel.wishes.trusted = std::string(mode) != "bounced";
        backend->keys["feature-persistent"] = std::string(mode) == "persistent" ? "1" : "0";
        replace_backend();
        EXPECT_GE(kernel.geometry.segments, 256u);
        for (const unsigned segments : {unsigned{kernel.geometry.segments}, 12u, 11u, 1u})
            expect_backpressure(segments);
        EXPECT_TRUE(sim::complaints().empty());
    }
}

// After it connected the others take every grant that there is: what was reserved is enough.
TEST_F(Pressure, OthersTakeAllGrantsLater)
{
    backend->keys["feature-max-indirect-segments"] = "128";
    for (const char *persistent : {"0", "1"}) {
        SCOPED_TRACE(persistent);
        backend->keys["feature-persistent"] = persistent;
        others.release();
        replace_backend();
        leave(0);
        for (const unsigned segments : {128u, 11u, 1u})
            expect_backpressure(segments);
        EXPECT_EQ(xen::free_grants(), 0u);
    }
}

// With few grants left at first the disk is smaller, not dead; with none it is refused, with a
// line.
TEST_F(Pressure, FewGrantsAtFirst)
{
    backend->keys["feature-max-indirect-segments"] = "512";
    backend->keys["max-ring-page-order"] = "4";
    backend->keys["multi-queue-max-queues"] = "4";
    unsigned connected = 0;
    for (const unsigned grants : {0u, 1u, 2u, 12u, 20u, 50u, 100u, 400u, 2000u}) {
        SCOPED_TRACE(grants);
        leave(grants);
        const unsigned before = kernel.ready + kernel.failed;
        restart_backend();
        EXPECT_GT(kernel.ready + kernel.failed, before);
        if (backend->frontend_state() == 4) {
            ++connected;
            EXPECT_GE(kernel.geometry.segments, 11u);
            expect_backpressure(kernel.geometry.segments);
            expect_backpressure(1);
        }
        backend->vanish();
        backend->set_state(1);
        pump();
        others.release();
    }
    EXPECT_GE(connected, 3u);
    replace_backend();
    expect_working();
}

// Refused requests are tried again in the completions of others, as a kernel does: all get there.
TEST_F(Pressure, EverythingGetsThereInTheEnd)
{
    backend->keys["feature-max-indirect-segments"] = "256";
    leave(900);
    connect();
    Buffer buffers[12] = {Buffer(1),  Buffer(11),  Buffer(12), Buffer(60), Buffer(100), Buffer(3),
                          Buffer(11), Buffer(100), Buffer(2),  Buffer(64), Buffer(1),   Buffer(12)};
    std::deque<Buffer *> waiting;
    unsigned left = 600, refused = 0;
    const auto start = [&] {
        while (!waiting.empty()) {
            Buffer *next = waiting.front();
            const int result = submit(BLKFRONT_READ, 0, next->segments(), next);
            if (result == -EBUSY) {
                ++refused;
                return;
            }
            ASSERT_EQ(result, 0);
            waiting.pop_front();
        }
    };
    kernel.on_complete = [&](const Kernel::Completion &done) {
        EXPECT_EQ(done.result, BLKFRONT_DONE);
        if (left > 0 && left-- > 0)
            waiting.push_back(static_cast<Buffer *>(done.cookie));
        start();
    };
    for (Buffer &buffer : buffers)
        waiting.push_back(&buffer);
    start();
    sim::run();
    EXPECT_EQ(left, 0u);
    EXPECT_TRUE(waiting.empty());
    EXPECT_GT(refused, 0u) << "or this shows nothing";
    EXPECT_EQ(kernel.completions.size(), 612u);
    EXPECT_EQ(statistics().busy, refused);
}

// ---- counters ----

class Counters : public BlkfrontTest {};

TEST_F(Counters, RequestsAndErrors)
{
    connect();
    Page page;
    for (unsigned i = 0; i < 5; ++i)
        request(BLKFRONT_READ, 0, {page.segment()});
    backend->change = [](Response &response) { response.status = status_error; };
    for (unsigned i = 0; i < 3; ++i)
        request(BLKFRONT_WRITE, 0, {page.segment()});
    backend->change = [](Response &response) { response.status = status_not_supported; };
    request(BLKFRONT_FLUSH, 0, {});
    EXPECT_EQ(submit(BLKFRONT_READ, 5000, {page.segment()}), -EINVAL); // was none
    const auto counts = statistics();
    EXPECT_EQ(counts.requests, 9u);
    EXPECT_EQ(counts.errors, 4u);
    EXPECT_EQ(counts.busy, 0u);
    EXPECT_EQ(counts.notifications, 9u);
    EXPECT_EQ(counts.events, 9u);
    EXPECT_EQ(counts.in_flight, 0u);
    EXPECT_EQ(counts.held, 0u);
    EXPECT_EQ(counts.persistent, 0u);
}

// Since blkfront_init(), whatever becomes of the connection. What was interrupted is no error.
TEST_F(Counters, StayWhenTheBackendReturns)
{
    connect();
    expect_working();
    backend->automatic = false;
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    EXPECT_EQ(statistics().in_flight, 1u);
    replace_backend();
    expect_working();
    EXPECT_EQ(statistics().requests, 3u);
    EXPECT_EQ(statistics().errors, 0u);
    EXPECT_EQ(statistics().in_flight, 0u);
}

// Those that were done, in buckets of powers of two microseconds.
TEST_F(Counters, Latency)
{
    connect();
    backend->automatic = false;
    const struct {
        uint64_t nanoseconds;
        unsigned bucket;
    } rows[] = {{0, 0},
                {999, 0},
                {1'000, 1},
                {1'999, 1},
                {2'000, 2},
                {3'999, 2},
                {4'000, 3},
                {1'023'999, 10},
                {1'024'000, 11},
                {1'000'000'000, 20},
                {3'000'000'000'000, 31},
                {UINT64_C(1) << 52, 31}};
    uint64_t expected[BLKFRONT_LATENCY_BUCKETS] = {};
    Page page;
    for (const auto &row : rows) {
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        sim::advance(row.nanoseconds);
        backend->respond(backend->serve(request));
        ++expected[row.bucket];
        EXPECT_EQ(statistics().latency_max_ns, row.nanoseconds);
    }
    for (unsigned i = 0; i < BLKFRONT_LATENCY_BUCKETS; ++i)
        EXPECT_EQ(statistics().latency[i], expected[i]) << i;
    EXPECT_EQ(statistics().requests, std::size(rows));

    // One that fails is not among them.
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    backend->change = [](Response &response) { response.status = status_error; };
    backend->serve_queue(0);
    EXPECT_EQ(statistics().latency[0], expected[0]);
}

TEST_F(Counters, OfQueuesThatThereAreNot)
{
    blkfront_statistics counts;
    backend->keys["multi-queue-max-queues"] = "3";
    connect();
    EXPECT_TRUE(blkfront_queue_statistics(disk, 2, &counts));
    EXPECT_FALSE(blkfront_queue_statistics(disk, 3, &counts));
    EXPECT_FALSE(blkfront_queue_statistics(disk, BLKFRONT_MAX_QUEUES, &counts));
    EXPECT_FALSE(blkfront_queue_statistics(disk, UINT16_MAX, &counts));
}

} // namespace
} // namespace blktest
