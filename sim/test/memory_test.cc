// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Whoever reaches for memory that is not there, or no longer, ends the test.
#include <cstring>

#include <gtest/gtest.h>

#include <sim/sim.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

namespace {

class Memory : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        page_ = static_cast<uint8_t *>(xen_port_page_alloc());
    }

    // As the cores do it.
    uint32_t load(unsigned offset) const
    {
        // SAFETY: inside or outside of the page: that is the question.
        return xen::load_shared(*reinterpret_cast<const uint32_t *>(page_ + offset));
    }

    uint8_t *page_ = nullptr;
};

constexpr const char *not_there = "reaches for a page that it does not have";

TEST_F(Memory, EndsWhereThePageEnds)
{
    EXPECT_EQ(load(4092), 0u);
    EXPECT_DEATH(load(4096), not_there);
    uint8_t buffer[8];
    xen::copy_from_shared(buffer, page_ + 4088, 8);
    EXPECT_DEATH(xen::copy_from_shared(buffer, page_ + 4089, 8), not_there);
    EXPECT_DEATH(xen::copy_to_shared(page_ - 1, buffer, 8), not_there);
#ifdef __SANITIZE_ADDRESS__
    EXPECT_DEATH(static_cast<volatile uint8_t *>(page_)[4096] = 1, "use-after-poison");
    EXPECT_DEATH(static_cast<volatile uint8_t *>(page_)[-1] = 1, "use-after-poison");
    EXPECT_DEATH(std::memset(page_ + 4000, 1, 97), "use-after-poison");
#endif
    xen_port_page_free(page_);
}

TEST_F(Memory, IsGoneWhenItIsFreed)
{
    xen_port_page_free(page_);
    EXPECT_DEATH(load(0), not_there);
    EXPECT_DEATH(xen::store_shared(*page_, uint8_t{1}), not_there);
    EXPECT_DEATH(xen_port_page_free(page_), "freed what is no page in use");
#ifdef __SANITIZE_ADDRESS__
    EXPECT_DEATH((void)*static_cast<volatile uint8_t *>(page_), "use-after-poison");
    EXPECT_DEATH(std::memset(page_, 0, 4096), "use-after-poison");
#endif
    // Not even the next page that is handed out is at this address.
    void *next = xen_port_page_alloc();
    EXPECT_NE(next, page_);
    xen_port_page_free(next);
}

TEST_F(Memory, IsOutOfAPeersReachOnceUnmapped)
{
    auto grant = xen::Grant::give(xen::DomId{0}, page_, xen::GrantAccess::read_write).take();
    sim::Peer peer;
    uint8_t *view = peer.map(grant.ref().value);
    ASSERT_NE(view, nullptr);
    view[7] = 9;
    EXPECT_EQ(page_[7], 9);
    EXPECT_DEATH(xen_port_page_free(page_), "page freed while");
    peer.unmap(view);
    EXPECT_DEATH((void)*static_cast<volatile uint8_t *>(view), "");
    grant.end_and_free(page_);
}

} // namespace
