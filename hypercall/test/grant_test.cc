// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Grants: access only while given, pages never reused while a peer can reach them, pools that do
// not run dry.
#include <cerrno>
#include <cstring>
#include <vector>

#include <sim/access.hpp>
#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>

namespace {

constexpr xen::DomId backend{0};
using xen::GrantAccess;

class GrantTest : public sim::MachineTest {
protected:
    void SetUp() override
    {
        sim::MachineTest::SetUp();
        all_ = xen::free_grants();
    }

    xen::Grant give(const void *page, GrantAccess access = GrantAccess::read_write)
    {
        return xen::Grant::give(backend, page, access).take();
    }

    unsigned all_ = 0;
    sim::Peer peer_;
};

TEST_F(GrantTest, TableSize) { EXPECT_EQ(all_, 4 * 512u - xen::abi::grant_reserved_entries); }

TEST_F(GrantTest, AccessOnlyWhileGiven)
{
    auto *page = static_cast<char *>(xen_port_page_alloc());
    auto grant = give(page);
    const uint32_t ref = grant.ref().value;
    EXPECT_GE(ref, xen::abi::grant_reserved_entries);
    EXPECT_TRUE(peer_.write(ref, 100, "hello", 6));
    EXPECT_STREQ(page + 100, "hello");
    EXPECT_TRUE(grant.end().ok());
    EXPECT_FALSE(grant.active());
    EXPECT_FALSE(peer_.write(ref, 100, "again", 6));
    EXPECT_EQ(xen::free_grants(), all_);
    EXPECT_TRUE(grant.end().ok()) << "ending twice is harmless";
    xen_port_page_free(page);
}

TEST_F(GrantTest, ReadOnlyAndForeign)
{
    void *page = xen_port_page_alloc();
    auto grant = give(page, GrantAccess::read_only);
    EXPECT_EQ(peer_.map(grant.ref().value), nullptr);
    EXPECT_FALSE(sim::Peer{7}.read(grant.ref().value, 0, &all_, 4));
    EXPECT_NE(peer_.map(grant.ref().value, false), nullptr);
    EXPECT_EQ(grant.end().error(), xen::Error::busy) << "a reader counts, too";
    grant.end_and_free(page);
}

TEST_F(GrantTest, Xsa396AMappedPageIsQuarantined)
{
    void *page = xen_port_page_alloc();
    auto grant = give(page);
    uint8_t *view = peer_.map(grant.ref().value);
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(grant.end().error(), xen::Error::busy);
    EXPECT_TRUE(grant.active());

    grant.end_and_free(page);
    EXPECT_FALSE(grant.active());
    EXPECT_EQ(sim::pages_in_use(), 1u) << "not freed under the peer";
    EXPECT_EQ(xen::free_grants(), all_ - 1);
    EXPECT_EQ(xen::reclaim_grants(), 1u);
    view[0] = 1; // still its page

    peer_.unmap(view);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    EXPECT_EQ(xen::free_grants(), all_);
}

// The peer maps between the look at the flags and the exchange: the exchange decides.
TEST_F(GrantTest, Xsa396PeerMapsBetweenCheckAndExchange)
{
    auto *page = static_cast<char *>(xen_port_page_alloc());
    auto grant = give(page);
    uint8_t *view = nullptr;
    {
        const sim::LoadObserver peer([&](const void *, size_t, unsigned) {
            if (view == nullptr)
                view = peer_.map(grant.ref().value);
        });
        EXPECT_EQ(grant.end().error(), xen::Error::busy);
    }
    ASSERT_NE(view, nullptr);
    EXPECT_TRUE(grant.active());
    view[0] = 'x'; // it is still the peer's, too
    EXPECT_EQ(page[0], 'x');
    peer_.unmap(view);
    EXPECT_TRUE(grant.end().ok());
    xen_port_page_free(page);
}

TEST_F(GrantTest, ManyInQuarantineAreReclaimedInOnePass)
{
    std::vector<uint8_t *> views;
    for (unsigned i = 0; i < 200; ++i) {
        void *page = xen_port_page_alloc();
        auto grant = give(page);
        views.push_back(peer_.map(grant.ref().value));
        grant.end_and_free(page);
    }
    for (unsigned i = 0; i < 200; i += 2)
        peer_.unmap(views[i]);
    EXPECT_EQ(xen::reclaim_grants(), 100u);
    EXPECT_EQ(sim::pages_in_use(), 100u);
    for (unsigned i = 1; i < 200; i += 2)
        peer_.unmap(views[i]);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

TEST_F(GrantTest, DestroyedWhileMappedOnlyTheReferenceStays)
{
    void *page = xen_port_page_alloc();
    uint8_t *view;
    {
        auto grant = give(page);
        view = peer_.map(grant.ref().value);
        grant = xen::Grant{};
    }
    EXPECT_EQ(xen::free_grants(), all_ - 1);
    peer_.unmap(view);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 1u) << "the page was not handed over";
    xen_port_page_free(page);
}

TEST_F(GrantTest, FullTable)
{
    void *page = xen_port_page_alloc();
    std::vector<xen::Grant> grants;
    for (unsigned i = 0; i < all_; ++i)
        grants.push_back(give(page));
    EXPECT_EQ(xen::Grant::give(backend, page, GrantAccess::read_write).error(),
              xen::Error::no_space);
    xen::GrantPool pool;
    EXPECT_EQ(pool.reserve(1).error(), xen::Error::no_space);
    grants.clear();
    EXPECT_EQ(xen::free_grants(), all_);
    xen_port_page_free(page);
}

TEST_F(GrantTest, PoolNeverFailsWithinItsReserve)
{
    void *page = xen_port_page_alloc();
    const uint64_t frame = xen_port_frame(page);
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(10).ok());
    xen::GrantPool greedy;
    EXPECT_EQ(greedy.reserve(all_).error(), xen::Error::no_space);
    EXPECT_EQ(greedy.available(), 0u) << "all or nothing";
    ASSERT_TRUE(greedy.reserve(all_ - 10).ok());
    for (unsigned round = 0; round < 3; ++round) {
        std::vector<xen::GrantRef> refs;
        for (unsigned i = 0; i < 10; ++i)
            refs.push_back(pool.give(backend, frame, GrantAccess::read_write).take());
        EXPECT_EQ(pool.give(backend, frame, GrantAccess::read_write).error(), xen::Error::no_space);
        for (const auto ref : refs)
            EXPECT_TRUE(pool.end(ref).ok());
    }
    EXPECT_EQ(pool.available(), 10u);
    pool.release();
    greedy.release();
    EXPECT_EQ(xen::free_grants(), all_);
    xen_port_page_free(page);
}

