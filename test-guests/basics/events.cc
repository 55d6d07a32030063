// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels and time (public/event_channel.h, vcpu.h): with itself, a domain can be both ends.
#include <xen/abi_pv.hpp>
#include <xen/event.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>

#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

void count(void *context)
{
    auto *counter = static_cast<uint32_t *>(context);
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

uint32_t read(const uint32_t &counter) { return __atomic_load_n(&counter, __ATOMIC_RELAXED); }

// A port that an IPI to this vCPU arrives at; notify() sends it.
Result<EventChannel> ipi(uint32_t *counter)
{
    abi::EvtchnBindIpi bind{0, 0};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_ipi, &bind));
    return EventChannel::adopt(EventPort{bind.port}, count, counter);
}

constexpr uint32_t soon_ms = 5000; // for what should come at once
constexpr uint32_t never_ms = 20;  // for what should not come

} // namespace

void event_ipi()
{
    uint32_t counter = 0;
    EventChannel channel = NEED(ipi(&counter));
    for (uint32_t i = 1; i <= 100; ++i) {
        channel.notify();
        NEED(guest::wait_for(counter, i, soon_ms));
        CHECK(read(counter) == i);
    }
}

void event_pair()
{
    uint32_t here = 0, there = 0;
    EventChannel listener = NEED(EventChannel::listen(guest::own_domid(), count, &here));
    abi::EvtchnBindInterdomain bind{domid_self.value, listener.port().value, 0};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_interdomain, &bind));
    EventChannel peer = NEED(EventChannel::adopt(EventPort{bind.local_port}, count, &there));
    // Binding may itself leave an event at the other end.
    (void)guest::wait_for(here, 1, never_ms);
    uint32_t before = read(here);

    peer.notify();
    NEED(guest::wait_for(here, before + 1, soon_ms));
    CHECK(read(there) <= 1);
    before = read(there);
    listener.notify();
    NEED(guest::wait_for(there, before + 1, soon_ms));
}

void event_masked()
{
    uint32_t counter = 0;
    EventChannel channel = NEED(ipi(&counter));
    uint64_t &word = guest::shared_info().evtchn_mask[channel.port().value / 64];
    __atomic_fetch_or(&word, 1ull << (channel.port().value % 64), __ATOMIC_SEQ_CST);
    channel.notify();
    CHECK_ERROR(guest::wait_for(counter, 1, never_ms), Error::timed_out);
    // An upcall for somebody else does not take it along.
    uint32_t other = 0;
    EventChannel neighbour = NEED(ipi(&other));
    neighbour.notify();
    NEED(guest::wait_for(other, 1, soon_ms));
    CHECK(read(counter) == 0);

    abi::EvtchnPort unmask{channel.port().value};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_unmask, &unmask));
    NEED(guest::wait_for(counter, 1, soon_ms));

    // The mask of the whole vCPU.
    unsigned long flags = xen_port_irq_save();
    channel.notify();
    uint32_t masked = read(counter);
    xen_port_irq_restore(flags);
    CHECK(masked == 1);
    CHECK(read(counter) == 2);
}

void event_merged()
{
    uint32_t counter = 0;
    EventChannel channel = NEED(ipi(&counter));
    unsigned long flags = xen_port_irq_save();
    for (int i = 0; i < 10; ++i)
        channel.notify();
    xen_port_irq_restore(flags);
    CHECK(read(counter) == 1);
}

void event_closed()
{
    uint32_t counter = 0;
    EventChannel channel = NEED(ipi(&counter));
    EventPort port = channel.port();
    channel.close();
    CHECK(!channel.open());
    abi::EvtchnPort send{port.value};
    CHECK_ERROR(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_send, &send),
                Error::invalid);
    CHECK(read(counter) == 0);
    // The port number can be used again, by somebody else.
    uint32_t other = 0;
    EventChannel next = NEED(ipi(&other));
    CHECK(next.port() == port);
    next.notify();
    NEED(guest::wait_for(other, 1, soon_ms));
    CHECK(read(counter) == 0);
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
    uint32_t counter = 0;
    abi::EvtchnBindVirq bind{abi::virq_timer, 0, 0};
    NEED(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_virq, &bind));
    EventChannel channel = NEED(EventChannel::adopt(EventPort{bind.port}, count, &counter));
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_stop_periodic_timer, 0, nullptr));
    (void)guest::wait_for(counter, 1, never_ms); // a tick from before
    uint32_t before = read(counter);

    uint64_t due = xen_port_now() + 20'000'000;
    abi::VcpuSetSingleshotTimer shot{due, abi::singleshot_future};
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_set_singleshot_timer, 0, &shot));
    NEED(guest::wait_for(counter, before + 1, soon_ms));
    CHECK(xen_port_now() >= due);
    CHECK_ERROR(guest::wait_for(counter, before + 2, never_ms), Error::timed_out);

    // A time in the past is "now": Xen 4.17 does not heed singleshot_future.
    shot.timeout_abs_ns = xen_port_now() - 1'000'000;
    NEED(hypercall(abi::hypercall_vcpu_op, abi::vcpuop_set_singleshot_timer, 0, &shot));
    NEED(guest::wait_for(counter, before + 2, soon_ms));
}
