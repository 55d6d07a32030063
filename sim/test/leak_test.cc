// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Bytes that a peer can read and that no message named are found.
#include <cstring>

#include <gtest/gtest.h>

#include <sim/access.hpp>
#include <sim/sim.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>

namespace {

using Leak = sim::MachineTest;

TEST_F(Leak, IsWhatNoMessageNamed)
{
    auto *page = static_cast<uint8_t *>(xen_port_page_alloc());
    auto grant = xen::Grant::give(xen::DomId{0}, page, xen::GrantAccess::read_only).take();
    const uint32_t reference = grant.ref().value;
    EXPECT_EQ(sim::leaked(), "");
    std::memset(page + 100, 0x5e, 50);
    sim::declare(reference, 100, 50);
    EXPECT_EQ(sim::leaked(), "");
    page[150] = 0xab;
    const std::string leak = "grant " + std::to_string(reference) + " shows offset 150, 0xab";
    EXPECT_EQ(sim::leaked(), leak);
    sim::guard(page); // the search is not the guest's access
    EXPECT_EQ(sim::leaked(), leak);
    // Without a grant it is the guest's own, and the next owner of the page has declared nothing.
    EXPECT_TRUE(grant.end().ok());
    EXPECT_EQ(sim::leaked(), "");
    xen_port_page_free(page);
}

} // namespace
