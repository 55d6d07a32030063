// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Programs at /dev/xen/gntalloc and gntdev: right ones, wrong ones, and peers that hold on to
// pages.
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include <programs/core/areas.h>
#include <programs/core/evtchn.h>
#include <sim/sim.hpp>
#include <xen/grant.hpp>
#include <xen/hypercall.hpp>

namespace {

constexpr uint64_t page = xen::page_size;

// A file that a program has open.
class Program {
public:
    Program() : memory_(new uint64_t[xen_areas_size() / 8 + 1]())
    {
        file = xen_areas_open(memory_.get());
    }
    Program(const Program &) = delete;
    ~Program() { close(); }
    void close()
    {
        if (file != nullptr)
            xen_areas_close(std::exchange(file, nullptr));
    }
    int share(uint32_t count, bool writable = true, uint32_t domain = 7)
    {
        references.assign(count, 0);
        return xen_area_share(file, domain, writable, count, references.data(), &index);
    }
    int borrow(const std::vector<uint32_t> &pairs)
    {
        return xen_area_borrow(file, static_cast<uint32_t>(pairs.size() / 2), pairs.data(), &index);
    }
    xen_area *get(uint64_t count) { return xen_area_get(file, index / page, count); }
    xen_areas *file;
    uint64_t index = 0; // of the last one
    std::vector<uint32_t> references;

private:
    std::unique_ptr<uint64_t[]> memory_;
};

// ---- pages of the guest's ----

class Shares : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        free_before = xen::free_grants();
    }
    void TearDown() override
    {
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::pages_in_use(), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
        EXPECT_EQ(xen::free_grants(), free_before);
        MachineTest::TearDown();
    }
    unsigned free_before = 0;
};

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

TEST_F(Shares, DevicesKeepHalfOfTheGrants)
{
    xen::GrantPool pool; // of devices, that leave 100
    ASSERT_TRUE(pool.reserve(xen::free_grants() - 100).ok());
    Program program;
    EXPECT_EQ(program.share(51), -ENOSPC);
    EXPECT_EQ(program.share(50), 0);
    EXPECT_EQ(xen::free_grants(), 50u);
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

class EndOfShare : public Shares {
protected:
    void SetUp() override
    {
        Shares::SetUp();
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
        Shares::TearDown();
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
    xen_evtchn_close(std::exchange(events, nullptr));
    end();
    EXPECT_EQ(theirs[77], 0);
}

TEST_F(EndOfShare, WrongOnesAreRefused)
{
    EXPECT_EQ(xen_area_notify(program.file, program.index, 4, port), -EINVAL);
    EXPECT_EQ(xen_area_notify(program.file, program.index, UINT32_MAX, port), -EINVAL);
    EXPECT_EQ(xen_area_notify(program.file, program.index + 2 * page, 1, port), -ENOENT);
    EXPECT_EQ(xen_area_notify(program.file, UINT64_MAX, 3, port), -ENOENT);
    end();
    EXPECT_EQ(theirs[77], 1);
}

// ---- pages of others' ----

// Xen's part, for grants of domain 7: 20 to 29 for all use, 30 to be read, and of 40 it is not
// sure.
class Xen {
public:
    struct Mapped {
        uint64_t entry;
        uint32_t reference, flags;
    };
    Xen()
    {
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            if (number != xen::abi::hypercall_grant_table_op)
                return std::optional<long>();
            void *argument = reinterpret_cast<void *>(arguments[1]);
            switch (arguments[0]) {
            case xen::abi::gnttabop_map_grant_ref:
                return map(*static_cast<xen::abi::GnttabMapGrantRef *>(argument));
            case xen::abi::gnttabop_unmap_grant_ref:
                return unmap(*static_cast<xen::abi::GnttabUnmapGrantRef *>(argument));
            case xen::abi::gnttabop_copy:
                return copy(*static_cast<xen::abi::GnttabCopy *>(argument));
            default:
                return std::optional<long>();
            }
        });
    }
    std::map<uint32_t, Mapped> mapped; // by handle
    std::vector<std::pair<uint32_t, unsigned>> cleared;
    bool stubborn = false;

private:
    std::optional<long> map(xen::abi::GnttabMapGrantRef &op)
    {
        const bool writable = (op.flags & xen::abi::gntmap_readonly) == 0;
        op.status = op.ref == 40 ? -12 : -3;
        if (op.dom != 7 || op.ref < 20 || op.ref > 30 || (op.ref == 30 && writable))
            return 0;
        op.handle = next_++;
        op.status = 0;
        mapped[op.handle] = {op.host_addr, op.ref, op.flags};
        return 0;
    }
    std::optional<long> unmap(xen::abi::GnttabUnmapGrantRef &op)
    {
        const auto found = mapped.find(op.handle);
        EXPECT_TRUE(found != mapped.end() && found->second.entry == op.host_addr);
        EXPECT_EQ(op.dev_bus_addr, 0u);
        op.status = stubborn ? -1 : 0;
        mapped.erase(op.handle);
        return 0;
    }
    std::optional<long> copy(xen::abi::GnttabCopy &op)
    {
        const auto *from = static_cast<const uint8_t *>(sim::page_of(op.source.frame));
        EXPECT_EQ(op.source.domid, xen::domid_self.value);
        EXPECT_TRUE(from != nullptr && from[op.source.offset] == 0);
        EXPECT_EQ(op.len, 1u);
        EXPECT_EQ(op.flags, 2u);
        EXPECT_EQ(op.dest.domid, 7u);
        EXPECT_FALSE(mapped.empty()) << "too late";
        cleared.emplace_back(static_cast<uint32_t>(op.dest.frame), op.dest.offset);
        op.status = 0;
        return 0;
    }
    uint32_t next_ = 0;
};

