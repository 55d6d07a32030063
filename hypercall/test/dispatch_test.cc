// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The dispatch of events: ports that go while their events are handled, ports without a handler,
// unmasking. Xen's side is public/event_channel.h's 2-level scheme.
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include <xen/abi.hpp>
#include <xen/dispatch.h>
#include <xen/hypercall.hpp>

namespace {

alignas(4096) xen::abi::SharedInfo shared;
thread_local unsigned this_cpu;
std::map<unsigned, std::function<void()>> handlers; // by irq
std::function<void()> on_stray;
unsigned strays;
unsigned hypercalls;
std::array<unsigned, 128> vcpus;    // that Xen tells, by port
std::function<void()> on_bind_vcpu; // what another vCPU does at that moment

uint64_t bit(uint32_t port) { return 1ull << (port % 64); }

// What Xen does when somebody notifies a port that is bound to vCPU `cpu`.
void tell(uint32_t port, unsigned cpu)
{
    xen::abi::VcpuInfo &vcpu = shared.vcpu_info[cpu];
    __atomic_fetch_or(&vcpu.pending_selector, 1ull << (port / 64), __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu.upcall_pending, 1, __ATOMIC_SEQ_CST);
}

void notify(uint32_t port, unsigned cpu = 0)
{
    if (__atomic_fetch_or(&shared.evtchn_pending[port / 64], bit(port), __ATOMIC_SEQ_CST) &
        bit(port))
        return;
    if (!(__atomic_load_n(&shared.evtchn_mask[port / 64], __ATOMIC_SEQ_CST) & bit(port)))
        tell(port, cpu);
}

bool masked(uint32_t port) { return shared.evtchn_mask[port / 64] & bit(port); }

class Events : public ::testing::Test {
protected:
    void SetUp() override
    {
        std::memset(&shared, 0, sizeof(shared));
        xen_events_in(&shared);
        handlers.clear();
        on_stray = {};
        strays = hypercalls = 0;
        vcpus.fill(0);
        on_bind_vcpu = {};
        this_cpu = 0;
        xen_mask_all_events();
    }

    void TearDown() override
    {
        for (const uint32_t port : {5u, 7u, 70u})
            xen_port_assign(port, 0, 0);
    }

    // As glue/irq.c binds a device's port: the flow handler masks and clears.
    void bind(uint32_t port, unsigned irq, std::function<void()> handler)
    {
        handlers[irq] = [port, handler] {
            xen_event_mask(port);
            xen_event_ack(port);
            handler();
        };
        xen_port_assign(port, irq, 0);
        xen_event_unmask(port);
    }

