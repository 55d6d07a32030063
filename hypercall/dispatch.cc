// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels (public/event_channel.h): from a pending event to the kernel's interrupt, the
// 2-level kind, and inter-processor interrupts. The other kind is fifo.cc's.
#include <xen/dispatch.h>

#include <xen/abi.hpp>
#include <xen/hypercall.hpp>
#include <xen/lock.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "ports.hpp"

namespace xen {
namespace {

constexpr unsigned word_bits = 64;
static_assert(XEN_MAX_PORTS == abi::max_event_ports);

constinit abi::SharedInfo *shared = nullptr;
constinit bool fifo_wanted = true;
constinit bool fifo_used = false;

constinit PortPage *port_pages[abi::max_event_ports / ports_per_page]{};
constinit Atomic<uint32_t> page_count;
constinit SpinLock growing;

struct IpiState {
    uint32_t port;
    uint32_t reasons;
};
constinit IpiState ipis[XEN_MAX_VCPUS]{};

// ---- bits in shared info; Xen sets and clears them at any time ----

uint64_t bit_of(uint32_t port) { return 1ull << (port % word_bits); }

void set_bit(uint64_t &word, uint64_t bit) { __atomic_fetch_or(&word, bit, __ATOMIC_SEQ_CST); }
void clear_bit(uint64_t &word, uint64_t bit) { __atomic_fetch_and(&word, ~bit, __ATOMIC_SEQ_CST); }

bool is_masked(uint32_t port)
{
    return load_shared(shared->evtchn_mask[port / word_bits]) & bit_of(port);
}

// A restored domain may have fewer than it had.
bool is_two_level(uint32_t port) { return port < abi::two_level_ports; }

void mask(uint32_t port)
{
    if (fifo_used)
        fifo::mask(port);
    else if (is_two_level(port))
        set_bit(shared->evtchn_mask[port / word_bits], bit_of(port));
}

void unmask(uint32_t port)
{
    if (fifo_used) {
        fifo::unmask(port);
        return;
    }
    if (!is_two_level(port))
        return;
    uint64_t &word = shared->evtchn_mask[port / word_bits];
    clear_bit(word, bit_of(port));
    // Pairs with Xen setting the pending bit and then looking at the mask: one of the two sees it.
    if (!(load_shared(shared->evtchn_pending[port / word_bits]) & bit_of(port)))
        return;
    // An event came meanwhile. Xen knows which vCPU to tell, but only looks at masked ports.
    set_bit(word, bit_of(port));
    unmask_in_xen(port);
}

PortState state_of(uint32_t port)
{
    PortState state{};
    if (PortPage *page = port_page(port))
        __atomic_load(&page->states[port % ports_per_page], &state, __ATOMIC_SEQ_CST);
    return state;
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

void dispatch_two_level(abi::VcpuInfo &info, unsigned cpu)
{
    // Pairs with Xen's order: pending bit, selector, upcall_pending.
    uint64_t selector = __atomic_exchange_n(&info.pending_selector, 0, __ATOMIC_SEQ_CST);
    while (selector) {
        unsigned word = static_cast<unsigned>(__builtin_ctzll(selector));
        selector &= selector - 1;
        handle_word(word, cpu);
    }
}

void mask_all()
{
    for (auto &word : shared->evtchn_mask)
        store_shared(word, ~0ull);
    for (PortPage *page : port_pages)
        for (unsigned i = 0; page && i < ports_per_page; ++i)
            store_shared(page->words[i], fifo::fresh_word);
}

// ---- room for ports ----

void free_page(PortPage *page)
{
    // SAFETY: it came as so many pages, which are given back one by one.
    auto *bytes = reinterpret_cast<char *>(page);
    for (size_t i = 0; i < sizeof(PortPage); i += page_size)
        xen_port_page_free(bytes + i);
}

PortPage *new_page()
{
    auto *page = static_cast<PortPage *>(xen_port_pages_alloc(sizeof(PortPage) / page_size));
    if (page)
        for (uint32_t &word : page->words)
            word = fifo::fresh_word;
    return page;
}

Status add_page(uint32_t index)
{
    // One that Xen refused before, or somebody else's who was faster.
    PortPage *known = __atomic_load_n(&port_pages[index], __ATOMIC_ACQUIRE);
    PortPage *page = known ? known : new_page();
    if (!page)
        return Error::no_memory;
    Status status;
    {
        LockGuard guard(growing);
        if (page_count.load() == index) {
            if (fifo_used)
                status = fifo::add_words(*page);
            if (status.ok()) {
                __atomic_store_n(&port_pages[index], page, __ATOMIC_RELEASE);
                page_count.store(index + 1);
                return {};
            }
        }
    }
    if (!known)
        free_page(page);
    return status;
}

// Says to Xen again all that there is. False: it has 2-level ones alone.
bool use_fifo()
{
    if (!fifo_wanted || !fifo::add_vcpu(0).ok())
        return false;
    for (uint32_t i = 0; i < page_count.load(); ++i)
        if (!fifo::add_words(*port_pages[i]).ok()) {
            // Xen appends: the next page that it takes has these ports. Whoever binds one tries.
            xen_port_log(XEN_PORT_ERROR, "Xen refuses a page of the event array");
            page_count.store(i);
        }
    return true;
}

// Before a vCPU has a port.
Status vcpu_queues(unsigned cpu) { return fifo_used ? fifo::add_vcpu(cpu) : Status{}; }

} // namespace

PortPage *port_page(uint32_t port)
{
    if (port >= abi::max_event_ports)
        return nullptr;
    return __atomic_load_n(&port_pages[port / ports_per_page], __ATOMIC_ACQUIRE);
}

void unmask_in_xen(uint32_t port)
{
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
    // A vCPU that looks for 2-level events sees others', too. What is in its queue is its own to
    // handle, even if the port has moved since: nobody else will find it.
    if (fifo_used || state.cpu == cpu)
        glue_handle_irq(state.irq);
}

} // namespace xen

using namespace xen;

extern "C" void xen_events_in(void *shared_info)
{
    // SAFETY: the page that Xen shares with the domain.
    shared = static_cast<abi::SharedInfo *>(shared_info);
}

extern "C" void xen_events_two_level(void) { fifo_wanted = false; }

extern "C" void xen_events_start(void)
{
    (void)xen_port_room(0); // whoever binds a port says that there was no memory
    mask_all();
    fifo_used = use_fifo();
    xen_port_log(XEN_PORT_INFO, fifo_used ? "FIFO event channels" : "2-level event channels");
}

extern "C" void xen_events_restored(void)
{
    for (PortPage *page : port_pages)
        if (page)
            __builtin_memset(page->states, 0, sizeof(page->states));
    mask_all();
    if (!fifo_used)
        return;
    fifo::forget();
    fifo_used = use_fifo();
    if (!fifo_used)
        xen_port_log(XEN_PORT_WARNING, "2-level event channels are all that this Xen has");
}

extern "C" int xen_port_room(uint32_t port)
{
    if (port >= (fifo_used ? abi::max_event_ports : abi::two_level_ports))
        return to_errno(Error::range);
    for (uint32_t index; (index = page_count.load()) <= port / ports_per_page;) {
        const Status status = add_page(index);
        if (!status.ok())
            return to_errno(status.error());
    }
    return 0;
}

// The upcall: events are masked on this vCPU until it returns.
extern "C" void xen_dispatch_events(void)
{
    // SAFETY: the kernel registered it with Xen, which keeps this structure there.
    auto &info = *static_cast<abi::VcpuInfo *>(glue_vcpu_info());
    unsigned cpu = glue_cpu();
    do {
        store_shared(info.upcall_pending, 0);
        if (fifo_used)
            fifo::dispatch(cpu);
        else
            dispatch_two_level(info, cpu);
    } while (load_shared(info.upcall_pending));
}

extern "C" void xen_port_assign(uint32_t port, uint32_t irq, uint32_t cpu)
{
    PortState state{irq, cpu};
    if (PortPage *page = port_page(port))
        __atomic_store(&page->states[port % ports_per_page], &state, __ATOMIC_SEQ_CST);
}

extern "C" int xen_port_move(uint32_t port, uint32_t cpu)
{
    abi::EvtchnBindVcpu args{port, cpu};
    auto done = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_vcpu, &args);
    if (!done.ok())
        return to_errno(done.error());
    xen_port_assign(port, state_of(port).irq, cpu);
    // Xen may have told the vCPU that it no longer is for, which handles what is in its queue.
    if (!fifo_used && !is_masked(port)) {
        mask(port);
        unmask(port);
    }
    return 0;
}

