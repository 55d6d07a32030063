// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A program with an open file of /dev/xen/gntalloc or gntdev, and a machine on which it must leave
// nothing behind.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <programs/core/areas.h>
#include <sim/sim.hpp>
#include <xen/grant.hpp>

constexpr uint64_t page = xen::page_size;

// Of /dev/xen/evtchn (evtchn_test.cc).
int held_files();

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

class AreaTest : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        free_before = xen::free_grants();
    }
    void TearDown() override
    {
        EXPECT_EQ(held_files(), 0);
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::pages_in_use(), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
        EXPECT_EQ(xen::free_grants(), free_before);
        MachineTest::TearDown();
    }
    unsigned free_before = 0;
};
