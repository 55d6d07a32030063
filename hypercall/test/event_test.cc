// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels: allocation, delivery, and ports that are always closed exactly once.
#include <cerrno>

#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/event.hpp>

namespace {

void count(void *context) { ++*static_cast<unsigned *>(context); }

class EventTest : public sim::MachineTest {
protected:
    xen::Result<xen::EventChannel> listen()
    {
        return xen::EventChannel::listen(xen::DomId{3}, count, &events_);
    }

    unsigned events_ = 0;
    sim::Peer peer_{3};
};

TEST_F(EventTest, BothWays)
{
    auto channel = listen().take();
    const uint32_t port = peer_.bind(channel.port().value);
    ASSERT_NE(port, 0u);
    (void)peer_.take_event(port);
    peer_.notify(port);
    EXPECT_EQ(events_, 1u);
    EXPECT_FALSE(peer_.take_event(port));
    channel.notify();
    EXPECT_TRUE(peer_.take_event(port));
}

TEST_F(EventTest, OnlyTheNamedDomainBinds)
{
    auto channel = listen().take();
    sim::Peer stranger{4};
    EXPECT_EQ(stranger.bind(channel.port().value), 0u);
}

TEST_F(EventTest, ClosingEndsDelivery)
{
    auto channel = listen().take();
    const uint32_t port = peer_.bind(channel.port().value);
    channel.close();
    EXPECT_FALSE(channel.open());
    peer_.notify(port);
    EXPECT_EQ(events_, 0u);
    channel.close();
    channel.notify();
}

TEST_F(EventTest, MovingKeepsThePort)
{
    auto channel = listen().take();
    const auto port = channel.port();
    xen::EventChannel other = std::move(channel);
    EXPECT_EQ(other.port(), port);
    auto second = listen().take();
    second = std::move(other); // closes its own
    peer_.notify(peer_.bind(port.value));
    EXPECT_EQ(events_, 1u);
}

TEST_F(EventTest, XenRefuses)
{
    sim::filter_hypercalls([](unsigned, const unsigned long *) { return -ENOSPC; });
    EXPECT_EQ(listen().error(), xen::Error::no_space);
}

TEST_F(EventTest, XenNamesAnImpossiblePort)
{
    unsigned closed = 0;
    for (const uint32_t bad : {0u, xen::abi::max_event_ports, 0xffffffffu}) {
        sim::filter_hypercalls([&](unsigned, const unsigned long *arguments) {
            if (arguments[0] == xen::abi::evtchnop_alloc_unbound)
                reinterpret_cast<xen::abi::EvtchnAllocUnbound *>(arguments[1])->port = bad;
            closed += arguments[0] == xen::abi::evtchnop_close;
            return 0;
        });
        EXPECT_EQ(listen().error(), xen::Error::range);
    }
    EXPECT_EQ(closed, 3u);
}

} // namespace
