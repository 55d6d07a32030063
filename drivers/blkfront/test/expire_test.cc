// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Requests that take too long: the disk is broken off, or connects anew. And a backend that
// comes back without any detach in between.
#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

class Expire : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        pages = std::make_unique<Page[]>(4);
    }

    // Four requests in flight with a backend that answers none.
    void get_stuck()
    {
        backend->keys["multi-queue-max-queues"] = "2";
        connect();
        backend->automatic = false;
        for (uint16_t i = 0; i < 4; ++i)
            ASSERT_EQ(submit(BLKFRONT_READ, i * 8, {pages[i].segment()}, &pages[i], {.queue = i}),
                      0);
        EXPECT_EQ(blkfront_in_flight(disk), 4u);
    }

    void expect_all(blkfront_result result) const
    {
        ASSERT_EQ(kernel.completions.size(), 4u);
        for (const auto &done : kernel.completions)
            EXPECT_EQ(done.result, result);
        EXPECT_EQ(blkfront_in_flight(disk), 0u);
    }

    std::unique_ptr<Page[]> pages;
};

// The backend follows the states, but its disk is stuck: it lets go of everything when asked to.
TEST_F(Expire, BreaksOff)
{
    get_stuck();
    blkfront_expire(disk, BLKFRONT_ERROR);
    expect_all(BLKFRONT_ERROR);
    pump();
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {pages[0].segment()}), -EIO);
    EXPECT_EQ(kernel.failed, 1u);
    EXPECT_EQ(sim::complaints().size(), 1u);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    // Until it starts again.
    backend->automatic = true;
    replace_backend();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
}

TEST_F(Expire, ConnectsAnew)
{
    get_stuck();
    blkfront_expire(disk, BLKFRONT_INTERRUPTED);
    expect_all(BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.failed, 0u);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {pages[0].segment()}), -EAGAIN);
    backend->automatic = true;
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_transport(2, 1);
    for (uint16_t i = 0; i < 4; ++i)
        EXPECT_EQ(request(BLKFRONT_READ, i * 8, {pages[i].segment()}, {.queue = i}), BLKFRONT_DONE);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 2u);
}

// A backend that does not react at all: nothing waits for it, it may come later or never.
TEST_F(Expire, BackendIsDead)
{
    for (const auto result : {BLKFRONT_ERROR, BLKFRONT_INTERRUPTED}) {
        SCOPED_TRACE(result);
        kernel.completions.clear();
        if (result == BLKFRONT_ERROR) {
            get_stuck();
        } else {
            for (uint16_t i = 0; i < 4; ++i)
                ASSERT_EQ(submit(BLKFRONT_READ, 0, {pages[i].segment()}, nullptr, {.queue = i}), 0);
        }
        backend->follow_states = false;
        const uint64_t before = sim::now();
        blkfront_expire(disk, result);
        EXPECT_LT(sim::now() - before, 1'000'000'000u);
        expect_all(result);
        pump();
        EXPECT_NE(backend->frontend_state(), 4u);
        const int refused = submit(BLKFRONT_READ, 0, {pages[0].segment()});
        EXPECT_EQ(refused, result == BLKFRONT_ERROR ? -EIO : -EAGAIN);
        replace_backend();
        backend->automatic = false;
    }
}

// It has the pages mapped: the requests are not over, and nobody gets their pages, until it lets
// go.
TEST_F(Expire, Xsa396BackendHoldsThePages)
{
    get_stuck();
    Request request;
    ASSERT_TRUE(backend->take(request));
    ASSERT_NE(backend->peer().map(request.segments[0].grant), nullptr);
    backend->follow_states = false;
    blkfront_expire(disk, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(blkfront_in_flight(disk), 1u);
    EXPECT_EQ(statistics(0).held, 1u);
    backend->vanish();
    blkfront_retry_held(disk);
    expect_all(BLKFRONT_INTERRUPTED);
    EXPECT_EQ(statistics(0).held, 0u);
    replace_backend();
    expect_working();
}

// Called when there is nothing to expire, in any state, it is harmless.
TEST_F(Expire, AtAnyTime)
{
    for (const auto result : {BLKFRONT_ERROR, BLKFRONT_INTERRUPTED}) {
        blkfront_expire(disk, result);
        pump();
        EXPECT_EQ(sim::grants_in_force(), 0u);
    }
    replace_backend();
    expect_working();
    sim::store::write(backend_dir + "/online", "0");
    backend->set_state(5);
    pump();
    blkfront_expire(disk, BLKFRONT_INTERRUPTED);
    blkfront_expire(disk, BLKFRONT_ERROR);
    pump();
    sim::store::write(backend_dir + "/online", "1");
    replace_backend();
    expect_working();
    blkfront *gone = disk;
    detach();
    blkfront_expire(gone, BLKFRONT_ERROR);
    blkfront_expire(gone, BLKFRONT_INTERRUPTED);
}

// Twice in a row, as when the timer of a second request fires meanwhile.
TEST_F(Expire, Twice)
{
    get_stuck();
    blkfront_expire(disk, BLKFRONT_INTERRUPTED);
    blkfront_expire(disk, BLKFRONT_INTERRUPTED);
    expect_all(BLKFRONT_INTERRUPTED);
    backend->automatic = true;
    pump();
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

} // namespace
} // namespace blktest
