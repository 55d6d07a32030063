// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels, 2-level (public/event_channel.h): from a pending bit to the kernel's interrupt,
// and inter-processor interrupts.
#include <xen/dispatch.h>

#include <xen/abi.hpp>
#include <xen/hypercall.hpp>
#include <xen/shared.hpp>

namespace xen {
namespace {

constexpr unsigned word_bits = 64;
static_assert(XEN_MAX_PORTS == abi::max_event_ports);

constinit abi::SharedInfo *shared = nullptr;

struct alignas(8) PortState {
    uint32_t irq; // 0: nobody's
    uint32_t cpu; // where Xen delivers it
};
constinit PortState ports[abi::max_event_ports]{};

struct IpiState {
    uint32_t port;
    uint32_t reasons;
};
constinit IpiState ipis[XEN_MAX_VCPUS]{};

// ---- bits in shared info; Xen sets and clears them at any time ----

uint64_t bit_of(uint32_t port) { return 1ull << (port % word_bits); }

void set_bit(uint64_t &word, uint64_t bit) { __atomic_fetch_or(&word, bit, __ATOMIC_SEQ_CST); }
void clear_bit(uint64_t &word, uint64_t bit) { __atomic_fetch_and(&word, ~bit, __ATOMIC_SEQ_CST); }

PortState state_of(uint32_t port)
{
    PortState state;
    __atomic_load(&ports[port], &state, __ATOMIC_SEQ_CST);
    return state;
}

void mask(uint32_t port) { set_bit(shared->evtchn_mask[port / word_bits], bit_of(port)); }

void unmask(uint32_t port)
{
    uint64_t &word = shared->evtchn_mask[port / word_bits];
    clear_bit(word, bit_of(port));
    // Pairs with Xen setting the pending bit and then looking at the mask: one of the two sees it.
    if (!(load_shared(shared->evtchn_pending[port / word_bits]) & bit_of(port)))
        return;
    // An event came meanwhile. Xen knows which vCPU to tell, but only looks at masked ports.
    set_bit(word, bit_of(port));
    abi::EvtchnPort args{port};
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_unmask, &args);
}

void handle_port(uint32_t port, unsigned cpu)
{
    PortState state = state_of(port);
    if (state.irq == 0) {
        // Nobody listens (any more): once is enough, unless the port was given out again meanwhile.
        mask(port);
        glue_stray_event();
        if (state_of(port).irq != 0)
            unmask(port);
        return;
    }
    if (state.cpu == cpu)
        glue_handle_irq(state.irq);
}

void handle_word(unsigned word, unsigned cpu)
{
    uint64_t active =
        load_shared(shared->evtchn_pending[word]) & ~load_shared(shared->evtchn_mask[word]);
    while (active) {
        unsigned bit = static_cast<unsigned>(__builtin_ctzll(active));
        active &= active - 1;
        handle_port(word * word_bits + bit, cpu);
    }
}

} // namespace
} // namespace xen

using namespace xen;

extern "C" void xen_events_in(void *shared_info)
{
    // SAFETY: the page that Xen shares with the domain.
    shared = static_cast<abi::SharedInfo *>(shared_info);
}

// The upcall: events are masked on this vCPU until it returns.
extern "C" void xen_dispatch_events(void)
{
    // SAFETY: the kernel registered it with Xen, which keeps this structure there.
    auto &info = *static_cast<abi::VcpuInfo *>(glue_vcpu_info());
    unsigned cpu = glue_cpu();
    do {
        store_shared(info.upcall_pending, 0);
        // Pairs with Xen's order: pending bit, selector, upcall_pending.
        uint64_t selector = __atomic_exchange_n(&info.pending_selector, 0, __ATOMIC_SEQ_CST);
        while (selector) {
            unsigned word = static_cast<unsigned>(__builtin_ctzll(selector));
            selector &= selector - 1;
            handle_word(word, cpu);
        }
    } while (load_shared(info.upcall_pending));
}

extern "C" void xen_port_assign(uint32_t port, uint32_t irq, uint32_t cpu)
{
    PortState state{irq, cpu};
    __atomic_store(&ports[port], &state, __ATOMIC_SEQ_CST);
}

extern "C" int xen_port_move(uint32_t port, uint32_t cpu)
{
    abi::EvtchnBindVcpu args{port, cpu};
    auto done = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_vcpu, &args);
    if (!done.ok())
        return to_errno(done.error());
    xen_port_assign(port, state_of(port).irq, cpu);
    // Xen may have told the vCPU that it no longer is for.
    if (!(load_shared(shared->evtchn_mask[port / word_bits]) & bit_of(port))) {
        mask(port);
        unmask(port);
    }
    return 0;
}

extern "C" void xen_event_ack(uint32_t port)
{
    clear_bit(shared->evtchn_pending[port / word_bits], bit_of(port));
}

extern "C" void xen_event_mask(uint32_t port) { mask(port); }

extern "C" uint32_t xen_port_irq(uint32_t port)
{
    return port < abi::max_event_ports ? state_of(port).irq : 0;
}

extern "C" void xen_event_unmask(uint32_t port) { unmask(port); }

extern "C" void xen_mask_all_events(void)
{
    for (auto &word : shared->evtchn_mask)
        store_shared(word, ~0ull);
}

// Binds a virtual interrupt to a vCPU; the port, or a negative errno.
extern "C" int xen_bind_virq(unsigned virq, unsigned cpu)
{
    abi::EvtchnBindVirq args{virq, cpu, 0};
    auto done = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_virq, &args);
    return done.ok() ? static_cast<int>(args.port) : to_errno(done.error());
}

extern "C" int xen_bind_ipi(unsigned cpu)
{
    abi::EvtchnBindIpi args{cpu, 0};
    auto done = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_ipi, &args);
    if (!done.ok())
        return to_errno(done.error());
    ipis[cpu].port = args.port; // reasons that were given before the domain was restored still hold
    return static_cast<int>(args.port);
}

extern "C" void xen_close_port(uint32_t port)
{
    abi::EvtchnPort args{port};
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_close, &args);
}

extern "C" void xen_send_ipi(unsigned cpu, uint32_t reason)
{
    // Sent even if another reason is pending: its sender may have been stopped before it sent.
    __atomic_fetch_or(&ipis[cpu].reasons, reason, __ATOMIC_SEQ_CST);
    abi::EvtchnPort args{ipis[cpu].port};
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_send, &args);
}

extern "C" uint32_t xen_take_ipi_reasons(unsigned cpu)
{
    return __atomic_exchange_n(&ipis[cpu].reasons, 0, __ATOMIC_SEQ_CST);
}
