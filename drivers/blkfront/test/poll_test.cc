// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Queues that are polled, without events; and requests that are shown to the backend together, with
// one event (public/io/ring.h).
#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

// ---- batches ----

class Batching : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        backend->keys["multi-queue-max-queues"] = "2";
        connect();
        page = std::make_unique<Page>();
        backend->automatic = false;
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            sends += number == 32 && arguments[0] == 4;
            return std::optional<long>();
        });
    }

    uint32_t shown(unsigned queue = 0) { return backend->ring(queue).shared().req_prod; }

    void submit_some(unsigned count, bool last, uint16_t queue = 0)
    {
        for (unsigned i = 0; i < count; ++i)
            ASSERT_EQ(submit(BLKFRONT_READ, i, {page->segment()}, nullptr,
                             {.queue = queue, .last = last && i + 1 == count}),
                      0);
    }

    std::unique_ptr<Page> page;
    unsigned sends = 0;
};

TEST_F(Batching, OneEventForMany)
{
    submit_some(20, true);
    EXPECT_EQ(sends, 1u);
    EXPECT_EQ(shown(), 20u);
    EXPECT_EQ(statistics().notifications, 1u);
    backend->serve_queue(0);
    EXPECT_EQ(kernel.completions.size(), 20u);
}

TEST_F(Batching, NothingIsShownBeforeTheLast)
{
    submit_some(7, false);
    EXPECT_EQ(sends, 0u);
    EXPECT_EQ(shown(), 0u);
    EXPECT_EQ(blkfront_in_flight(disk), 7u);
    blkfront_commit(disk, 0, false);
    EXPECT_EQ(sends, 1u);
    EXPECT_EQ(shown(), 7u);
    blkfront_commit(disk, 0, false); // nothing new
    EXPECT_EQ(sends, 1u);
    backend->serve_queue(0);
    EXPECT_EQ(kernel.completions.size(), 7u);
}

TEST_F(Batching, EachQueueForItself)
{
    submit_some(3, false, 0);
    submit_some(4, false, 1);
    blkfront_commit(disk, 1, false);
    EXPECT_EQ(shown(0), 0u);
    EXPECT_EQ(shown(1), 4u);
    EXPECT_EQ(sends, 1u);
    submit_some(1, true, 0);
    EXPECT_EQ(shown(0), 4u);
    EXPECT_EQ(sends, 2u);
    backend->serve_queue(0);
    backend->serve_queue(1);
    EXPECT_EQ(kernel.completions.size(), 8u);
}

// One that is refused in the middle does not keep the others back.
TEST_F(Batching, TheLastIsRefused)
{
    submit_some(5, false);
    EXPECT_EQ(submit(BLKFRONT_READ, 5000, {page->segment()}), -EINVAL);
    blkfront_commit(disk, 0, false);
    EXPECT_EQ(shown(), 5u);
    submit_some(27, false);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page->segment()}), -EBUSY);
    blkfront_commit(disk, 0, false);
    EXPECT_EQ(shown(), 32u);
    backend->serve_queue(0);
    EXPECT_EQ(kernel.completions.size(), 32u);
}

// What was not committed when the disk goes away completes like the rest.
TEST_F(Batching, NeverCommitted)
{
    submit_some(5, false);
    sim::filter_hypercalls({});
    replace_backend();
    ASSERT_EQ(kernel.completions.size(), 5u);
    for (const auto &done : kernel.completions)
        EXPECT_EQ(done.result, BLKFRONT_INTERRUPTED);
    backend->automatic = true;
    expect_working();
    submit_some(5, false);
    detach();
    EXPECT_EQ(kernel.completions.size(), 11u);
}

