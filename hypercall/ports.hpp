// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What dispatch.cc, which knows whose a port is, and fifo.cc, where Xen says what is pending, need
// of each other (public/event_channel.h).
#pragma once

#include <xen/abi.hpp>
#include <xen/types.hpp>

namespace xen {

struct alignas(8) PortState {
    uint32_t irq; // 0: nobody's
    uint32_t cpu; // where Xen delivers it
};

// So many ports' worth; there are more pages as ports with higher numbers come, and none goes.
constexpr unsigned ports_per_page = page_size / sizeof(uint32_t);
struct PortPage {
    uint32_t words[ports_per_page]; // Xen's too, if there are FIFO event channels
    PortState states[ports_per_page];
};
static_assert(sizeof(PortPage) % page_size == 0);

// Null: no port of the page has been seen.
PortPage *port_page(uint32_t port);

// An event of a port that is not masked, on this vCPU.
void handle_port(uint32_t port, unsigned cpu);

// EVTCHNOP_unmask: Xen looks whether an event came meanwhile, and tells the port's vCPU.
void unmask_in_xen(uint32_t port);

namespace fifo {

constexpr uint32_t fresh_word = abi::event_masked; // of a port that nobody listens to

// Gives Xen the place where it keeps a vCPU's queues; for the first one that changes the kind of
// the domain's event channels. Nothing, if Xen has it. May sleep when it is a vCPU's first.
Status add_vcpu(unsigned cpu);

// Gives Xen the next page's words.
Status add_words(const PortPage &page);

// The domain was restored: Xen has nothing of that any more.
void forget();

void set_priority(uint32_t port, unsigned priority);

void ack(uint32_t port);
void mask(uint32_t port);
void unmask(uint32_t port);

// Calls handle_port() for what is pending on this vCPU, by priority and then in the order it came.
void dispatch(unsigned cpu);

} // namespace fifo
} // namespace xen