    static void unbind(uint32_t port)
    {
        xen_event_mask(port);
        xen_port_assign(port, 0, 0);
    }
};

TEST_F(Events, OneEventUntilItIsDone)
{
    unsigned calls = 0;
    bind(5, 20, [&] { ++calls; });
    for (unsigned i = 0; i < 10; ++i) {
        notify(5);
        xen_dispatch_events();
    }
    EXPECT_EQ(calls, 1u);
    hypercalls = 0;
    xen_event_unmask(5); // one came meanwhile
    EXPECT_EQ(hypercalls, 1u);
    xen_dispatch_events();
    EXPECT_EQ(calls, 2u);
    xen_event_unmask(5); // none did, and Xen need not look
    EXPECT_EQ(hypercalls, 1u);
    EXPECT_FALSE(masked(5));
}

TEST_F(Events, Xsa331HandlerClosesItsOwnPortAndASibling)
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

TEST_F(Events, Xsa331WithoutAHandlerMaskedAndCounted)
{
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
TEST_F(Events, Xsa331HandlerComesBack)
{
    unsigned calls = 0;
    xen_event_unmask(7);
    on_stray = [&] { bind(7, 27, [&] { ++calls; }); };
    notify(7);
    xen_dispatch_events();
    EXPECT_EQ(calls, 1u);
}

TEST_F(Events, AnotherVcpusPortIsLeftToIt)
{
    unsigned calls = 0;
    bind(5, 20, [&] { ++calls; });
    xen_port_assign(5, 20, 1);
    notify(5);
    xen_dispatch_events();
    EXPECT_EQ(calls, 0u);
    EXPECT_FALSE(masked(5));
}

// ---- a port moves to another vCPU ----

class Move : public Events {
protected:
    void SetUp() override
    {
        Events::SetUp();
        bind(5, 20, [this] { calls++; });
    }

    // What each vCPU handles now.
    unsigned handled_by(unsigned cpu)
    {
        const unsigned before = calls;
        this_cpu = cpu;
        xen_dispatch_events();
        this_cpu = 0;
        return calls - before;
    }

    unsigned calls = 0;
};

TEST_F(Move, EventsGoThere)
{
    ASSERT_EQ(xen_port_move(5, 1), 0);
    EXPECT_EQ(vcpus.at(5), 1u);
    notify(5, 1);
    EXPECT_EQ(handled_by(0), 0u);
    EXPECT_EQ(handled_by(1), 1u);
}

// The first vCPU was told of it, and leaves it to the second.
TEST_F(Move, EventOfBeforeIsNotLost)
{
    notify(5);
    ASSERT_EQ(xen_port_move(5, 1), 0);
    EXPECT_EQ(handled_by(0), 0u);
    EXPECT_EQ(handled_by(1), 1u);
}

TEST_F(Move, MaskedPortStaysMasked)
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

// Another vCPU is done with the last event, right before or after Xen has heard of the move.
TEST_F(Move, UnmaskedMeanwhile)
{
    for (const unsigned told : {0u, 1u}) {
        xen_port_move(5, 0);
        notify(5);
        EXPECT_EQ(handled_by(0), 1u);
        notify(5);
        on_bind_vcpu = [told] {
            vcpus[5] = told;
            xen_event_unmask(5);
            this_cpu = told;
            if (told == 1) // not its port yet
                xen_dispatch_events();
            this_cpu = 0;
        };
        ASSERT_EQ(xen_port_move(5, 1), 0);
        on_bind_vcpu = {};
        EXPECT_EQ(handled_by(0) + handled_by(1), 1u) << told;
        xen_event_unmask(5);
    }
}

TEST_F(Move, PortThatXenDoesNotMoveStays)
{
    EXPECT_NE(xen_port_move(0, 1), 0);
    EXPECT_EQ(xen_port_irq(0), 0u);
}

// One vCPU takes ports away, and prints: the console's event is handled in the middle of that. The
// other handles events of both. Whoever held a lock around the table would wait for ever.
TEST_F(Events, Xsa441RemovalMeetsTheConsolesEvent)
{
    unsigned console_events = 0;
    bind(5, 20, [&] {
        __atomic_add_fetch(&console_events, 1, __ATOMIC_RELAXED);
        xen_event_unmask(5);
    });
    handlers[27] = [] { unbind(7); };
    vcpus[7] = 1;
    bool done = false;
    std::thread other([&] {
        this_cpu = 1;
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
            notify(7, 1);
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

} // namespace

// ---- Linux ----

void glue_handle_irq(unsigned irq) { handlers.at(irq)(); }

void glue_stray_event()
{
    __atomic_add_fetch(&strays, 1, __ATOMIC_RELAXED);
    if (on_stray)
        on_stray();
}

void *glue_vcpu_info() { return &shared.vcpu_info[this_cpu]; }
unsigned glue_cpu() { return this_cpu; }

// ---- Xen ----

extern "C" long xen_hypercall(unsigned long number, unsigned long command, unsigned long argument,
                              unsigned long, unsigned long, unsigned long)
{
    if (number != xen::abi::hypercall_event_channel_op)
        return -38;
    if (command == xen::abi::evtchnop_bind_vcpu) {
        // SAFETY: EVTCHNOP_bind_vcpu's argument.
        const auto &bind = *reinterpret_cast<xen::abi::EvtchnBindVcpu *>(argument);
        if (bind.port == 0)
            return -22;
        if (on_bind_vcpu)
            on_bind_vcpu();
        vcpus[bind.port] = bind.vcpu;
        return 0;
    }
    if (command != xen::abi::evtchnop_unmask)
        return -38;
    __atomic_add_fetch(&hypercalls, 1, __ATOMIC_RELAXED);
    // SAFETY: EVTCHNOP_unmask's argument.
    const uint32_t port = reinterpret_cast<xen::abi::EvtchnPort *>(argument)->port;
    uint64_t &mask = shared.evtchn_mask[port / 64];
    if ((__atomic_fetch_and(&mask, ~bit(port), __ATOMIC_SEQ_CST) & bit(port)) &&
        (__atomic_load_n(&shared.evtchn_pending[port / 64], __ATOMIC_SEQ_CST) & bit(port)))
        tell(port, vcpus[port]);
    return 0;
}
