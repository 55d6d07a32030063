// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Negotiation with a backend that behaves.
#include <cstring>

#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

using Connect = BlkfrontTest;

TEST_F(Connect, ReachesConnectedAndWorks)
{
    connect();
    EXPECT_EQ(backend->state(), 4u);
    EXPECT_EQ(kernel.geometry.sectors, 2048u);
    EXPECT_EQ(kernel.geometry.sector_size, 512u);
    EXPECT_EQ(kernel.geometry.physical_sector_size, 512u);
    EXPECT_FALSE(kernel.geometry.read_only);
    EXPECT_EQ(kernel.geometry.flush, BLKFRONT_FLUSH_CACHE);
    expect_working();
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Connect, WaitsForTheBackend)
{
    pump();
    EXPECT_EQ(backend->frontend_state(), 1u);
    Page page;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EAGAIN);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    connect();
}

// A ring is offered at once; properties are looked at only when the backend is Connected.
TEST_F(Connect, OffersBeforeTheBackendConnects)
{
    backend->follow_states = false;
    backend->start();
    pump();
    EXPECT_EQ(backend->frontend_state(), 3u);
    EXPECT_EQ(kernel.ready, 0u);
    Page page;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), -EAGAIN);
    ASSERT_TRUE(backend->attach());
    backend->publish_keys();
    backend->set_state(4);
    pump();
    EXPECT_EQ(kernel.ready, 1u);
    expect_working();
}

TEST_F(Connect, BackendMaySkipInitWait)
{
    backend->follow_states = false;
    backend->set_state(3);
    pump();
    EXPECT_EQ(backend->frontend_state(), 3u);
    ASSERT_TRUE(backend->attach());
    backend->publish_keys();
    backend->set_state(4);
    pump();
    expect_working();
}

// A ring that the backend may be about to take stays what it is.
TEST_F(Connect, OffersOnce)
{
    backend->follow_states = false;
    backend->start();
    pump();
    const auto offered = sim::store::read(frontend_dir + "/event-channel");
    blkfront_backend_changed(disk, 2); // a watch may fire twice
    blkfront_backend_changed(disk, 3); // a backend may take a step more
    EXPECT_EQ(sim::store::read(frontend_dir + "/event-channel"), offered);
    ASSERT_TRUE(backend->attach());
    EXPECT_EQ(kernel.paused, 0u);
}

TEST_F(Connect, Xsa403TheRingPageHasNothingElseOnIt)
{
    backend->automatic = false;
    connect();
    Page page;
    ASSERT_EQ(submit(BLKFRONT_WRITE, 5, {page.segment(1, 2)}), 0);
    ASSERT_EQ(submit(BLKFRONT_FLUSH, 0, {}), 0);

    // What is expected of it, byte by byte.
    uint8_t expected[4096] = {};
    auto &header = *reinterpret_cast<xen::RingHeader *>(expected);
    header.req_prod = 2;
    header.req_event = header.rsp_event = 1;
    auto *requests = reinterpret_cast<Request *>(expected + sizeof(header));
    auto *seen = reinterpret_cast<const Request *>(backend->ring_page() + sizeof(header));
    requests[0].operation = 1;
    requests[0].segment_count = 1;
    requests[0].handle = 51713;
    requests[0].id = seen[0].id;
    requests[0].sector = 5;
    requests[0].segments[0] = {seen[0].segments[0].grant, 1, 2, {}};
    requests[1].operation = 3;
    requests[1].handle = 51713;
    requests[1].id = seen[1].id;
    EXPECT_EQ(std::memcmp(expected, backend->ring_page(), 4096), 0);
}

TEST_F(Connect, CommitIsRepeatedOnAConflict)
{
    sim::store::fail_commits(3);
    connect();
    expect_working();
}

TEST_F(Connect, NoGrantsLeft)
{
    xen::GrantPool all;
    ASSERT_TRUE(all.reserve(xen::free_grants() - 10).ok());
    backend->start();
    expect_broken("no room for requests");
    all.release();
}

TEST_F(Connect, NoMemoryLeft)
{
    sim::fail_page_alloc(0);
    backend->start();
    expect_broken("no ring");
}

// EVTCHNOP_alloc_unbound refused.
TEST_F(Connect, NoEventChannelLeft)
{
    sim::filter_hypercalls([](unsigned number, const unsigned long *arguments) {
        return number == 32 && arguments[0] == 6 ? std::optional<long>(-28) : std::nullopt;
    });
    backend->start();
    expect_broken("no ring");
}

TEST_F(Connect, ReadOnlyAndBigSectors)
{
    backend->keys["info"] = "4";
    backend->keys["sector-size"] = "4096";
    backend->keys["physical-sector-size"] = "8192";
    backend->keys["feature-flush-cache"] = {};
    connect();
    EXPECT_TRUE(kernel.geometry.read_only);
    EXPECT_EQ(kernel.geometry.sector_size, 4096u);
    EXPECT_EQ(kernel.geometry.physical_sector_size, 8192u);
    EXPECT_EQ(kernel.geometry.sectors, 2048u); // units of 512 all the same
    EXPECT_EQ(kernel.geometry.flush, BLKFRONT_NO_FLUSH);
    expect_working();
    Page page;
    EXPECT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), -EACCES);
}

} // namespace
} // namespace blktest
