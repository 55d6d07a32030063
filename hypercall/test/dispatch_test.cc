// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The dispatch of events, by both kinds of event channels (public/event_channel.h): ports that go
// while their events are handled, ports without a handler, unmasking, vCPUs, another domain.
#include <array>
#include <thread>

#include "dispatch_kit.hpp"

namespace {

using namespace kit;

TEST_P(EventsTest, OneEventUntilItIsDone)
{
    unsigned calls = 0;
    bind(5, 20, [&] { ++calls; });
    for (unsigned i = 0; i < 10; ++i) {
        notify(5);
        xen_dispatch_events();
    }
    EXPECT_EQ(calls, 1u);
    const unsigned before = channels.unmasked_by_us();
    xen_event_unmask(5); // one came meanwhile
    EXPECT_EQ(channels.unmasked_by_us(), before + 1);
    xen_dispatch_events();
    EXPECT_EQ(calls, 2u);
    xen_event_unmask(5); // none did, and Xen need not look
    EXPECT_EQ(channels.unmasked_by_us(), before + 1);
    EXPECT_FALSE(masked(5));
}

TEST_P(EventsTest, Xsa331HandlerClosesItsOwnPortAndASibling)
{
    unsigned calls = 0;
    for (const uint32_t port : {5u, 7u, 70u}) // 70 is in another word
        bind(port, 20 + port, [&] {
            ++calls;
            unbind(5);
            unbind(7);
            unbind(70);
        });
    for (const uint32_t port : {70u, 7u, 5u})
        notify(port);
    xen_dispatch_events();
    EXPECT_EQ(calls, 1u);
    EXPECT_TRUE(masked(5) && masked(7) && masked(70));
    EXPECT_EQ(xen_port_irq(7), 0u);
}

TEST_P(EventsTest, Xsa331WithoutAHandlerMaskedAndCounted)
{
    ASSERT_EQ(xen_port_room(7), 0);
    xen_event_unmask(7);
    for (unsigned i = 0; i < 100; ++i) {
        notify(7);
        xen_dispatch_events();
    }
    EXPECT_EQ(strays, 1u);
    EXPECT_TRUE(masked(7));
    EXPECT_EQ(xen_port_irq(0xffffffff), 0u);
}

// A port that is given out again right after it was seen without a handler loses no event.
TEST_P(EventsTest, Xsa331HandlerComesBack)
{
    unsigned calls = 0;
    xen_event_unmask(7);
    on_stray = [&] { bind(7, 27, [&] { ++calls; }); };
    notify(7);
    xen_dispatch_events();
    EXPECT_EQ(calls, 1u);
}

TEST_P(EventsTest, AnotherVcpusPortIsLeftToIt)
{
    unsigned calls = 0;
    xen_bind_ipi(1);
    bind(5, 20, [&] { ++calls; });
    ASSERT_EQ(xen_port_move(5, 1), 0);
    bind(6, 21, [] {});
    notify(5);
    notify(6);
    dispatch_on(0);
    EXPECT_EQ(calls, 0u);
    EXPECT_FALSE(masked(5));
    dispatch_on(1);
    EXPECT_EQ(calls, 1u);
}

// ---- a port moves to another vCPU ----

class Move : public EventsTest {
protected:
    void SetUp() override
    {
        EventsTest::SetUp();
        xen_bind_ipi(1);
        bind(5, 20, [this] { calls++; });
    }

    // What each vCPU handles now.
    unsigned handled_by(unsigned cpu)
    {
        const unsigned before = calls;
        dispatch_on(cpu);
        return calls - before;
    }

