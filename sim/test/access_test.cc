// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The guest's loads of shared memory are counted, can be acted on, and are the only way to a
// guarded page.
#include <gtest/gtest.h>

#include <sim/access.hpp>
#include <sim/back_ring.hpp>
#include <sim/sim.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>
#include <xen/ring.hpp>

namespace {

struct Message {
    uint32_t id;
    uint32_t value;
};
using Front = xen::FrontRing<Message, Message>;
using Back = sim::BackRing<Message, Message>;

// A ring whose backend has answered one request.
class Access : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        page_ = static_cast<uint8_t *>(xen_port_page_alloc());
        grant_ = xen::Grant::give(xen::DomId{0}, page_, xen::GrantAccess::read_write).take();
        peer_ = std::make_unique<sim::Peer>();
        view_ = peer_->map(grant_.ref().value);
        ASSERT_NE(view_, nullptr);
        front_.init(page_);
        back_ = Back(view_, 4096);
        front_.put(Message{1, 2});
        (void)front_.push();
        Message request;
        ASSERT_TRUE(back_.get(request));
        back_.put(Message{request.id, 3});
        (void)back_.push();
        slot_ = back_.slot(0);
        sim::clear_loads();
    }

    void TearDown() override
    {
        peer_.reset();
        grant_.end_and_free(page_);
        MachineTest::TearDown();
    }

    // What a peer on another processor does.
    void overwrite(uint32_t value) { std::memset(slot_ + 4, static_cast<int>(value), 4); }

    const void *front_view() const { return page_ + sizeof(xen::RingHeader); }

    uint8_t *page_ = nullptr;
    uint8_t *view_ = nullptr;
    uint8_t *slot_ = nullptr;
    std::unique_ptr<sim::Peer> peer_;
    xen::Grant grant_;
    Front front_;
    Back back_;
};

TEST_F(Access, CountsTheGuestsLoadsAlone)
{
    ASSERT_EQ(front_.poll().value(), 1u);
    EXPECT_EQ(front_.take().value, 3u);
    EXPECT_EQ(sim::guest_view(view_ + 17), page_ + 17);
    EXPECT_EQ(sim::loads(&back_.shared().rsp_prod, 4), 1u);
    EXPECT_EQ(sim::loads(slot_, sizeof(Message)), 1u);
    EXPECT_EQ(sim::loads(page_ + sizeof(xen::RingHeader) + 4), 1u);
    EXPECT_EQ(sim::loads(&back_.shared().req_prod, 4), 0u);
    (void)xen::load_shared_object<Message>(front_view());
    EXPECT_EQ(sim::loads(slot_, sizeof(Message)), 2u);
    sim::clear_loads();
    EXPECT_EQ(sim::loads(slot_, sizeof(Message)), 0u);
}

TEST_F(Access, ChangesTheSlotAfterItsFirstLoad)
{
    ASSERT_EQ(front_.poll().value(), 1u);
    unsigned seen = 0;
    const sim::LoadObserver observer([&](const void *address, size_t size, unsigned nth) {
        seen += address == sim::guest_view(slot_ + 4) && size == 4 && nth == 1;
        if (seen == 1)
            overwrite(0x11);
    });
    EXPECT_EQ(front_.take().value, 3u);
    EXPECT_EQ(seen, 1u);
    // A second load sees the change: whoever makes one is found out.
    EXPECT_EQ(xen::load_shared_object<Message>(front_view()).value, 0x11111111u);
}

TEST_F(Access, GuardedPageIsReachedOnlyThroughTheSeam)
{
    sim::guard(view_);
    overwrite(0); // a peer may
    ASSERT_EQ(front_.poll().value(), 1u);
    EXPECT_EQ(front_.take().value, 0u);
#ifdef __SANITIZE_ADDRESS__
    // SAFETY: of all of it, this read is what the guard is against.
    EXPECT_DEATH((void)*static_cast<volatile uint8_t *>(page_), "use-after-poison");
#endif
}

} // namespace