TEST_F(GrantTest, PoolShrinksByWhatThePeerHolds)
{
    void *page = xen_port_page_alloc();
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(2).ok());
    const auto ref = pool.give(backend, xen_port_frame(page), GrantAccess::read_write).take();
    uint8_t *view = peer_.map(ref.value);
    EXPECT_EQ(pool.end(ref).error(), xen::Error::busy);
    pool.quarantine(ref, page);
    EXPECT_EQ(pool.available(), 1u);
    pool.release();
    EXPECT_EQ(xen::free_grants(), all_ - 1);
    peer_.unmap(view);
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(xen::free_grants(), all_);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

TEST_F(GrantTest, FramesBeyondVersionOne)
{
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(1).ok());
    EXPECT_EQ(pool.give(backend, uint64_t{1} << 32, GrantAccess::read_write).error(),
              xen::Error::range);
    EXPECT_EQ(pool.available(), 1u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

TEST_F(GrantTest, TableFrames)
{
    uint64_t list[64] = {};
    EXPECT_EQ(xen::grant_table_frames(list, 2).value(), 2u);
    EXPECT_NE(list[1], 0u);
    EXPECT_EQ(list[2], 0u);
    EXPECT_EQ(xen::grant_table_frames(list, 64).value(), 4u) << "what Xen allows";
}

TEST_F(GrantTest, Xsa318StatusesThatXenLeavesAloneAreErrors)
{
    uint64_t list[4] = {};
    sim::filter_hypercalls([](unsigned, const unsigned long *) { return 0; });
    EXPECT_EQ(xen::grant_table_frames(list, 2).error(), xen::Error::io);
}

TEST_F(GrantTest, Xsa379Xsa387Xsa486Xsa501NothingSwitchesTheVersion)
{
    unsigned others = 0;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
        if (number == xen::abi::hypercall_grant_table_op)
            others += arguments[0] != xen::abi::gnttabop_query_size &&
                      arguments[0] != xen::abi::gnttabop_setup_table;
        return std::optional<long>{};
    });
    uint64_t list[4];
    EXPECT_TRUE(xen::grant_table_frames(list, 4).ok());
    void *page = xen_port_page_alloc();
    give(page).end_and_free(page);
    EXPECT_EQ(others, 0u);
}

