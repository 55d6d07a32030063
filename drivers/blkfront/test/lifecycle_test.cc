// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Closing, reconnecting and detaching; backends that restart or vanish in any state.
#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

class Lifecycle : public BlkfrontTest {
protected:
    // The backend maps the page of a read, and goes to a state of closing without letting go of it.
    void close_with(Page &page, unsigned state)
    {
        backend->automatic = false;
        connect();
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        ASSERT_NE(backend->peer().map(request.segments[0].grant), nullptr);
        backend->follow_states = false;
        backend->set_state(state);
        pump();
    }
};

// As "xl block-detach": the toolstack takes the backend offline and asks it to close.
TEST_F(Lifecycle, ToolstackDetaches)
{
    connect();
    sim::store::write(backend_dir + "/online", "0");
    backend->set_state(5);
    pump();
    EXPECT_EQ(backend->frontend_state(), 6u);
    EXPECT_EQ(backend->state(), 6u);
    EXPECT_EQ(kernel.drained, 1u);
    Page page;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EAGAIN);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Lifecycle, DetachWaitsForTheLastUser)
{
    connect();
    kernel.in_use = true;
    sim::store::write(backend_dir + "/online", "0");
    backend->set_state(5);
    pump();
    EXPECT_EQ(backend->frontend_state(), 5u);
    expect_working();
    blkfront_work(disk); // of no consequence
    EXPECT_EQ(kernel.paused, 0u);
    kernel.in_use = false;
    blkfront_work(disk);
    EXPECT_TRUE(kernel.barred);
    pump();
    EXPECT_EQ(backend->frontend_state(), 6u);
    EXPECT_EQ(backend->state(), 6u);
}

TEST_F(Lifecycle, UsersLeavingIsNoReasonToClose)
{
    connect();
    blkfront_work(disk);
    pump();
    EXPECT_FALSE(kernel.barred);
    EXPECT_EQ(backend->frontend_state(), 4u);
    EXPECT_EQ(kernel.paused, 0u);
    expect_working();
}

TEST_F(Lifecycle, RequestsInFlightFinishBeforeClosing)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    kernel.on_drain = [&] {
        EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EAGAIN);
        Request request;
        ASSERT_TRUE(backend->take(request));
        backend->respond(backend->serve(request));
    };
    backend->set_state(5);
    pump();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_DONE);
}

// A backend that closes and stays (online): the frontend comes back when it does.
TEST_F(Lifecycle, BackendRestartsInGoodOrder)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
    backend->set_state(5); // and never answers
    pump();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.ready, 2u);
    EXPECT_EQ(backend->frontend_state(), 4u);
    backend->automatic = true;
    expect_working();
    EXPECT_TRUE(sim::complaints().empty());
}

// As Linux's does while it still works for an earlier connection.
TEST_F(Lifecycle, BackendThatRefusesIsNotAskedAgainAtOnce)
{
    backend->follow_states = false;
    unsigned offers = 0;
    backend->on_frontend_state = [&](unsigned state) {
        if (state == 1)
            backend->set_state(2);
        else if (state == 3 && ++offers < 100)
            backend->set_state(5);
        else if (state == 6)
            backend->set_state(6);
    };
    backend->start();
    pump();
    EXPECT_EQ(offers, 1u);
    pump();
    EXPECT_EQ(offers, 1u);
    later();
    EXPECT_EQ(offers, 2u);

    backend->on_frontend_state = {};
    backend->follow_states = true;
    later();
    EXPECT_EQ(kernel.ready, 1u);
    expect_working();
}

// ... without asking whether the disk is in use: it does not go away.
TEST_F(Lifecycle, BackendRestartsUnderAUser)
{
    connect();
    kernel.in_use = true;
    backend->set_state(5);
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
}

// One that crashed: its successor begins at the beginning.
TEST_F(Lifecycle, BackendRestartsWithoutAWord)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), 0);
    backend->vanish();
    backend->start();
    pump();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.drained, 0u); // nobody would answer
    EXPECT_EQ(kernel.ready, 2u);
    backend->automatic = true;
    expect_working();
    EXPECT_TRUE(sim::complaints().empty());
}

// One that starts again takes the ring of a Connected frontend as it is, at once. It has to hear
// that the ring is gone, and close, before there is another one.
TEST_F(Lifecycle, BackendTakesTheOldRing)
{
    connect();
    backend->vanish();
    backend->follow_states = false;
    backend->start();
    pump();
    EXPECT_EQ(backend->frontend_state(), 6u);
    backend->set_state(4);
    pump();
    EXPECT_EQ(backend->frontend_state(), 6u);
    EXPECT_EQ(kernel.ready, 1u);
    backend->follow_states = true;
    backend->set_state(6);
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
}

// A page that is still mapped when this side closes is no violation: the backend is about to close.
TEST_F(Lifecycle, PageIsLetGoWhileClosing)
{
    Page page;
    ASSERT_NO_FATAL_FAILURE(close_with(page, 5));
    EXPECT_EQ(backend->frontend_state(), 6u);
    EXPECT_TRUE(kernel.completions.empty());
    backend->vanish();
    backend->follow_states = true;
    backend->set_state(6);
    pump();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.ready, 2u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Lifecycle, ReconnectHundredTimes)
{
    connect();
    const unsigned pages_connected = sim::pages_in_use();
    for (unsigned i = 0; i < 100; ++i) {
        backend->vanish();
        backend->set_state(1 + i % 2);
        pump();
        ASSERT_EQ(kernel.ready, 2 + i);
        expect_working();
    }
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), pages_connected + 100); // buffers of the test
}

