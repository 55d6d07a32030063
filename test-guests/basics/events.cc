// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels and time (public/event_channel.h, vcpu.h): with itself, a domain can be both ends.
#include <xen/abi_pv.hpp>
#include <xen/event.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

// A port and how often its handler ran.
struct Counter {
    uint32_t events = 0;
    uint32_t progress_per_event = 1;
    EventChannel channel;
};

void count(void *context)
{
    auto &counter = *static_cast<Counter *>(context);
    const uint32_t events = __atomic_add_fetch(&counter.events, 1, __ATOMIC_RELAXED);
    counter.channel.arrived();
    counter.channel.done(events * counter.progress_per_event);
}

uint32_t read(const Counter &counter) { return __atomic_load_n(&counter.events, __ATOMIC_RELAXED); }

// A port that an IPI to this vCPU arrives at; notify() sends it.
Status ipi(EventChannel &channel, EventChannel::Handler handler, void *context)
{
    abi::EvtchnBindIpi bind{0, 0};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_ipi, &bind));
    return channel.adopt(EventPort{bind.port}, handler, context);
}

Status ipi(Counter &counter) { return ipi(counter.channel, count, &counter); }

constexpr uint32_t soon_ms = 5000; // for what should come at once
constexpr uint32_t never_ms = 20;  // for what should not come

} // namespace

void event_ipi()
{
    Counter counter;
    NEED(ipi(counter));
    for (uint32_t i = 1; i <= 100; ++i) {
        counter.channel.notify();
        NEED(guest::wait_for(counter.events, i, soon_ms));
        CHECK(read(counter) == i);
    }
}

void event_pair()
{
    Counter here, there;
    NEED(here.channel.listen(guest::own_domid(), count, &here));
    abi::EvtchnBindInterdomain bind{domid_self.value, here.channel.port().value, 0};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_interdomain, &bind));
    NEED(there.channel.adopt(EventPort{bind.local_port}, count, &there));
    // Binding may itself leave an event at the other end.
    (void)guest::wait_for(here.events, 1, never_ms);
    uint32_t before = read(here);

    there.channel.notify();
    NEED(guest::wait_for(here.events, before + 1, soon_ms));
    CHECK(read(there) <= 1);
    before = read(there);
    here.channel.notify();
    NEED(guest::wait_for(there.events, before + 1, soon_ms));
}

void event_masked()
{
    Counter counter;
    NEED(ipi(counter));
    const uint32_t port = counter.channel.port().value;
    uint64_t &word = guest::shared_info().evtchn_mask[port / 64];
    __atomic_fetch_or(&word, 1ull << (port % 64), __ATOMIC_SEQ_CST);
    counter.channel.notify();
    CHECK_ERROR(guest::wait_for(counter.events, 1, never_ms), Error::timed_out);
    // An upcall for somebody else does not take it along.
    Counter other;
    NEED(ipi(other));
    other.channel.notify();
    NEED(guest::wait_for(other.events, 1, soon_ms));
    CHECK(read(counter) == 0);

    abi::EvtchnPort unmask{port};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_unmask, &unmask));
    NEED(guest::wait_for(counter.events, 1, soon_ms));

    // The mask of the whole vCPU.
    unsigned long flags = xen_port_irq_save();
    counter.channel.notify();
    uint32_t masked = read(counter);
    xen_port_irq_restore(flags);
    CHECK(masked == 1);
    CHECK(read(counter) == 2);
}

void event_merged()
{
    Counter counter;
    NEED(ipi(counter));
    unsigned long flags = xen_port_irq_save();
    for (int i = 0; i < 10; ++i)
        counter.channel.notify();
    xen_port_irq_restore(flags);
    CHECK(read(counter) == 1);
}

void event_closed()
{
    Counter counter;
    NEED(ipi(counter));
    EventPort port = counter.channel.port();
    counter.channel.close();
    CHECK(!counter.channel.open());
    abi::EvtchnPort send{port.value};
    CHECK_ERROR(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_send, &send),
                Error::invalid);
    CHECK(read(counter) == 0);
    // The port number can be used again, by somebody else.
    Counter next;
    NEED(ipi(next));
    CHECK(next.channel.port() == port);
    next.channel.notify();
    NEED(guest::wait_for(next.events, 1, soon_ms));
    CHECK(read(counter) == 0);
}

