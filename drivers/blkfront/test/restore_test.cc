// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A disk whose domain is suspended and restored: nothing of the old connection counts, nothing is
// lost, and the next one may be to a backend that offers something else.
#include <cerrno>

#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

class Restore : public BlkfrontTest {
protected:
    // What was before is another domain's.
    void restore()
    {
        backend->vanish();
        sim::restore();
        backend->automatic = backend->follow_states = true;
        sim::store::write(frontend_dir + "/state", "1");
        sim::store::write(backend_dir + "/state", "1");
        blkfront_restored(disk, backend_dir.c_str(), 0);
        EXPECT_EQ(blkfront_in_flight(disk), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
        for (const auto &completion : kernel.completions)
            EXPECT_EQ(completion.result, BLKFRONT_INTERRUPTED);
        pump();
        backend->start();
        pump();
    }
    // The backend has a request's page mapped, and is gone.
    void hold_request(Page &page)
    {
        kernel.wishes.persistent_grants = false;
        backend->automatic = false;
        connect();
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
        sim::run();
        Request request;
        ASSERT_TRUE(backend->take(request));
        ASSERT_NE(backend->peer().map(request.segments[0].grant), nullptr);
        sim::store::write(backend_dir + "/state", "6");
        pump();
    }
    void expect_restored(unsigned ready)
    {
        EXPECT_EQ(backend->frontend_state(), 4u);
        EXPECT_EQ(kernel.ready, ready);
        expect_working();
        EXPECT_TRUE(sim::complaints().empty());
    }
};

TEST_F(Restore, Idle)
{
    connect();
    restore();
    EXPECT_EQ(kernel.paused, 1u);
    EXPECT_EQ(kernel.drained, 0u);
    expect_restored(2);
}

TEST_F(Restore, RequestsInFlightAreInterrupted)
{
    backend->automatic = false;
    connect();
    Page pages[3];
    int cookies[3];
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {pages[0].segment()}, &cookies[0]), 0);
    ASSERT_EQ(submit(BLKFRONT_WRITE, 8, {pages[1].segment()}, &cookies[1]), 0);
    ASSERT_EQ(submit(BLKFRONT_FLUSH, 0, {}, &cookies[2]), 0);
    restore();
    EXPECT_EQ(kernel.completions.size(), 3u);
    expect_restored(2);
}

// What was done and not heard of is done again.
TEST_F(Restore, ResponsesThatWereNotSeenAreNotTaken)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
    sim::run();
    Request request;
    ASSERT_TRUE(backend->take(request));
    const unsigned long flags = xen_port_irq_save();
    backend->respond(backend->serve(request));
    xen_port_irq_restore(flags);
    kernel.completions.clear();
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
    restore();
    EXPECT_EQ(kernel.completions.size(), 1u);
    expect_restored(2);
}

TEST_F(Restore, BeforeAnythingWasAgreed)
{
    restore();
    expect_restored(1);
}

TEST_F(Restore, WhileABackendHasTheOffer)
{
    backend->follow_states = false;
    backend->start();
    pump();
    ASSERT_EQ(backend->frontend_state(), 3u);
    restore();
    expect_restored(1);
}

// A disk that its backend broke, or that is full of requests which it held on to, is whole again.
TEST_F(Restore, BrokenDisksHeal)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    backend->publish_producer(77);
    backend->notify();
    pump();
    ASSERT_EQ(kernel.failed, 1u);
    kernel.completions.clear();
    restore();
    EXPECT_EQ(kernel.ready, 2u);
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

TEST_F(Restore, HeldRequestsComeBack)
{
    Page page;
    hold_request(page);
    EXPECT_EQ(kernel.completions.size(), 0u);
    EXPECT_EQ(blkfront_in_flight(disk), 1u);
    restore();
    EXPECT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

// Nobody knows which backend it has yet: the one of before is not gone on with, though what kept it
// from that is over.
TEST_F(Restore, WaitsUntilItsBackendIsKnown)
{
    Page page;
    hold_request(page);
    sim::store::write(backend_dir + "/state", "2");
    pump();
    ASSERT_EQ(blkfront_in_flight(disk), 1u);
    backend->vanish();
    sim::restore();
    const unsigned requests = sim::store::requests();
    blkfront_restored(disk, "", 0x7ff4);
    blkfront_work(disk);
    blkfront_expire(disk, BLKFRONT_ERROR);
    blkfront_work(disk);
    EXPECT_EQ(sim::store::requests(), requests);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EAGAIN);
    restore();
    EXPECT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.failed, 0u);
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

TEST_F(Restore, RemovedRightAfterwards)
{
    connect();
    backend->automatic = false;
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
    backend->vanish();
    sim::restore();
    blkfront_restored(disk, backend_dir.c_str(), 0);
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    detach();
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

// The other host's backend can do less.
TEST_F(Restore, AnotherAgreement)
{
    const auto offer = [&](const std::map<std::string, std::optional<std::string>> &offers) {
        for (const auto &[key, value] : offers)
            backend->keys[key] = value;
    };
    offer({{"feature-persistent", "1"},
           {"feature-max-indirect-segments", "64"},
           {"max-ring-page-order", "2"},
           {"multi-queue-max-queues", "4"}});
    connect();
    EXPECT_EQ(kernel.geometry.segments, 64u);
    EXPECT_EQ(kernel.geometry.queues, 4u);
    offer({{"feature-persistent", {}},
           {"feature-max-indirect-segments", {}},
           {"max-ring-page-order", {}},
           {"multi-queue-max-queues", {}}});
    restore();
    EXPECT_EQ(kernel.geometry.segments, 11u);
    EXPECT_EQ(kernel.geometry.queues, 1u);
    EXPECT_EQ(kernel.geometry.ring_pages, 1u);
    EXPECT_FALSE(kernel.geometry.persistent_grants);
    expect_restored(2);
}

TEST_F(Restore, AgainAndAgain)
{
    connect();
    const unsigned pages = sim::pages_in_use();
    const unsigned grants = xen::free_grants();
    for (unsigned round = 0; round < 50; ++round) {
        Page page;
        backend->automatic = false;
        ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
        restore();
        ASSERT_EQ(kernel.completions.size(), 1u);
        kernel.completions.clear();
        expect_restored(round + 2);
        kernel.completions.clear();
        EXPECT_EQ(xen::free_grants(), grants);
    }
    EXPECT_EQ(sim::pages_in_use(), pages + 100);
}

} // namespace
} // namespace blktest