TEST(GrantTable, ImpossibleSizes)
{
    EXPECT_EQ(xen::grant_table_init(nullptr, 0).error(), xen::Error::range);
    EXPECT_EQ(xen::grant_table_init(nullptr, xen::grant_frames_max + 1).error(), xen::Error::range);
}

// A driver that has not heard of the restore goes on for a while: the number of its backend may be
// any domain's of this host.
TEST_F(GrantTest, PoolOfARestoredDomainGivesToNobody)
{
    void *page = xen_port_page_alloc();
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(2).ok());
    sim::restore();
    auto ref = pool.give(backend, xen_port_frame(page), GrantAccess::read_write).value();
    EXPECT_EQ(peer_.map(ref.value), nullptr);
    EXPECT_TRUE(pool.end(ref).ok());
    pool.release();
    ASSERT_TRUE(pool.reserve(2).ok());
    ref = pool.give(backend, xen_port_frame(page), GrantAccess::read_write).value();
    uint8_t *mapped = peer_.map(ref.value);
    EXPECT_NE(mapped, nullptr);
    peer_.unmap(mapped);
    EXPECT_TRUE(pool.end(ref).ok());
    pool.release();
    xen_port_page_free(page);
}

// The restored domain's host allows fewer frames.
TEST_F(GrantTest, SmallerTableGivesNothingBeyondItsEnd)
{
    void *page = xen_port_page_alloc();
    auto kept = give(page);
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(100).ok());
    ASSERT_TRUE(xen::grant_table_shrink(2).ok());
    const unsigned left = 2 * 512u - xen::abi::grant_reserved_entries - 1 - 100;
    EXPECT_EQ(xen::free_grants(), left);
    EXPECT_EQ(give(page).ref().value, kept.ref().value + 101) << "the first ones are used first";
    EXPECT_EQ(pool.reserve(left + 1).error(), xen::Error::no_space);
    ASSERT_TRUE(pool.reserve(left).ok());
    std::vector<xen::GrantRef> refs;
    while (pool.available() > 0) {
        refs.push_back(pool.give(backend, xen_port_frame(page), GrantAccess::read_write).value());
        EXPECT_LT(refs.back().value, 2 * 512u);
    }
    for (const auto ref : refs)
        EXPECT_TRUE(pool.end(ref).ok());
    pool.release();
    ASSERT_TRUE(xen::grant_table_shrink(1).ok()) << "once more";
    EXPECT_EQ(xen::free_grants(), 512u - xen::abi::grant_reserved_entries - 1);
    kept.end_and_free(page);
}

TEST_F(GrantTest, SmallerTableNeedsWhatIsInUse)
{
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(2 * 512u - xen::abi::grant_reserved_entries).ok()); // two frames' all
    EXPECT_TRUE(xen::grant_table_shrink(3).ok());
    EXPECT_TRUE(xen::grant_table_shrink(2).ok());
    EXPECT_EQ(xen::grant_table_shrink(1).error(), xen::Error::no_space);
}

// Whatever peers had mapped, in the domain that was restored they have not.
TEST_F(GrantTest, RestoredDomainHasLetGo)
{
    void *held = xen_port_page_alloc();
    void *lost = xen_port_page_alloc();
    auto kept = give(held);
    auto quarantined = give(lost);
    xen::GrantPool pool;
    ASSERT_TRUE(pool.reserve(2).ok());
    const auto of_pool = pool.give(backend, xen_port_frame(held), GrantAccess::read_only).value();
    for (const uint32_t ref : {kept.ref().value, quarantined.ref().value})
        ASSERT_NE(peer_.map(ref), nullptr);
    EXPECT_EQ(kept.end().error(), xen::Error::busy);
    quarantined.end_and_free(lost);
    EXPECT_EQ(xen::reclaim_grants(), 1u);

    sim::restore();
    EXPECT_TRUE(kept.end().ok());
    EXPECT_TRUE(pool.end(of_pool).ok());
    EXPECT_EQ(pool.available(), 2u);
    pool.release();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(xen::free_grants(), all_);
    xen_port_page_free(held);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

} // namespace
