// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event storms: a backend that sends events for nothing gets its port looked at ever more rarely;
// one that completes something never waits, whoever found what it completed.
#include <xen/abi.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>

#include "fixture.hpp"

namespace netfront_test {
namespace {

class Storm : public ConnectedTest {
protected:
    // An event each tenth of a millisecond for so long.
    void storm(unsigned milliseconds)
    {
        for (unsigned i = 0; i < milliseconds * 10; i++) {
            backend->notify();
            if (poll_wanted)
                poll();
            sim::advance(100'000);
        }
    }
};

TEST_F(Storm, Xsa332Xsa391EventsForNothingBecomeRare)
{
    const unsigned before = events;
    storm(10'000);
    EXPECT_LE(events - before, 32u + 20u); // what its traffic earned, and then about one a second
    EXPECT_GE(events - before, 10u);       // it is not cut off
    EXPECT_EQ(sim::complaints().size(), 1u);
    storm(10'000);
    EXPECT_EQ(sim::complaints().size(), 1u);
    // Its packets wait for the port, then everything is as before.
    ASSERT_TRUE(backend->deliver(packet(100)));
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    settle();
    sim::advance(1'100'000'000);
    settle();
    EXPECT_EQ(received.size(), 1u);
    const unsigned delayed = sim::delayed_events();
    for (unsigned i = 0; i < 50; i++)
        expect_traffic();
    EXPECT_EQ(sim::delayed_events(), delayed);
}

// A backend that guesses the port sends an event before it was told of it, and before this side has
// bound its handler.
TEST_F(NetFrontTest, Xsa332AnEventThatComesTooEarlyIsNotTheLast)
{
    sim::Peer guesser;
    on_event = [this] { poll(); };
    sim::filter_hypercalls(
        [&, inside = false](unsigned number, const unsigned long *arguments) mutable {
            if (inside || number != xen::abi::hypercall_event_channel_op ||
                arguments[0] != xen::abi::evtchnop_alloc_unbound)
                return std::optional<long>();
            inside = true;
            const long result = xen_hypercall(number, arguments[0], arguments[1], 0, 0, 0);
            // SAFETY: the argument of this command.
            guesser.notify(reinterpret_cast<xen::abi::EvtchnAllocUnbound *>(arguments[1])->port);
            inside = false;
            return std::optional<long>(result);
        });
    connect();
    EXPECT_GE(events, 1u);
    on_event = {};
    sim::filter_hypercalls({});
    expect_traffic();
}

// In a storm the kernel can always leave: taking the device off needs no event.
TEST_F(Storm, Xsa332Xsa391DeviceIsRemovedMeanwhile)
{
    storm(2'000);
    remove();
    backend.reset();
    expect_nothing_held();
    connect();
    expect_traffic();
    EXPECT_EQ(received.size(), 5u);
}

// Responses that another poll has found are progress all the same.
TEST_F(Storm, Xsa391WhatWasReapedElsewhereIsProgress)
{
    backend->serve_tx = false;
    for (unsigned i = 0; i < 1000; i++) {
        xen::netif::TxRequest request;
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        ASSERT_TRUE(backend->next_tx(request));
        const unsigned long flags = xen_port_irq_save();
        backend->respond_tx({.id = request.id, .status = 0});
        EXPECT_EQ(netfront_poll(device, 0, 64), 0u); // takes the response before the event comes
        xen_port_irq_restore(flags);
        EXPECT_TRUE(poll_wanted);
        settle();
    }
    EXPECT_EQ(counters().tx_packets, 1000u);
    EXPECT_EQ(sim::delayed_events(), 0u);
}

TEST_F(Storm, Xsa376Xsa391BrokenDeviceTakesNoEvents)
{
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    ASSERT_TRUE(work_wanted);
    const unsigned before = events;
    storm(1'000);
    EXPECT_EQ(events, before);
    expect_broken("rx id = 9");
}

} // namespace
} // namespace netfront_test