TEST_F(Lifecycle, OtherCapacityAfterReconnect)
{
    connect();
    backend->vanish();
    backend->keys["sectors"] = "1024";
    backend->keys["feature-flush-cache"] = "0";
    backend->start();
    pump();
    EXPECT_EQ(kernel.geometry.sectors, 1024u);
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
    Page page;
    EXPECT_EQ(submit(BLKFRONT_READ, 1024, {page.segment()}), -EINVAL);
}

TEST_F(Lifecycle, OtherSectorSizeAfterReconnectIsRefused)
{
    connect();
    kernel.in_use = true;
    backend->vanish();
    backend->keys["sector-size"] = "4096";
    backend->start();
    expect_broken("sector-size changed to 4096");
    EXPECT_EQ(kernel.ready, 1u);
}

// Broken is not for ever, but the frontend does not come back by itself.
TEST_F(Lifecycle, BrokenStaysUntilTheBackendStartsAgain)
{
    backend->keys["sectors"] = "many";
    backend->start();
    expect_broken("sectors is \"many\"");
    EXPECT_EQ(backend->state(), 6u);
    pump();
    EXPECT_EQ(backend->frontend_state(), 6u);
    backend->keys["sectors"] = "2048";
    backend->start();
    pump();
    EXPECT_EQ(kernel.ready, 1u);
    expect_working();
}

// A backend that closes while it has a page: no new ring, and no page back, before it lets go.
TEST_F(Lifecycle, BackendClosesAndKeepsAPage)
{
    Page page;
    ASSERT_NO_FATAL_FAILURE(close_with(page, 6));
    EXPECT_TRUE(kernel.completions.empty());
    EXPECT_EQ(backend->frontend_state(), 6u);
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find("mapped requests are 1"), std::string::npos);
    blkfront_retry_held(disk);
    pump();
    EXPECT_TRUE(kernel.completions.empty());

    backend->vanish();
    backend->follow_states = true;
    blkfront_retry_held(disk);
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
    pump();
    EXPECT_EQ(kernel.ready, 2u);
}

// In every state of the backend, with a request in flight where there can be one, the backend falls
// silent or its directory goes; detaching ends everything, now.
class Vanish : public BlkfrontTest,
               public ::testing::WithParamInterface<std::tuple<unsigned, bool>> {
protected:
    void reach(unsigned state)
    {
        backend->automatic = false;
        if (state >= 2 && state != 3)
            backend->follow_states = state != 2;
        if (state == 3) {
            backend->follow_states = false;
            backend->set_state(3);
            pump();
            return;
        }
        if (state >= 2)
            backend->start();
        pump();
        if (state < 4)
            return;
        ASSERT_EQ(kernel.ready, 1u);
        page.emplace();
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {page->segment()}), 0);
        if (state > 4) {
            backend->follow_states = false;
            backend->set_state(state);
            pump();
        }
    }
    std::optional<Page> page;
};

TEST_P(Vanish, DetachEndsEverything)
{
    const auto [state, remove] = GetParam();
    reach(state);
    backend->follow_states = false;
    if (remove) {
        backend->vanish();
        sim::store::remove(backend_dir);
    }
    pump();
    const uint64_t before = sim::now();
    detach();
    EXPECT_LT(sim::now() - before, 1000000000u);
    if (state >= 4) {
        ASSERT_EQ(kernel.completions.size(), 1u);
        EXPECT_NE(kernel.completions[0].result, BLKFRONT_DONE);
    }
    if (remove) {
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
    }
    EXPECT_TRUE(sim::complaints().empty());
}

INSTANTIATE_TEST_SUITE_P(All, Vanish,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 5, 6), ::testing::Bool()),
                         [](const auto &info) {
                             return "State" + std::to_string(std::get<0>(info.param)) +
                                    (std::get<1>(info.param) ? "DirectoryGoes" : "Silently");
                         });

// The backend's directory goes and comes back, with another instance behind it.
TEST_F(Lifecycle, DirectoryComesBack)
{
    connect();
    backend->vanish();
    sim::store::remove(backend_dir);
    pump();
    EXPECT_EQ(backend->frontend_state(), 4u); // waits
    sim::store::write(backend_dir + "/online", "1");
    backend->start();
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
}

TEST_F(Lifecycle, DetachDoesNotMakeTheDirectoryAgain)
{
    connect();
    sim::store::remove(frontend_dir);
    sim::run();
    detach();
    EXPECT_FALSE(sim::store::read(frontend_dir + "/state"));
}

TEST_F(Lifecycle, NothingWorksAfterDetach)
{
    connect();
    blkfront *gone = disk;
    detach();
    Page page;
    disk = gone;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EIO);
    disk = nullptr;
    blkfront_commit(gone, 0, false);
    EXPECT_EQ(blkfront_poll(gone, 0, false), 0u);
    blkfront_retry_held(gone);
    blkfront_age(gone);
    blkfront_expire(gone, BLKFRONT_INTERRUPTED);
    blkfront_backend_changed(gone, 2);
    blkfront_work(gone);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

// Any order of states that a backend can show, with no ring behind them.
TEST_F(Lifecycle, EveryPairOfStates)
{
    backend->follow_states = false;
    for (unsigned first = 0; first <= 10; ++first)
        for (unsigned second = 0; second <= 10; ++second) {
            blkfront_backend_changed(disk, first);
            blkfront_backend_changed(disk, second);
        }
    EXPECT_EQ(kernel.ready, 0u);
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    xen::reclaim_grants();
    EXPECT_LE(sim::grants_in_force(), 1u);
}

} // namespace
} // namespace blktest
