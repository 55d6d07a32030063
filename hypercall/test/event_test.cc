// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels: allocation, delivery, and ports that are always closed exactly once.
#include <cerrno>

#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/event.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

namespace {

constexpr uint64_t millisecond = 1'000'000;

// A port; each of its events makes so much progress.
class EventTest : public sim::MachineTest {
protected:
    struct End {
        xen::EventChannel channel;
        unsigned events = 0;
        uint32_t progress = 0;
        uint32_t step = 1;
        bool deferred = false; // somebody else calls done()
    };

    static void on_event(void *context)
    {
        auto &end = *static_cast<End *>(context);
        ++end.events;
        end.progress += end.step;
        end.channel.arrived();
        if (!end.deferred)
            end.channel.done(end.progress);
    }

    xen::Status listen() { return end_.channel.listen(xen::DomId{3}, on_event, &end_); }

    // A connected port; returns the peer's end.
    uint32_t connect()
    {
        EXPECT_TRUE(listen().ok());
        const uint32_t port = peer_.bind(end_.channel.port().value);
        EXPECT_NE(port, 0u);
        return port;
    }

    // The peer sends an event every 10 us.
    void storm(uint32_t port, uint64_t nanoseconds)
    {
        for (const uint64_t end = sim::now() + nanoseconds; sim::now() < end;) {
            peer_.notify(port);
            sim::advance(10'000);
        }
    }

    sim::Peer peer_{3};
    End end_;
};

TEST_F(EventTest, BothWays)
{
    const uint32_t port = connect();
    (void)peer_.take_event(port);
    peer_.notify(port);
    EXPECT_EQ(end_.events, 1u);
    EXPECT_FALSE(peer_.take_event(port));
    end_.channel.notify();
    EXPECT_TRUE(peer_.take_event(port));
}

TEST_F(EventTest, OnlyTheNamedDomainBinds)
{
    ASSERT_TRUE(listen().ok());
    sim::Peer stranger{4};
    EXPECT_EQ(stranger.bind(end_.channel.port().value), 0u);
}

TEST_F(EventTest, ClosingEndsDelivery)
{
    const uint32_t port = connect();
    end_.channel.close();
    EXPECT_FALSE(end_.channel.open());
    peer_.notify(port);
    EXPECT_EQ(end_.events, 0u);
    end_.channel.close();
    end_.channel.notify();
}

TEST_F(EventTest, OnePortAtATime)
{
    ASSERT_TRUE(listen().ok());
    EXPECT_EQ(listen().error(), xen::Error::busy);
    end_.channel.close();
    EXPECT_TRUE(listen().ok());
}

TEST_F(EventTest, XenRefuses)
{
    sim::filter_hypercalls([](unsigned, const unsigned long *) { return -ENOSPC; });
    EXPECT_EQ(listen().error(), xen::Error::no_space);
}

TEST_F(EventTest, Cve202672380XenNamesAnImpossiblePort)
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

// ---- events without end ----

TEST_F(EventTest, Xsa332Xsa391StormIsSlowedDownFurtherAndFurther)
{
    const uint32_t port = connect();
    end_.step = 0;
    storm(port, 10 * millisecond);
    EXPECT_EQ(end_.events, 5u); // at 0, 0 (the first one is free), 1, 3, 7 ms
    storm(port, 10000 * millisecond);
    EXPECT_GE(end_.events, 15u);
    EXPECT_LE(end_.events, 21u); // once a second from now on
    const unsigned before = end_.events;
    storm(port, 10000 * millisecond);
    EXPECT_GE(end_.events, before + 9);
    EXPECT_LE(end_.events, before + 10);
    ASSERT_EQ(sim::complaints().size(), 1u) << "one line, however long it takes";
    EXPECT_NE(sim::complaints()[0].find("events for nothing"), std::string::npos);
}

TEST_F(EventTest, Xsa391ProgressEndsTheSlowness)
{
    const uint32_t port = connect();
    end_.step = 0;
    storm(port, 1000 * millisecond);
    end_.step = 1;
    peer_.notify(port);
    sim::advance(2000 * millisecond); // one more comes, with progress
    const unsigned delayed = sim::delayed_events();
    for (unsigned before = end_.events, i = 1; i <= 100; ++i) {
        peer_.notify(port);
        EXPECT_EQ(end_.events, before + i);
    }
    EXPECT_EQ(sim::delayed_events(), delayed);
    end_.step = 0;
    peer_.notify(port); // free again
    EXPECT_EQ(sim::delayed_events(), delayed);
    peer_.notify(port);
    EXPECT_EQ(sim::delayed_events(), delayed + 1);
}

// What completed at any time since the last event counts, whoever found it.
TEST_F(EventTest, Xsa391ProgressOutsideOfTheHandlerCounts)
{
    const uint32_t port = connect();
    end_.step = 0;
    for (unsigned i = 0; i < 1000; ++i) {
        ++end_.progress; // a poll took something
        peer_.notify(port);
    }
    EXPECT_EQ(end_.events, 1000u);
    EXPECT_EQ(sim::delayed_events(), 0u);
}

// An honest peer completes something and then sends the event, which may be late: then a whole
// batch may have been taken before its events come.
TEST_F(EventTest, HonestEventsThatComeLateAreNotDelayed)
{
    const uint32_t port = connect();
    end_.step = 0;
    for (unsigned round = 0; round < 100; ++round) {
        end_.progress += 4;
        for (unsigned i = 0; i < 4; ++i)
            peer_.notify(port);
    }
    EXPECT_EQ(end_.events, 400u);
    EXPECT_EQ(sim::delayed_events(), 0u);
}

// ... but nobody saves up for a storm.
TEST_F(EventTest, Xsa332CreditIsBounded)
{
    const uint32_t port = connect();
    end_.step = 1000;
    for (unsigned i = 0; i < 1000; ++i)
        peer_.notify(port);
    end_.step = 0;
    storm(port, 10 * millisecond);
    EXPECT_LE(end_.events, 1000u + 40);
}

// Masked from the handler's call to done(): later events are one event, which comes then.
TEST_F(EventTest, Xsa332NothingComesBeforeTheLastOneIsDone)
{
    const uint32_t port = connect();
    end_.deferred = true;
    storm(port, 1000 * millisecond);
    EXPECT_EQ(end_.events, 1u);
    end_.channel.done(end_.progress);
    EXPECT_EQ(end_.events, 2u);
    sim::advance(5000 * millisecond);
    EXPECT_EQ(end_.events, 2u) << "a broken device is never done";
}

// However well it behaves, the next one waits so long; not longer, and a storm's delay counts.
TEST_F(EventTest, PausesWhenAsked)
{
    const uint32_t port = connect();
    end_.deferred = true;
    for (unsigned i = 0; i < 10; ++i) {
        const unsigned before = end_.events;
        peer_.notify(port);
        ASSERT_EQ(end_.events, before + 1);
        end_.channel.done(++end_.progress, 5 * millisecond);
        peer_.notify(port);
        sim::advance(4 * millisecond);
        EXPECT_EQ(end_.events, before + 1);
        sim::advance(2 * millisecond);
        EXPECT_EQ(end_.events, before + 2);
        end_.channel.done(++end_.progress);
    }
}

TEST_F(EventTest, DoneWithoutAnEventIsNothing)
{
    const uint32_t port = connect();
    for (unsigned i = 0; i < 10; ++i)
        end_.channel.done(0);
    end_.step = 0;
    peer_.notify(port); // the free one is still there
    EXPECT_EQ(sim::delayed_events(), 0u);
}

// The port goes while it waits to be unmasked, and its number is somebody else's.
TEST_F(EventTest, Xsa331ClosedWhileSlowedDown)
{
    const uint32_t port = connect();
    end_.step = 0;
    storm(port, 100 * millisecond);
    const unsigned before = end_.events;
    end_.channel.close();
    peer_.notify(port);
    sim::advance(5000 * millisecond);
    EXPECT_EQ(end_.events, before);
    xen_port_event_done(port, 0); // too late, and harmless
    // The next one starts afresh.
    const uint32_t next = connect();
    peer_.notify(next);
    EXPECT_EQ(end_.events, before + 1);
    EXPECT_EQ(sim::complaints().size(), 0u);
}

// The port's number is xenstore's when the domain has been restored.
TEST_F(EventTest, RestoredPortsAreNotClosed)
{
    ASSERT_TRUE(listen().ok());
    const uint32_t port = end_.channel.port().value;
    sim::restore();
    EXPECT_TRUE(end_.channel.open());
    EXPECT_EQ(listen().error(), xen::Error::busy);
    unsigned calls = 0;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *) {
        calls += number == xen::abi::hypercall_event_channel_op;
        return std::optional<long>();
    });
    // Its driver has not heard of it yet, and goes on for a while.
    const unsigned delayed = sim::delayed_events();
    end_.channel.notify();
    for (unsigned i = 0; i < 10; ++i) {
        end_.channel.arrived();
        end_.channel.done(end_.progress, millisecond);
    }
    end_.channel.close();
    sim::filter_hypercalls({});
    EXPECT_EQ(calls, 0u) << "port " << port << " is xenstore's now";
    EXPECT_EQ(sim::delayed_events(), delayed);
    EXPECT_FALSE(end_.channel.open());
    EXPECT_TRUE(sim::complaints().empty());

    const uint32_t peers = connect();
    peer_.notify(peers);
    EXPECT_EQ(end_.events, 1u);
    end_.channel.close();
    EXPECT_EQ(peer_.bind(peers), 0u) << "closed";
}

} // namespace