// XSA-331: two ports have an event, and the handler that comes first closes both.
void event_closed_by_handler()
{
    struct Pair {
        EventChannel channels[2];
        uint32_t calls = 0;
    } pair;
    auto close_both = [](void *context) {
        auto &pair = *static_cast<Pair *>(context);
        ++pair.calls;
        for (EventChannel &channel : pair.channels)
            channel.close();
    };
    for (EventChannel &channel : pair.channels)
        NEED(ipi(channel, close_both, &pair));
    unsigned long flags = xen_port_irq_save();
    for (EventChannel &channel : pair.channels)
        channel.notify();
    xen_port_irq_restore(flags);
    CHECK(load_shared(pair.calls) == 1);
    Counter other; // all others go on
    NEED(ipi(other));
    other.channel.notify();
    NEED(guest::wait_for(other.events, 1, soon_ms));
}

// XSA-332, XSA-391: whoever sends events for nothing is slowed down, and nobody else.
void event_storm()
{
    constexpr uint32_t most = 11; // the first is free, then 1 + 2 + 4 + ... ms have to pass
    Counter stormy, honest;
    stormy.progress_per_event = 0;
    NEED(ipi(stormy));
    NEED(ipi(honest));
    uint64_t end = xen_port_now() + 200'000'000;
    while (xen_port_now() < end) {
        stormy.channel.notify();
        uint32_t seen = read(honest);
        honest.channel.notify();
        NEED(guest::wait_for(honest.events, seen + 1, soon_ms));
        (void)guest::wait_for(stormy.events, most, 1);
    }
    CHECK(read(stormy) >= 3);
    CHECK(read(stormy) < most);
    CHECK(read(honest) > read(stormy));

    stormy.progress_per_event = 1;
    uint32_t seen = read(stormy);
    stormy.channel.notify();
    NEED(guest::wait_for(stormy.events, seen + 1, soon_ms));
    uint64_t start = xen_port_now();
    for (uint32_t i = 2; i <= 20; ++i) {
        stormy.channel.notify();
        NEED(guest::wait_for(stormy.events, seen + i, soon_ms));
    }
    CHECK(xen_port_now() - start < 1'000'000'000);
}

void time_advances()
{
    uint64_t last = xen_port_now();
    for (int i = 0; i < 10000; ++i) {
        uint64_t now = xen_port_now();
        CHECK(now >= last);
        last = now;
    }
    uint32_t nothing = 0;
    uint64_t start = xen_port_now();
    CHECK_ERROR(guest::wait_for(nothing, 1, 30), Error::timed_out);
    uint64_t elapsed = xen_port_now() - start;
    CHECK(elapsed >= 30'000'000);
    CHECK(elapsed < 10'000'000'000);
}

void timer()
{
    Counter counter;
    abi::EvtchnBindVirq bind{abi::virq_timer, 0, 0};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_virq, &bind));
    NEED(counter.channel.adopt(EventPort{bind.port}, count, &counter));
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_stop_periodic_timer, 0, nullptr));
    (void)guest::wait_for(counter.events, 1, never_ms); // a tick from before
    uint32_t before = read(counter);

    uint64_t due = xen_port_now() + 20'000'000;
    abi::VcpuSetSingleshotTimer shot{due, abi::singleshot_future};
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_set_singleshot_timer, 0, &shot));
    NEED(guest::wait_for(counter.events, before + 1, soon_ms));
    CHECK(xen_port_now() >= due);
    CHECK_ERROR(guest::wait_for(counter.events, before + 2, never_ms), Error::timed_out);

    // A time in the past is "now": Xen 4.17 does not heed singleshot_future.
    shot.timeout_abs_ns = xen_port_now() - 1'000'000;
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_set_singleshot_timer, 0, &shot));
    NEED(guest::wait_for(counter.events, before + 2, soon_ms));
}
