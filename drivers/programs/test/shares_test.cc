// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Programs at /dev/xen/gntalloc: right ones, wrong ones, and peers that hold on to pages.
#include <cerrno>

#include <programs/core/evtchn.h>

#include "areas.hpp"

namespace {

class Shares : public AreaTest {};

TEST_F(Shares, PeerSeesWhatTheProgramWrites)
{
    sim::Peer peer(7);
    Program program;
    ASSERT_EQ(program.share(3), 0);
    xen_area *area = program.get(3);
    ASSERT_NE(area, nullptr);
    uint8_t *theirs = peer.map_all(program.references);
    ASSERT_NE(theirs, nullptr);
    for (uint32_t i = 0; i < 3; i++) {
        auto *ours = static_cast<uint8_t *>(xen_area_page(area, i));
        EXPECT_EQ(*ours, 0);
        *ours = static_cast<uint8_t>(10 + i);
        EXPECT_EQ(theirs[i * page], 10 + i);
    }
    peer.unmap(theirs);
    xen_area_put(area);
}

TEST_F(Shares, ReadOnlyIsReadOnly)
{
    sim::Peer peer(7), stranger(8);
    Program program;
    ASSERT_EQ(program.share(1, false), 0);
    EXPECT_EQ(peer.map(program.references[0], true), nullptr);
    EXPECT_EQ(stranger.map(program.references[0], false), nullptr);
    uint8_t *theirs = peer.map(program.references[0], false);
    EXPECT_NE(theirs, nullptr);
    peer.unmap(theirs);
}

// As libxengnttab does it: mapped, then forgotten at once, and used until it is unmapped.
TEST_F(Shares, AreaLivesAsLongAsItIsMapped)
{
    sim::Peer peer(7);
    Program program;
    ASSERT_EQ(program.share(2), 0);
    xen_area *area = program.get(2);
    xen_area_hold(area); // in a child, too
    EXPECT_EQ(xen_area_forget(program.file, program.index, 2), 0);
    EXPECT_EQ(program.get(2), nullptr);
    xen_area_put(area);
    EXPECT_EQ(sim::grants_in_force(), 2u);
    xen_area_put(area);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_EQ(peer.map(program.references[0]), nullptr);
}

TEST_F(Shares, Xsa396PeerThatHoldsOnKeepsThePageFromOthers)
{
    sim::Peer peer(7);
    Program program;
    ASSERT_EQ(program.share(2), 0);
    uint8_t *theirs = peer.map(program.references[1]);
    program.close();
    EXPECT_EQ(sim::grants_in_force(), 1u);
    EXPECT_EQ(xen::reclaim_grants(), 1u);
    theirs[0] = 1; // it would show, if the page were somebody else's
    peer.unmap(theirs);
}

TEST_F(Shares, CloseUndoesEverything)
{
    Program program;
    for (uint32_t count : {1u, 2u, 100u, 256u})
        ASSERT_EQ(program.share(count), 0);
    program.close();
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

TEST_F(Shares, WrongRequestsAreRefused)
{
    Program program, other;
    EXPECT_EQ(program.share(0), -EINVAL);
    EXPECT_EQ(program.share(257), -EINVAL);
    EXPECT_EQ(program.share(1, true, 0x7ff0), -EINVAL);
    EXPECT_EQ(program.share(1, true, 0x10007), -EINVAL);
    ASSERT_EQ(program.share(2), 0);
    const uint64_t index = program.index;
    for (const auto &[at, count] : std::vector<std::pair<uint64_t, uint32_t>>{{index, 1},
                                                                              {index, 3},
                                                                              {index + page, 1},
                                                                              {index + 1, 2},
                                                                              {index + 2 * page, 2},
                                                                              {UINT64_MAX, 2},
                                                                              {index, 0}}) {
        EXPECT_EQ(xen_area_forget(program.file, at, count), -ENOENT) << at << ' ' << count;
    }
    EXPECT_EQ(xen_area_get(program.file, index / page, 1), nullptr);
    EXPECT_EQ(xen_area_get(program.file, index / page + 1, 2), nullptr);
    EXPECT_EQ(xen_area_forget(other.file, index, 2), -ENOENT);
    EXPECT_EQ(xen_area_forget(program.file, index, 2), 0);
    EXPECT_EQ(xen_area_forget(program.file, index, 2), -ENOENT);
}

TEST_F(Shares, LimitsHoldAndWhatIsGivenBackCounts)
{
    for (unsigned round = 0; round < 3; round++) {
        Program program, second, third;
        for (unsigned i = 0; i < 4; i++) {
            ASSERT_EQ(program.borrow(std::vector<uint32_t>(512, 1)), 0);
            ASSERT_EQ(second.borrow(std::vector<uint32_t>(512, 1)), 0);
        }
        EXPECT_EQ(program.borrow({7, 1}), -ENOSPC); // of a file
        EXPECT_EQ(third.borrow({7, 1}), -ENOSPC);   // of all
        EXPECT_EQ(third.share(1), -ENOSPC);
        second.close();
        EXPECT_EQ(program.borrow({7, 1}), -ENOSPC);
        EXPECT_EQ(third.share(1), 0);
    }
}

TEST_F(Shares, DevicesAreLeftSomeGrants)
{
    xen::GrantPool pool; // of devices
    ASSERT_TRUE(pool.reserve(xen::free_grants() - 1024 - 50).ok());
    Program program;
    EXPECT_EQ(program.share(51), -ENOSPC);
    EXPECT_EQ(program.share(50), 0);
    EXPECT_EQ(program.share(1), -ENOSPC);
    EXPECT_EQ(xen::free_grants(), 1024u);
}

TEST_F(Shares, Xsa396PeerThatHoldsOnCannotTakeAllGrants)
{
    sim::Peer peer(7);
    std::vector<uint8_t *> held;
    for (unsigned i = 0; i < 100; i++) {
        Program program;
        if (program.share(100) == 0)
            held.push_back(peer.map_all(program.references));
    }
    EXPECT_GE(xen::free_grants(), 1024u);
    for (uint8_t *pages : held)
        peer.unmap(pages);
}

TEST_F(Shares, NoMemoryLeavesNothing)
{
    Program program;
    for (unsigned after : {0u, 1u, 2u}) {
        sim::fail_page_alloc(after);
        EXPECT_EQ(program.share(2), -ENOMEM) << after;
        EXPECT_EQ(sim::pages_in_use(), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
    }
    EXPECT_EQ(program.share(256), 0);
}

TEST_F(Shares, RestoredDomainGrantsNothing)
{
    Program program;
    ASSERT_EQ(program.share(2), 0);
    sim::restore();
    EXPECT_EQ(sim::grants_in_force(), 0u);
    Program other;
    EXPECT_EQ(other.share(1), 0);
    program.close();
    EXPECT_EQ(sim::grants_in_force(), 1u);
    sim::Peer peer(7);
    uint8_t *theirs = peer.map(other.references[0]);
    EXPECT_NE(theirs, nullptr);
    peer.unmap(theirs);
}

// ---- what happens at the end ----

class EndOfShare : public AreaTest {
protected:
    void SetUp() override
    {
        AreaTest::SetUp();
        memory_.reset(new uint64_t[xen_evtchn_size() / 8 + 1]());
        events = xen_evtchn_open(memory_.get(), nullptr);
        port = static_cast<uint32_t>(xen_evtchn_bind(events, 7, 0));
        ASSERT_NE(peer.bind(port), 0u);
        peer.take_event(port);
        ASSERT_EQ(program.share(2), 0);
        area = program.get(2);
        byte = static_cast<uint8_t *>(xen_area_page(area, 1)) + 77;
        *byte = 1;
        theirs = peer.map(program.references[1]);
    }
    void TearDown() override
    {
        peer.unmap(theirs);
        if (events != nullptr)
            xen_evtchn_close(events);
        AreaTest::TearDown();
    }
    void end()
    {
        xen_area_put(area);
        EXPECT_EQ(theirs[77], 1) << "too early";
        EXPECT_EQ(xen_area_forget(program.file, program.index, 2), 0);
    }
    sim::Peer peer{7};
    Program program;
    xen_evtchn *events = nullptr;
    uint32_t port = 0;
    xen_area *area = nullptr;
    uint8_t *byte = nullptr, *theirs = nullptr;

private:
    std::unique_ptr<uint64_t[]> memory_;
};

TEST_F(EndOfShare, ByteIsCleared)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index + page + 77, 1, 0), 0);
    end();
    EXPECT_EQ(theirs[77], 0);
    EXPECT_FALSE(peer.take_event(port));
}

