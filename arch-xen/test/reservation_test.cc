// SPDX-License-Identifier: GPL-2.0-only
// Pages that go to Xen and come back, with a Xen that stops halfway: the list of frames and the
// direct map say of each page what is true.
#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include <sim/sim.hpp>
#include <xen/memory.h>

#include "../core/arch.hpp"

extern "C" {
unsigned xen_arch_give_pages(const uint64_t *pfns, unsigned count);
unsigned xen_arch_take_pages(const uint64_t *pfns, unsigned count);
}

namespace {

std::set<uint64_t> *mapped; // pages, writable in the direct map

} // namespace

namespace xen::pv {

Guest guest;

BatchScope::BatchScope() : flags_(0) {}
BatchScope::~BatchScope() = default;

void batch_call(LazyMode, abi::Hypercall op, uint64_t address, uint64_t entry, uint64_t, uint64_t)
{
    EXPECT_EQ(op, abi::hypercall_update_va_mapping);
    EXPECT_EQ(entry, 0u);
    EXPECT_EQ(mapped->erase((address - direct_map_base) >> page_shift), 1u);
}

void batch_set_access(Pfn pfn, bool writable)
{
    EXPECT_TRUE(writable);
    EXPECT_NE(guest.p2m[pfn.value], no_frame) << "mapped before it has a frame";
    mapped->insert(pfn.value);
}

} // namespace xen::pv

namespace {

using xen::pv::guest;
using xen::pv::no_frame;
constexpr uint64_t pages = 10;
const std::vector<uint64_t> ours = {7, 2, 3, 5};

class Reservation : public sim::MachineTest, public ::testing::WithParamInterface<long> {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        for (uint64_t pfn = 0; pfn < pages; ++pfn) {
            p2m_.push_back(1000 + pfn);
            mapped_.insert(pfn);
        }
        mapped = &mapped_;
        guest.p2m = p2m_.data();
        guest.pages = pages;
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            if (number != xen::abi::hypercall_memory_op)
                return std::optional<long>();
            auto &args = *reinterpret_cast<xen::abi::XenMemoryReservation *>(arguments[1]);
            for (unsigned i = 0; i < ours.size(); ++i) {
                if (arguments[0] == xen::abi::xenmem_decrease_reservation)
                    EXPECT_EQ(args.extents[i], 1000 + ours[i]);
                else if (i < done_)
                    args.extents[i] = 2000 + ours[i];
            }
            return std::optional<long>(result_);
        });
    }
    void TearDown() override
    {
        guest = {};
        MachineTest::TearDown();
    }
    void xen_does(long result)
    {
        result_ = result;
        done_ = static_cast<unsigned>(std::max(result, 0l));
    }
    // The first ones of ours have the frame `done`, the others `rest`; nothing else has changed.
    void check(uint64_t done, uint64_t rest)
    {
        for (uint64_t pfn = 0; pfn < pages; ++pfn) {
            const auto at = std::find(ours.begin(), ours.end(), pfn) - ours.begin();
            uint64_t base = 1000;
            if (at < static_cast<long>(ours.size()))
                base = at < done_ ? done : rest;
            EXPECT_EQ(p2m_[pfn], base == no_frame ? no_frame : base + pfn) << pfn;
            EXPECT_EQ(mapped_.count(pfn), base == no_frame ? 0u : 1u) << pfn;
        }
    }
    std::vector<uint64_t> p2m_;
    std::set<uint64_t> mapped_;
    long result_ = 0;
    unsigned done_ = 0;
};

TEST_P(Reservation, WhatXenDoesNotTakeStays)
{
    xen_does(GetParam());
    EXPECT_EQ(xen_arch_give_pages(ours.data(), ours.size()), done_);
    check(no_frame, 1000);
}

TEST_P(Reservation, WhatXenDoesNotGiveStaysAway)
{
    xen_does(ours.size());
    ASSERT_EQ(xen_arch_give_pages(ours.data(), ours.size()), ours.size());
    xen_does(GetParam());
    EXPECT_EQ(xen_arch_take_pages(ours.data(), ours.size()), done_);
    check(2000, no_frame);
}

INSTANTIATE_TEST_SUITE_P(Of4, Reservation, ::testing::Values(0, 1, 3, 4, -ENOMEM),
                         [](const auto &info) {
                             return info.param < 0 ? "Refused"
                                                   : "Done" + std::to_string(info.param);
                         });

} // namespace
