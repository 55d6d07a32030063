// SPDX-License-Identifier: MIT OR GPL-2.0-only
// FIFO event channels (public/event_channel.h): a word for each port, and for each vCPU a queue of
// every priority, linked through the words. Xen appends to a queue, and this vCPU takes away. Both
// change a word only by atomic operations on all of it.
#include "ports.hpp"

#include <xen/dispatch.h>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

namespace xen::fifo {
namespace {

struct alignas(256) Queues {
    abi::EvtchnControl control;       // Xen's, too
    uint32_t next[abi::event_queues]; // our place in each; 0: the control block has the first one
    bool known;                       // to Xen
};
constexpr unsigned queues_per_page = page_size / sizeof(Queues);
static_assert(page_size % sizeof(Queues) == 0);
static_assert(XEN_MAX_VCPUS % queues_per_page == 0);

constinit Queues *queue_pages[XEN_MAX_VCPUS / queues_per_page]{};

Queues &queues_of(unsigned cpu)
{
    return queue_pages[cpu / queues_per_page][cpu % queues_per_page];
}

uint32_t *word_of(uint32_t port)
{
    PortPage *page = port_page(port);
    return page ? &page->words[port % ports_per_page] : nullptr;
}

// Takes the next event out of a queue, and returns its port and its word as it was in there; the
// word is 0 if there is none. Whatever is linked: no word is taken twice unless Xen links it anew.
uint32_t take(Queues &queues, unsigned queue, uint32_t &port)
{
    port = queues.next[queue];
    if (port == 0)
        port = load_shared(queues.control.head[queue]); // written before the bit in `ready`
    uint32_t *word = word_of(port);
    uint32_t seen = word ? load_shared(*word) : 0;
    do {
        if (!(seen & abi::event_linked)) {
            queues.next[queue] = 0;
            glue_stray_event();
            return 0;
        }
        // Pairs with Xen's linking: it finds the word in a queue and appends to it, or it finds
        // that this was the last one and makes the next event the first. And with its setting of
        // `pending`: we see that, or it sees that the word is in no queue and puts it into one.
    } while (!__atomic_compare_exchange_n(word, &seen,
                                          seen & ~(abi::event_linked | abi::event_link_mask), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    queues.next[queue] = seen & abi::event_link_mask;
    return seen;
}

} // namespace

Status add_vcpu(unsigned cpu)
{
    Queues *&page = queue_pages[cpu / queues_per_page];
    if (!page) // vCPUs come one after the other
        page = static_cast<Queues *>(xen_port_page_alloc());
    if (!page)
        return Error::no_memory;
    Queues &queues = queues_of(cpu);
    if (queues.known)
        return {};
    abi::EvtchnInitControl args{xen_port_frame(page),
                                static_cast<uint32_t>(sizeof(Queues) * (cpu % queues_per_page)),
                                cpu,
                                0,
                                {}};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_init_control, &args));
    queues.known = true;
    return {};
}

Status add_words(const PortPage &page)
{
    abi::EvtchnExpandArray args{xen_port_frame(page.words)};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_expand_array, &args));
    return {};
}

void forget()
{
    for (Queues *page : queue_pages)
        if (page)
            __builtin_memset(static_cast<void *>(page), 0, page_size);
}

void set_priority(uint32_t port, unsigned priority)
{
    abi::EvtchnSetPriority args{port, priority};
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_set_priority, &args);
}

void ack(uint32_t port)
{
    if (uint32_t *word = word_of(port))
        __atomic_fetch_and(word, ~abi::event_pending, __ATOMIC_SEQ_CST);
}

void mask(uint32_t port)
{
    if (uint32_t *word = word_of(port))
        __atomic_fetch_or(word, abi::event_masked, __ATOMIC_SEQ_CST);
}

void unmask(uint32_t port)
{
    uint32_t *word = word_of(port);
    uint32_t seen = word ? load_shared(*word) : 0;
    while (seen & abi::event_masked) {
        // An event came meanwhile and is in no queue, or it is not ours to unmask just now.
        if (seen & (abi::event_pending | abi::event_busy)) {
            unmask_in_xen(port);
            return;
        }
        // Pairs with Xen setting `pending` and then looking at `masked`: one of the two sees it.
        if (__atomic_compare_exchange_n(word, &seen, seen & ~abi::event_masked, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return;
    }
}

void dispatch(unsigned cpu)
{
    Queues &queues = queues_of(cpu);
    uint32_t ready = 0;
    // Pairs with Xen's order: a queue's first event, its bit here, upcall_pending.
    while ((ready |= __atomic_exchange_n(&queues.control.ready, 0, __ATOMIC_SEQ_CST)) != 0) {
        const unsigned queue = static_cast<unsigned>(__builtin_ctz(ready));
        uint32_t port = 0;
        const uint32_t word = queue < abi::event_queues ? take(queues, queue, port) : 0;
        if (word == 0 || queues.next[queue] == 0)
            ready &= ready - 1; // empty
        if ((word & (abi::event_pending | abi::event_masked)) == abi::event_pending)
            handle_port(port, cpu);
    }
}

} // namespace xen::fifo