TEST_F(EndOfShare, EventIsSent)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index, 2, port), 0);
    end();
    EXPECT_EQ(theirs[77], 1);
    EXPECT_TRUE(peer.take_event(port));
}

TEST_F(EndOfShare, NothingAfterAChangeOfMind)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index + page + 77, 3, port), 0);
    EXPECT_EQ(xen_area_notify(program.file, program.index, 0, port), 0);
    end();
    EXPECT_EQ(theirs[77], 1);
    EXPECT_FALSE(peer.take_event(port));
}

TEST_F(EndOfShare, PortMayHaveGoneBefore)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index + page + 77, 3, port), 0);
    EXPECT_EQ(xen_evtchn_unbind(events, port), 0);
    end();
    EXPECT_EQ(theirs[77], 0);
}

// A program that is killed: which of its files and mappings ends first is not said.
TEST_F(EndOfShare, FileOfThePortStaysOpenUntilThen)
{
    for (const uint32_t action : {2u, 3u, 1u, 2u}) {
        EXPECT_EQ(xen_area_notify(program.file, program.index, action, port), 0);
        EXPECT_EQ(held_files(), action == 1 ? 0 : 1);
    }
    end();
    EXPECT_EQ(held_files(), 0);
}

TEST_F(EndOfShare, WrongOnesAreRefused)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index, 4, port), -EINVAL);
    EXPECT_EQ(xen_area_notify(program.file, program.index, UINT32_MAX, port), -EINVAL);
    EXPECT_EQ(xen_area_notify(program.file, program.index + 2 * page, 1, port), -ENOENT);
    EXPECT_EQ(xen_area_notify(program.file, UINT64_MAX, 3, port), -ENOENT);
    EXPECT_EQ(xen_area_notify(program.file, program.index, 2, port + 1), -EINVAL);
    end();
    EXPECT_EQ(theirs[77], 1);
}

} // namespace
