// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels, 2-level (public/event_channel.h): the upcall, masking, handlers by port, and
// sleeping until one is due. Implements the event and exclusion parts of port.h.
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "guest.hpp"
#include "internal.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

struct Binding {
    void (*handler)(void *context);
    void *context;
    uint64_t unmask_at; // 0: not to be unmasked by itself
};

constexpr unsigned max_ports = 128; // as many as SCHEDOP_poll takes
constinit Binding bindings[max_ports];

abi::VcpuInfo &vcpu() { return guest::shared_info().vcpu_info[0]; }

uint64_t bit_of(unsigned port) { return 1ull << (port % 64); }

void mask(unsigned port)
{
    // Pairs with Xen testing the mask when it sets the pending bit.
    __atomic_fetch_or(&guest::shared_info().evtchn_mask[port / 64], bit_of(port), __ATOMIC_SEQ_CST);
}

bool masked(unsigned port)
{
    return load_shared(guest::shared_info().evtchn_mask[port / 64]) & bit_of(port);
}

// Xen does it, because it also looks whether an event came meanwhile.
Status unmask(unsigned port)
{
    abi::EvtchnPort op{port};
    return hypercall(abi::hypercall_event_channel_op, abi::evtchnop_unmask, &op).error();
}

void unmask_due()
{
    for (unsigned port = 0; port < max_ports; ++port) {
        if (bindings[port].unmask_at && bindings[port].unmask_at <= xen_port_now()) {
            bindings[port].unmask_at = 0;
            unmask(port).take();
        }
    }
}

void run_handlers(unsigned word, uint64_t bits)
{
    while (bits) {
        unsigned port = word * 64 + static_cast<unsigned>(__builtin_ctzll(bits));
        bits &= bits - 1;
        // Until xen_port_event_done(), or for good if nobody listens (any more).
        mask(port);
        // Pairs with Xen setting the bit: an event after this point comes once it is unmasked.
        __atomic_fetch_and(&guest::shared_info().evtchn_pending[word], ~bit_of(port),
                           __ATOMIC_SEQ_CST);
        if (port < max_ports && bindings[port].handler)
            bindings[port].handler(bindings[port].context);
    }
}

} // namespace

extern "C" void guest_upcall_stub();

// From guest_upcall_stub, events masked.
extern "C" void guest_upcall()
{
    abi::SharedInfo &shared = guest::shared_info();
    do {
        store_shared(vcpu().upcall_pending, 0);
        // Pairs with Xen setting the selector before upcall_pending.
        uint64_t selector = __atomic_exchange_n(&vcpu().pending_selector, 0, __ATOMIC_SEQ_CST);
        for (; selector; selector &= selector - 1) {
            unsigned word = static_cast<unsigned>(__builtin_ctzll(selector));
            run_handlers(word, load_shared(shared.evtchn_pending[word]) &
                                   ~load_shared(shared.evtchn_mask[word]));
        }
    } while (load_shared(vcpu().upcall_pending));
}

void guest::events_init()
{
    for (uint64_t &mask : shared_info().evtchn_mask)
        store_shared(mask, ~0ull);
    abi::CallbackRegister callback{abi::callback_event, abi::callback_masks_events,
                                   reinterpret_cast<uint64_t>(&guest_upcall_stub)};
    if (!hypercall(abi::hypercall_callback_op, abi::callbackop_register, &callback).ok())
        tap::bail_out("Xen refuses the event callback");
    xen_port_irq_restore(0);
}

unsigned long xen_port_irq_save()
{
    unsigned long flags = load_shared(vcpu().upcall_mask);
    store_shared(vcpu().upcall_mask, 1);
    // Pairs with Xen reading the mask: what follows is not interrupted.
    read_barrier();
    return flags;
}

void xen_port_irq_restore(unsigned long flags)
{
    write_barrier();
    store_shared(vcpu().upcall_mask, static_cast<uint8_t>(flags));
    // Pairs with Xen setting upcall_pending and then reading the mask: one of the two sees it.
    full_barrier();
    // Xen makes an upcall that is due on the way back from any hypercall.
    if (!flags && load_shared(vcpu().upcall_pending))
        (void)hypercall(abi::hypercall_version, abi::xenver_version, nullptr);
}

int xen_port_event_bind(uint32_t port, void (*handler)(void *context), void *context)
{
    if (port >= max_ports)
        return to_errno(Error::no_space);
    bindings[port] = {handler, context, 0};
    return to_errno(unmask(port).error());
}

void xen_port_event_done(uint32_t port, uint64_t delay_ns)
{
    if (port >= max_ports || !bindings[port].handler)
        return;
    if (delay_ns)
        bindings[port].unmask_at = xen_port_now() + delay_ns;
    else
        unmask(port).take();
}

void xen_port_event_unbind(uint32_t port)
{
    if (port >= max_ports)
        return;
    mask(port);
    bindings[port] = {};
}

void guest::wait_for_event(uint64_t deadline)
{
    uint32_t ports[max_ports];
    abi::SchedPoll poll{ports, 0, deadline};
    for (uint32_t port = 0; port < max_ports; ++port) {
        // A masked one may have an event, which nobody takes for now.
        if (bindings[port].handler && !masked(port))
            ports[poll.nr_ports++] = port;
        if (bindings[port].unmask_at && bindings[port].unmask_at < poll.timeout)
            poll.timeout = bindings[port].unmask_at;
    }
    (void)hypercall(abi::hypercall_sched_op, abi::schedop_poll, &poll);
    unmask_due();
}

void guest::wait_change(const uint32_t &counter, uint32_t seen, uint32_t ms)
{
    uint64_t deadline = xen_port_now() + ms * 1000000ull;
    // Masked, so that an event between the look and the sleep is still pending for the sleep.
    unsigned long flags = xen_port_irq_save();
    while (load_shared(counter) == seen && xen_port_now() < deadline) {
        wait_for_event(deadline);
        xen_port_irq_restore(0);
        xen_port_irq_save();
    }
    xen_port_irq_restore(flags);
}

Status guest::wait_for(const uint32_t &counter, uint32_t count, uint32_t ms)
{
    uint64_t deadline = xen_port_now() + ms * 1000000ull;
    uint32_t seen;
    while ((seen = load_shared(counter)) < count) {
        if (xen_port_now() > deadline)
            return Error::timed_out;
        wait_change(counter, seen, ms);
    }
    return {};
}
