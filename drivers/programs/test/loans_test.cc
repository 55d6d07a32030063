// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Programs at /dev/xen/gntdev, with Xen's part of mapping grants played by the test.
#include <cerrno>
#include <map>

#include <programs/core/evtchn.h>
#include <xen/hypercall.hpp>

#include "areas.hpp"

namespace {

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

class Loans : public AreaTest {
protected:
    void SetUp() override
    {
        AreaTest::SetUp();
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
        xen_area_unmap(area);                                     // there is nothing any more
        EXPECT_EQ(xen_area_map(area, entries, writable), -EBUSY); // or the first would unmap it
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

// When it is unmapped; of one that never was mapped, at its end.
TEST_F(Loans, EventIsSentOnce)
{
    const auto memory = std::make_unique<uint64_t[]>(xen_evtchn_size() / 8 + 1);
    xen_evtchn *events = xen_evtchn_open(memory.get(), nullptr);
    const auto port = static_cast<uint32_t>(xen_evtchn_bind(events, 7, 0));
    sim::Peer peer{7};
    const uint32_t theirs = peer.bind(port);
    peer.take_event(theirs);
    Program program;
    for (const bool is_mapped : {true, false}) {
        ASSERT_EQ(program.borrow(three), 0);
        xen_area *area = program.get(3);
        EXPECT_EQ(xen_area_notify(program.file, program.index, 2, port), 0);
        EXPECT_EQ(held_files(), 1);
        if (is_mapped) {
            ASSERT_EQ(xen_area_map(area, entries, true), 0);
            xen_area_unmap(area);
        }
        EXPECT_EQ(peer.take_event(theirs), is_mapped);
        xen_area_put(area);
        EXPECT_EQ(xen_area_forget(program.file, program.index, 3), 0);
        EXPECT_EQ(peer.take_event(theirs), !is_mapped);
        EXPECT_EQ(held_files(), 0);
    }
    xen_evtchn_close(events);
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
    ASSERT_EQ(program.borrow(three), 0);
    xen_area *third = program.get(3);

    sim::restore();
    EXPECT_EQ(xen_area_map(third, entries, true), -EIO); // domain 7 is another one
    EXPECT_TRUE(xen_->mapped.empty());
    xen_area_put(first);
    xen_area_put(second);
    xen_area_put(third);
    EXPECT_EQ(program.borrow(three), 0);
}

} // namespace