// A backend that closes in good order still answers what was not committed.
TEST_F(Batching, CommittedWhenTheBackendCloses)
{
    submit_some(5, false);
    kernel.on_drain = [this] {
        backend->automatic = true;
        sim::run();
    };
    backend->set_state(5);
    pump();
    ASSERT_EQ(kernel.completions.size(), 5u);
    for (const auto &done : kernel.completions)
        EXPECT_EQ(done.result, BLKFRONT_DONE);
}

// A backend that has not seen the batch may not answer it.
TEST_F(Batching, Xsa376AnswerToWhatWasNotShown)
{
    submit_some(5, false);
    backend->publish_producer(1);
    sim::filter_hypercalls({});
    expect_broken("rsp_prod is 1");
}

// Indices wrap, whatever the sizes of the batches.
TEST_F(Batching, ManyTimesAroundTheRing)
{
    unsigned total = 0, expected_sends = 0;
    for (unsigned i = 0; i < 300; ++i) {
        const unsigned count = i % 32 + 1;
        submit_some(count, i % 2);
        if (i % 2 == 0)
            blkfront_commit(disk, 0, false);
        ++expected_sends;
        total += count;
        sim::step(); // the event
        backend->serve_queue(0);
        ASSERT_EQ(kernel.completions.size(), total);
    }
    EXPECT_EQ(sends, expected_sends);
    EXPECT_EQ(statistics().requests, total);
}

// ---- polled queues ----

class Polled : public BlkfrontTest {
protected:
    void connect_polled(const char *offered, uint16_t queues, uint16_t polled)
    {
        backend->keys["multi-queue-max-queues"] = offered;
        kernel.wishes.queues = queues;
        kernel.wishes.polled_queues = polled;
        connect();
    }

    static constexpr Options polled = {.polled = true};
};

TEST_F(Polled, NoEventsAndProgressAllTheSame)
{
    connect_polled("2", 1, 1);
    ASSERT_EQ(kernel.geometry.queues, 1u);
    ASSERT_EQ(kernel.geometry.polled_queues, 1u);
    expect_transport(2, 1);
    const auto before = statistics(1).events;
    for (unsigned i = 0; i < 500; ++i) {
        Page page;
        ASSERT_EQ(submit(BLKFRONT_READ, i, {page.segment()}, nullptr, polled), 0);
        EXPECT_EQ(blkfront_poll(disk, 0, true), 0u);
        sim::run();
        ASSERT_EQ(kernel.completions.size(), i) << "completed by an event";
        EXPECT_EQ(blkfront_poll(disk, 0, true), 1u);
        ASSERT_EQ(kernel.completions.size(), i + 1);
        EXPECT_EQ(std::memcmp(page.data, &backend->disk[i * 512], 4096), 0);
        EXPECT_EQ(blkfront_poll(disk, 0, true), 0u);
    }
    EXPECT_EQ(statistics(1).events, before);
    EXPECT_EQ(backend->taken(1), 500u);
    EXPECT_EQ(backend->taken(0), 0u);
    expect_working(); // the other one has events
    EXPECT_EQ(backend->taken(0), 1u);
}