extern "C" void xen_event_ack(uint32_t port)
{
    if (fifo_used)
        fifo::ack(port);
    else
        clear_bit(shared->evtchn_pending[port / word_bits], bit_of(port));
}

extern "C" void xen_event_mask(uint32_t port) { mask(port); }

extern "C" uint32_t xen_port_irq(uint32_t port) { return state_of(port).irq; }

extern "C" uint32_t xen_port_end(void) { return page_count.load() * ports_per_page; }

extern "C" void xen_event_unmask(uint32_t port) { unmask(port); }

// Binds a virtual interrupt to a vCPU; the port, or a negative errno.
extern "C" int xen_bind_virq(unsigned virq, unsigned cpu)
{
    abi::EvtchnBindVirq args{virq, cpu, 0};
    const Status queues = vcpu_queues(cpu);
    if (!queues.ok())
        return to_errno(queues.error());
    auto done = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_virq, &args);
    if (!done.ok())
        return to_errno(done.error());
    if (fifo_used && virq == abi::virq_timer)
        fifo::set_priority(args.port, abi::event_priority_max);
    return static_cast<int>(args.port);
}

extern "C" int xen_bind_ipi(unsigned cpu)
{
    abi::EvtchnBindIpi args{cpu, 0};
    const Status queues = vcpu_queues(cpu);
    if (!queues.ok())
        return to_errno(queues.error());
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
