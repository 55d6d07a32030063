// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Several queues, each with a ring and an event channel of its own (public/io/blkif.h, "Multiple
// hardware queues/rings").
#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

class Queues : public BlkfrontTest {
protected:
    void offer(const std::optional<std::string> &queues)
    {
        backend->keys["multi-queue-max-queues"] = queues;
    }

    void connect_four()
    {
        offer("4");
        connect();
        ASSERT_EQ(backend->queues(), 4u);
    }

    std::vector<unsigned> taken() const
    {
        std::vector<unsigned> counts;
        for (unsigned i = 0; i < backend->queues(); ++i)
            counts.push_back(backend->taken(i));
        return counts;
    }
};

struct Numbers {
    std::optional<std::string> offered;
    unsigned wished, agreed;
};

void PrintTo(const Numbers &row, std::ostream *out)
{
    *out << row.offered.value_or("none") << "_of_" << row.wished;
}

class Number : public Queues, public ::testing::WithParamInterface<Numbers> {};

TEST_P(Number, IsTheSmallerOne)
{
    offer(GetParam().offered);
    kernel.wishes.queues = static_cast<uint16_t>(GetParam().wished);
    connect();
    EXPECT_EQ(kernel.geometry.queues, GetParam().agreed);
    EXPECT_EQ(kernel.geometry.polled_queues, 0u);
    EXPECT_EQ(backend->queues(), GetParam().agreed);
    expect_transport(GetParam().agreed, 1);
    EXPECT_EQ(sim::grants_in_force(), GetParam().agreed);
    for (uint16_t i = 0; i < GetParam().agreed; ++i) {
        Page page;
        EXPECT_EQ(request(BLKFRONT_READ, i, {page.segment()}, {.queue = i}), BLKFRONT_DONE);
        EXPECT_EQ(std::memcmp(page.data, &backend->disk[i * 512], 4096), 0);
        EXPECT_EQ(backend->taken(i), 1u);
    }
    blkfront_statistics statistics;
    EXPECT_FALSE(
        blkfront_queue_statistics(disk, static_cast<uint16_t>(GetParam().agreed), &statistics));
}

INSTANTIATE_TEST_SUITE_P(All, Number,
                         ::testing::Values(Numbers{{}, 4, 1}, Numbers{"1", 4, 1},
                                           Numbers{"2", 4, 2}, Numbers{"3", 4, 3},
                                           Numbers{"4", 4, 4}, Numbers{"8", 1, 1},
                                           Numbers{"8", 5, 5}, Numbers{"32", 32, 32},
                                           Numbers{"4294967295", 8, 8}),
                         [](const auto &info) { return testing::PrintToString(info.param); });

// A queue's requests are on its ring, whatever the order; a number beyond has some queue, too.
TEST_F(Queues, RequestsLandOnTheirRing)
{
    connect_four();
    std::vector<unsigned> expected(4);
    for (unsigned i = 0; i < 40; ++i) {
        const auto queue = static_cast<uint16_t>(i * i % 7 % 4);
        Page page;
        ASSERT_EQ(request(BLKFRONT_WRITE, i, {page.segment(0, 0)}, {.queue = queue}),
                  BLKFRONT_DONE);
        ++expected[queue];
        EXPECT_EQ(taken(), expected);
    }
    for (const uint16_t beyond : {4, 7, 31, 65535}) {
        Page page;
        EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}, {.queue = beyond}), BLKFRONT_DONE);
    }
    unsigned total = 0;
    for (const unsigned count : taken())
        total += count;
    EXPECT_EQ(total, 44u);
}

// Each has as many slots as if it were alone, and is full alone.
TEST_F(Queues, OneFullQueueIsNotTheOthers)
{
    connect_four();
    backend->automatic = false;
    Page page;
    for (unsigned i = 0; i < kernel.geometry.requests; ++i)
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, {.queue = 2}), 0) << i;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, {.queue = 2}), -EBUSY);
    for (const uint16_t queue : {0, 1, 3})
        EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, {.queue = queue}), 0);
    EXPECT_EQ(blkfront_in_flight(disk), kernel.geometry.requests + 3u);
    for (unsigned i = 0; i < 4; ++i)
        backend->serve_queue(i);
    EXPECT_EQ(kernel.completions.size(), kernel.geometry.requests + 3u);
    EXPECT_EQ(statistics(2).busy, 1u);
    EXPECT_EQ(statistics(0).busy, 0u);
}

// Answers come on the queue of the request, in any order of the queues.
TEST_F(Queues, AnswersOfEachQueue)
{
    connect_four();
    backend->automatic = false;
    Page pages[16];
    for (uint16_t i = 0; i < 16; ++i)
        ASSERT_EQ(submit(BLKFRONT_READ, i * 8, {pages[i].segment()}, &pages[i],
                         {.queue = static_cast<uint16_t>(i % 4)}),
                  0);
    for (const unsigned queue : {3, 0, 2, 1}) {
        const size_t before = kernel.completions.size();
        backend->serve_queue(queue);
        ASSERT_EQ(kernel.completions.size(), before + 4);
        for (size_t i = before; i < before + 4; ++i) {
            const auto *page = static_cast<Page *>(kernel.completions[i].cookie);
            EXPECT_EQ(static_cast<unsigned>(page - pages) % 4, queue);
            EXPECT_EQ(std::memcmp(page->data, &backend->disk[(page - pages) * 4096], 4096), 0);
        }
    }
    for (uint16_t i = 0; i < 4; ++i) {
        EXPECT_EQ(statistics(i).requests, 4u);
        EXPECT_EQ(statistics(i).in_flight, 0u);
    }
}