// A queue with events can be polled, too: what one finds is gone for the other.
TEST_F(Polled, QueuesWithEvents)
{
    connect();
    backend->automatic = false;
    Page page;
    for (unsigned i = 0; i < 100; ++i) {
        ASSERT_EQ(submit(BLKFRONT_READ, i, {page.segment()}), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        backend->ring().put(backend->serve(request));
        const bool event = backend->ring().push();
        if (i % 3 == 0) {
            EXPECT_EQ(blkfront_poll(disk, 0, false), 1u);
        }
        if (event)
            backend->notify();
        ASSERT_EQ(kernel.completions.size(), i + 1);
    }
    EXPECT_EQ(sim::delayed_events(), 0u);
}

TEST_F(Polled, NumbersOfQueues)
{
    const struct {
        const char *offered;
        uint16_t queues, polled;
        unsigned total;
    } rows[] = {{"1", 1, 4, 1}, {"2", 4, 4, 2}, {"4", 1, 2, 3}, {"8", 2, 2, 4}, {"4", 3, 0, 3}};
    for (const auto &row : rows) {
        SCOPED_TRACE(std::string(row.offered) + " " + std::to_string(row.queues));
        backend->keys["multi-queue-max-queues"] = row.offered;
        kernel.wishes.queues = row.queues;
        kernel.wishes.polled_queues = row.polled;
        backend->set_state(1);
        replace_backend();
        const auto &agreed = kernel.geometry;
        EXPECT_GE(agreed.queues, 1u);
        EXPECT_LE(agreed.queues, row.queues);
        EXPECT_LE(agreed.polled_queues, row.polled);
        EXPECT_EQ(agreed.queues + agreed.polled_queues, row.total);
        EXPECT_EQ(backend->queues(), row.total);
        expect_transport(row.total, 1);
        expect_working();
        Page page;
        EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, polled), 0);
        sim::run();
        blkfront_poll(disk, 0, true);
        EXPECT_EQ(blkfront_in_flight(disk), 0u);
    }
}

// Without a polled queue such a request goes where events are.
TEST_F(Polled, ThereIsNone)
{
    connect_polled("1", 1, 2);
    EXPECT_EQ(kernel.geometry.polled_queues, 0u);
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}, polled), BLKFRONT_DONE);
    EXPECT_EQ(blkfront_poll(disk, 0, true), 0u);
}

// More responses than are taken in one go.
TEST_F(Polled, AWholeRing)
{
    backend->keys["max-ring-page-order"] = "3";
    connect_polled("2", 1, 1);
    Page page;
    unsigned submitted = 0;
    for (unsigned round = 0; round < 5; ++round) {
        while (submit(BLKFRONT_READ, 0, {page.segment(0, 0)}, nullptr, polled) == 0)
            ++submitted;
        sim::run();
        EXPECT_TRUE(round > 0 || submitted == kernel.geometry.requests);
        while (blkfront_poll(disk, 0, true) > 0) {
        }
        ASSERT_EQ(kernel.completions.size(), submitted);
    }
}

TEST_F(Polled, Xsa376ViolationsAreFound)
{
    connect_polled("2", 1, 1);
    backend->automatic = false;
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, polled), 0);
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    Request request;
    ASSERT_TRUE(backend->take(request, 1));
    Response response = backend->serve(request);
    response.id = 31;
    backend->respond(response, 1);
    EXPECT_TRUE(kernel.completions.empty());
    blkfront_poll(disk, 0, true);
    expect_broken("id is 31");
    EXPECT_EQ(kernel.completions.size(), 2u);
}

// Events on a polled queue's port are nobody's, however many.
TEST_F(Polled, Xsa391StormOnAPolledQueue)
{
    connect_polled("2", 1, 1);
    for (unsigned i = 0; i < 20'000; ++i) {
        backend->notify(1);
        sim::advance(100'000);
    }
    EXPECT_LE(sim::delayed_events(), 16u); // in 2 s
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, polled), 0);
    sim::run();
    EXPECT_EQ(blkfront_poll(disk, 0, true), 1u);
    EXPECT_EQ(kernel.completions.back().result, BLKFRONT_DONE);
}

// In any state of the disk.
TEST_F(Polled, AtAnyTime)
{
    EXPECT_EQ(blkfront_poll(disk, 0, true), 0u);
    blkfront_commit(disk, 3, true);
    connect_polled("2", 1, 1);
    Page page;
    backend->automatic = false;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}, nullptr, polled), 0);
    replace_backend();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(blkfront_poll(disk, 7, true), 0u);
    EXPECT_EQ(blkfront_poll(disk, 65535, false), 0u);
    blkfront *gone = disk;
    detach();
    EXPECT_EQ(blkfront_poll(gone, 0, true), 0u);
    blkfront_commit(gone, 0, false);
    blkfront_age(gone);
}

} // namespace
} // namespace blktest