class Loans : public Shares {
protected:
    void SetUp() override
    {
        Shares::SetUp();
        xen_ = std::make_unique<Xen>();
    }
    const std::vector<uint32_t> three{7, 20, 7, 21, 7, 25};
    const uint64_t entries[3] = {0x1000, 0x5008, 0x5010};
    std::unique_ptr<Xen> xen_;
};

TEST_F(Loans, XenWritesTheEntries)
{
    Program program;
    for (const bool writable : {true, false}) {
        ASSERT_EQ(program.borrow(three), 0);
        xen_area *area = program.get(3);
        ASSERT_NE(area, nullptr);
        EXPECT_EQ(xen_area_page(area, 0), nullptr);
        ASSERT_EQ(xen_area_map(area, entries, writable), 0);
        EXPECT_EQ(xen_area_map(area, entries, writable), -EBUSY);
        ASSERT_EQ(xen_->mapped.size(), 3u);
        unsigned i = 0;
        for (const auto &[handle, mapped] : xen_->mapped) {
            EXPECT_EQ(mapped.entry, entries[i]);
            EXPECT_EQ(mapped.reference, three[2 * i++ + 1]);
            // Host, application, an entry, and bit 9 of it.
            EXPECT_EQ(mapped.flags, 0x1001au | (writable ? 0 : 4));
        }
        xen_area_unmap(area);
        EXPECT_TRUE(xen_->mapped.empty());
        xen_area_unmap(area); // there is nothing any more
        xen_area_put(area);
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Loans, AllOrNothing)
{
    Program program;
    const std::vector<std::pair<std::vector<uint32_t>, int>> wrong{
        {{7, 20, 7, 21, 7, 19}, -EINVAL},
        {{7, 20, 6, 21, 7, 22}, -EINVAL},
        {{7, 20, 7, 40, 7, 22}, -EAGAIN},
        {{7, 20, 7, 21, 7, 30}, -EINVAL},
        {{7, UINT32_MAX, 7, 21, 7, 20}, -EINVAL}};
    for (const auto &[pairs, error] : wrong) {
        ASSERT_EQ(program.borrow(pairs), 0);
        xen_area *area = program.get(3);
        EXPECT_EQ(xen_area_map(area, entries, true), error);
        EXPECT_TRUE(xen_->mapped.empty());
        xen_area_unmap(area);
        xen_area_put(area);
    }
    EXPECT_EQ(program.borrow({7, 20, 0x7ff0, 1}), -EINVAL);
    EXPECT_EQ(program.borrow({0x10007, 20}), -EINVAL);
    EXPECT_EQ(program.borrow({}), -EINVAL);
}

TEST_F(Loans, ByteIsClearedBeforeAndOnce)
{
    Program program;
    ASSERT_EQ(program.borrow(three), 0);
    xen_area *area = program.get(3);
    EXPECT_EQ(xen_area_notify(program.file, program.index + 2 * page + 99, 1, 0), 0);
    ASSERT_EQ(xen_area_map(area, entries, true), 0);
    xen_area_unmap(area);
    xen_area_unmap(area);
    EXPECT_EQ(xen_->cleared, (std::vector<std::pair<uint32_t, unsigned>>{{25, 99}}));
    xen_area_put(area);
}

TEST_F(Loans, WhatXenDoesNotUnmapIsTold)
{
    Program program;
    ASSERT_EQ(program.borrow(three), 0);
    xen_area *area = program.get(3);
    ASSERT_EQ(xen_area_map(area, entries, true), 0);
    xen_->stubborn = true;
    xen_area_unmap(area);
    EXPECT_EQ(sim::complaints().size(), 3u);
    EXPECT_EQ(sim::complaints()[0], "grant 25 of domain 7 is not unmapped");
    xen_area_put(area);
}

// The domain is suspended: nobody has anything mapped any more.
TEST_F(Loans, AllAreUnmappedAtOnce)
{
    Program program, other;
    ASSERT_EQ(program.borrow(three), 0);
    ASSERT_EQ(other.borrow({7, 28}), 0);
    xen_area *first = program.get(3), *second = other.get(1);
    ASSERT_EQ(xen_area_map(first, entries, true), 0);
    ASSERT_EQ(xen_area_map(second, entries, true), 0);
    xen_areas_unmap_all();
    EXPECT_TRUE(xen_->mapped.empty());
    xen_areas_unmap_all();
    EXPECT_EQ(xen_area_map(first, entries, true), 0); // it was cancelled
    xen_areas_unmap_all();

    sim::restore();
    EXPECT_EQ(xen_area_map(first, entries, true), -EIO); // domain 7 is another one
    EXPECT_TRUE(xen_->mapped.empty());
    xen_area_put(first);
    xen_area_put(second);
    EXPECT_EQ(program.borrow(three), 0);
}

} // namespace
