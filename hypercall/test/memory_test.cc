// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What Xen says of the domain's memory, as the kernel gets to know it.
#include <algorithm>
#include <cerrno>
#include <vector>

#include <xen/abi.hpp>
#include <xen/memory.h>

#include <sim/sim.hpp>

namespace {

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

class Memory : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            if (number != xen::abi::hypercall_memory_op)
                return std::optional<long>();
            command_ = arguments[0];
            if (command_ == xen::abi::xenmem_memory_map && result_ == 0) {
                auto &map = *reinterpret_cast<xen::abi::XenMemoryMap *>(arguments[1]);
                EXPECT_GE(map.nr_entries, map_.size());
                std::copy(map_.begin(), map_.end(), static_cast<xen::abi::E820Entry *>(map.buffer));
                map.nr_entries = claimed_ ? claimed_ : static_cast<uint32_t>(map_.size());
            } else if (command_ == xen::abi::xenmem_populate_physmap) {
                auto &args = *reinterpret_cast<xen::abi::XenMemoryReservation *>(arguments[1]);
                for (long i = 0; i < result_; ++i)
                    args.extents[i] += 1000;
            }
            return std::optional<long>(result_);
        });
    }
    static Ranges ranges(uint64_t end)
    {
        uint64_t start[XEN_MAP_ENTRIES], size[XEN_MAP_ENTRIES];
        Ranges found;
        for (unsigned i = 0, count = xen_memory_map(end, start, size); i < count; ++i)
            found.emplace_back(start[i], size[i]);
        return found;
    }
    std::vector<xen::abi::E820Entry> map_;
    uint32_t claimed_ = 0;
    long result_ = 0;
    unsigned long command_ = 0;
};

TEST_F(Memory, NothingIsSaidWithoutAMap)
{
    result_ = -ENOSYS;
    EXPECT_TRUE(ranges(0x10'0000).empty());
}

TEST_F(Memory, IsWhatTheMapHasOfIt)
{
    map_ = {{0, 0x1000, 1}, {0x1000, 0x1000, 2}, {0x2000, 0x9000, 1}, {0x20000, 0x1000, 1}};
    EXPECT_EQ(ranges(0x5000), (Ranges{{0, 0x1000}, {0x2000, 0x3000}}));
    EXPECT_EQ(ranges(0x2000), (Ranges{{0, 0x1000}}));
    EXPECT_EQ(ranges(UINT64_MAX), (Ranges{{0, 0x1000}, {0x2000, 0x9000}, {0x20000, 0x1000}}));
}

// What follows a hole is no use: Linux describes all pages up to the last one.
TEST_F(Memory, GrowsToTheEndOfTheRangeThatItBootedIn)
{
    map_ = {{0, 0xa0, 1}, {0x100, 0x700, 1}, {0x800, 0x100, 2}, {0xa00, 0x600, 1}};
    for (auto &entry : map_) {
        entry.address <<= 12;
        entry.size <<= 12;
    }
    EXPECT_EQ(xen_memory_most(0x400, 0x2000), 0x800u);
    EXPECT_EQ(xen_memory_most(0x400, 0x600), 0x600u);
    EXPECT_EQ(xen_memory_most(0x100, 0x2000), 0x100u); // a boundary
    EXPECT_EQ(xen_memory_most(0x800, 0x2000), 0x800u);
    EXPECT_EQ(xen_memory_most(0x880, 0x2000), 0x880u);
    EXPECT_EQ(xen_memory_most(0xb00, 0x2000), 0x1000u);
    EXPECT_EQ(xen_memory_most(0x1100, 0x2000), 0x1100u);
    result_ = -ENOSYS;
    EXPECT_EQ(xen_memory_most(0x400, 0x2000), 0x400u);
}

TEST_F(Memory, MapsDoNotGoBeyondTheirRoom)
{
    map_.assign(XEN_MAP_ENTRIES, {0, 0x1000, 1});
    claimed_ = 1000;
    EXPECT_EQ(ranges(0x1000).size(), unsigned{XEN_MAP_ENTRIES});
}

TEST_F(Memory, ComesAndGoesAsFarAsXenSays)
{
    uint64_t frames[] = {1, 2, 3};
    result_ = 2;
    EXPECT_EQ(xen_populate(frames, 3), 2u);
    EXPECT_EQ(frames[1], 1002u);
    EXPECT_EQ(frames[2], 3u);
    EXPECT_EQ(xen_decrease_reservation(frames, 3), 2u);
    EXPECT_EQ(command_, xen::abi::xenmem_decrease_reservation);
    result_ = -ENOMEM;
    EXPECT_EQ(xen_populate(frames, 3), 0u);
}

} // namespace