// An event channel is one queue's.
TEST_F(Queues, EventsAreTheQueuesOwn)
{
    connect_four();
    backend->automatic = false;
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, {.queue = 1}), 0);
    Request request;
    ASSERT_TRUE(backend->take(request, 1));
    backend->ring(1).put(backend->serve(request));
    (void)backend->ring(1).push();
    for (const unsigned other : {0, 2, 3})
        backend->notify(other);
    EXPECT_TRUE(kernel.completions.empty());
    backend->notify(1);
    EXPECT_EQ(kernel.completions.size(), 1u);
}

// Fewer queues, segments and pages of rings than before: what is too large now is refused, and
// nothing of the old connection is in xenstore.
TEST_F(Queues, FewerThanBefore)
{
    offer("4");
    backend->keys["max-ring-page-order"] = "2";
    backend->keys["feature-max-indirect-segments"] = "64";
    connect();
    expect_transport(4, 4);
    Buffer large(40);
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, large.segments(), {.queue = 3}), BLKFRONT_DONE);

    backend->automatic = false;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, large.segments(), &large, {.queue = 3}), 0);
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, large.segments(), &large, {.queue = 0}), 0);
    offer("2");
    backend->keys["max-ring-page-order"] = {};
    backend->keys["feature-max-indirect-segments"] = "20";
    replace_backend();
    ASSERT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(kernel.completions[1].result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.completions[2].result, BLKFRONT_INTERRUPTED);
    expect_transport(2, 1);
    EXPECT_EQ(kernel.geometry.queues, 2u);
    EXPECT_EQ(kernel.geometry.segments, 20u);
    EXPECT_EQ(submit(BLKFRONT_WRITE, 0, large.segments(), &large, {.queue = 3}), -E2BIG);
    Buffer smaller(20);
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, smaller.segments(), {.queue = 3}), BLKFRONT_DONE);

    offer({});
    backend->keys["feature-max-indirect-segments"] = {};
    replace_backend();
    expect_transport(1, 1);
    EXPECT_EQ(submit(BLKFRONT_WRITE, 0, smaller.segments()), -E2BIG);
    expect_working();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 1u);

    offer("3");
    replace_backend();
    expect_transport(3, 1);
    expect_working();
}

// ---- one queue of a hostile backend ----

class HostileQueue : public Queues {
protected:
    void SetUp() override
    {
        Queues::SetUp();
        connect_four();
        backend->automatic = false;
        for (uint16_t i = 0; i < 4; ++i) {
            ASSERT_EQ(
                submit(BLKFRONT_READ, 0, {page_.emplace_back().segment()}, nullptr, {.queue = i}),
                0);
            ASSERT_TRUE(backend->take(requests[i], i));
        }
    }

    // All that was in flight failed, whatever its queue, and the disk works again later.
    void expect_all_broken(const std::string &line)
    {
        expect_broken(line);
        ASSERT_EQ(kernel.completions.size(), 4u);
        for (const auto &done : kernel.completions)
            EXPECT_EQ(done.result, BLKFRONT_ERROR);
        replace_backend();
        EXPECT_EQ(backend->queues(), 4u);
        for (uint16_t i = 0; i < 4; ++i) {
            Page page;
            EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}, {.queue = i}), BLKFRONT_DONE);
        }
    }

    Request requests[4];

private:
    std::deque<Page> page_;
};

TEST_F(HostileQueue, Xsa376ProducerOfTheSecondRunsOver)
{
    backend->publish_producer(2, 1);
    expect_all_broken("rsp_prod is 2");
}

TEST_F(HostileQueue, Xsa376ProducerOfTheLastGoesBack)
{
    backend->publish_producer(UINT32_MAX, 3);
    expect_all_broken("rsp_prod is 4294967295");
}

TEST_F(HostileQueue, Cve202672380IdOfTheThird)
{
    Response response = backend->serve(requests[2]);
    response.id = UINT64_MAX;
    backend->respond(response, 2);
    expect_all_broken("id is 18446744073709551615");
}

// A request is in flight on its own queue alone.
TEST_F(HostileQueue, Xsa376AnswerOnAnotherQueue)
{
    const Response response = backend->serve(requests[0]);
    backend->respond(backend->serve(requests[1]), 1);
    ASSERT_EQ(kernel.completions.size(), 1u);
    kernel.completions.clear();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}, nullptr, {.queue = 1}), 0);
    backend->respond(response, 1); // a read's, where a write is in flight
    expect_all_broken(" is ");
}

TEST_F(HostileQueue, Xsa376TwoQueuesAtOnceAreOneViolation)
{
    backend->publish_producer(100, 0);
    backend->publish_producer(200, 3);
    backend->publish_producer(300, 1);
    expect_all_broken("rsp_prod is 100");
}

TEST_F(HostileQueue, Xsa391StormOnOneQueueLeavesTheOthersAlone)
{
    for (unsigned i = 0; i < 20'000; ++i) {
        backend->notify(2);
        sim::advance(100'000);
    }
    const unsigned delayed = sim::delayed_events();
    EXPECT_GT(delayed, 0u);
    EXPECT_LE(delayed, 16u); // in 2 s
    for (const unsigned other : {0, 1, 3})
        backend->respond(backend->serve(requests[other]), other);
    EXPECT_EQ(kernel.completions.size(), 3u);
    backend->respond(backend->serve(requests[2]), 2);
    sim::advance(1'100'000'000);
    EXPECT_EQ(kernel.completions.size(), 4u);
}

// Detached while each queue has something in flight.
TEST_F(HostileQueue, DetachEndsAllQueues)
{
    backend->follow_states = false;
    detach();
    EXPECT_EQ(kernel.completions.size(), 4u);
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

} // namespace
} // namespace blktest