    unsigned calls = 0;
};

TEST_P(Move, EventsGoThere)
{
    ASSERT_EQ(xen_port_move(5, 1), 0);
    EXPECT_EQ(channels.vcpu_of(5), 1u);
    notify(5);
    EXPECT_EQ(handled_by(0), 0u);
    EXPECT_EQ(handled_by(1), 1u);
}

// The first vCPU was told of it. It leaves it to the second, unless it is the one that has it.
TEST_P(Move, EventOfBeforeIsNotLost)
{
    notify(5);
    ASSERT_EQ(xen_port_move(5, 1), 0);
    const bool stays = GetParam() == fifo;
    EXPECT_EQ(handled_by(0), stays ? 1u : 0u);
    EXPECT_EQ(handled_by(1), stays ? 0u : 1u);
    xen_event_unmask(5);
    notify(5);
    EXPECT_EQ(handled_by(0), 0u);
    EXPECT_EQ(handled_by(1), 1u);
}

TEST_P(Move, MaskedPortStaysMasked)
{
    notify(5);
    EXPECT_EQ(handled_by(0), 1u);
    notify(5);
    ASSERT_EQ(xen_port_move(5, 1), 0);
    EXPECT_TRUE(masked(5));
    EXPECT_EQ(handled_by(0) + handled_by(1), 0u);
    xen_event_unmask(5);
    EXPECT_EQ(handled_by(0), 0u);
    EXPECT_EQ(handled_by(1), 1u);
}

// Another vCPU is done with the last event, right before Xen hears of the move or right after.
TEST_P(Move, UnmaskedMeanwhile)
{
    for (const unsigned told : {0u, 1u}) {
        xen_port_move(5, 0);
        notify(5);
        EXPECT_EQ(handled_by(0), 1u);
        notify(5);
        unsigned early = 0;
        (told == 0 ? before_bind_vcpu : after_bind_vcpu) = [&] {
            xen_event_unmask(5);
            if (told == 1)
                early = handled_by(1); // a 2-level event: not its port yet
        };
        ASSERT_EQ(xen_port_move(5, 1), 0);
        before_bind_vcpu = after_bind_vcpu = {};
        EXPECT_EQ(early + handled_by(0) + handled_by(1), 1u) << told;
        xen_event_unmask(5);
    }
}

TEST_P(Move, PortThatXenDoesNotMoveStays)
{
    EXPECT_NE(xen_port_move(0, 1), 0);
    EXPECT_EQ(xen_port_irq(0), 0u);
}

// One vCPU takes ports away, and prints: the console's event is handled in the middle of that. The
// other handles events of both. Whoever held a lock around the table would wait for ever.
TEST_P(EventsTest, Xsa441RemovalMeetsTheConsolesEvent)
{
    unsigned console_events = 0;
    bind(5, 20, [&] {
        __atomic_add_fetch(&console_events, 1, __ATOMIC_RELAXED);
        xen_event_unmask(5);
    });
    xen_bind_ipi(1);
    bind(7, 27, [] {});
    handlers[27] = [] { unbind(7); };
    ASSERT_EQ(xen_port_move(7, 1), 0);
    bool done = false;
    std::thread other([&] {
        this_cpu = 1;
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
            notify(7);
            xen_dispatch_events();
        }
    });
    for (unsigned i = 0; i < 20'000; ++i) {
        xen_port_assign(7, 27, 1);
        xen_event_unmask(7);
        unbind(7);
        notify(5);
        xen_dispatch_events();
    }
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    other.join();
    EXPECT_EQ(console_events, 20'000u);
}

// ---- many ports, many vCPUs, other domains ----

TEST_P(EventsTest, PortsBeyondThePagesThatThereAre)
{
    const unsigned last = GetParam() == fifo ? 5000 : 4095;
    notify(last); // before there is room for it
    unsigned calls = 0;
    bind(last, 20, [&] { ++calls; });
    dispatch_on(0);
    EXPECT_EQ(calls, 1u);
    EXPECT_EQ(xen_port_room(GetParam() == fifo ? xen::abi::max_event_ports : 4096), -34);
    EXPECT_EQ(xen_port_irq(last), 20u);
    EXPECT_EQ(xen_port_irq(XEN_MAX_PORTS - 1), 0u);
}

TEST_P(EventsTest, RestoredDomainStartsAnew)
{
    unsigned calls = 0, ipis = 0;
    for (const unsigned cpu : {1u, 2u})
        ASSERT_GT(xen_bind_ipi(cpu), 0);
    for (const uint32_t port : {5u, 7u, 70u})
        bind(port, 20 + port, [&] { ++calls; });
    for (const uint32_t port : {5u, 7u, 70u}) // no vCPU has seen them yet
        notify(port);
    if (GetParam() == fifo)
        bind(5000, 50, [] {});
    const auto pages = channels.pages();
    restore(GetParam());
    dispatch_on(0);
    EXPECT_EQ(channels.is_fifo(), GetParam() == fifo);
    EXPECT_EQ(channels.pages(), pages);
    EXPECT_EQ(calls, 0u);
    EXPECT_EQ(strays, 0u);
    EXPECT_TRUE(masked(5) && masked(7) && masked(70));
    EXPECT_EQ(xen_port_irq(7), 0u);
    bind(7, 30, [&] { ++calls; }); // whatever it is now
    const auto ipi = static_cast<uint32_t>(xen_bind_ipi(2));
    handlers[31] = [&] { ++ipis; };
    xen_port_assign(ipi, 31, 2);
    xen_event_unmask(ipi);
    notify(7);
    notify(ipi);
    dispatch_on(0);
    dispatch_on(2);
    EXPECT_EQ(calls, 1u);
    EXPECT_EQ(ipis, 1u);
    EXPECT_EQ(strays, 0u);
}

// Whoever notifies, and wherever it is handled meanwhile, the last event of each port is seen.
TEST_P(EventsTest, NoneIsLostOnTwoVcpus)
{
    constexpr uint32_t first = 5, count = 40;
    std::array<uint32_t, first + count> due{};
    ASSERT_GT(xen_bind_ipi(1), 0);
    for (uint32_t port = first; port < first + count; ++port) {
        bind(port, 100 + port, [&due, port] {
            __atomic_store_n(&due[port], 0, __ATOMIC_SEQ_CST);
            xen_event_unmask(port);
        });
        ASSERT_EQ(xen_port_move(port, port % 2), 0);
    }
    bool done = false;
    const auto vcpu = [&](unsigned cpu) {
        this_cpu = cpu;
        while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST))
            dispatch_on(cpu);
    };
    std::thread zero(vcpu, 0), one(vcpu, 1);
    for (unsigned i = 0; i < 40'000; ++i) {
        const uint32_t port = first + i * 7 % count;
        __atomic_store_n(&due[port], 1, __ATOMIC_SEQ_CST);
        notify(port);
    }
    __atomic_store_n(&done, true, __ATOMIC_SEQ_CST);
    zero.join();
    one.join();
    dispatch_on(0);
    dispatch_on(1);
    for (uint32_t port = first; port < first + count; ++port)
        EXPECT_EQ(due[port], 0u) << port;
}

INSTANTIATE_TEST_SUITE_P(Kinds, EventsTest, ::testing::Values(two_level, fifo), name_of);
INSTANTIATE_TEST_SUITE_P(Kinds, Move, ::testing::Values(two_level, fifo), name_of);

} // namespace
