// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The state behind dispatch_kit.hpp, and what the library calls.
#include "dispatch_kit.hpp"

#include <cstdlib>
#include <cstring>

#include <xen/hypercall.hpp>
#include <xen/port.h>

namespace kit {

alignas(4096) xen::abi::SharedInfo shared;
sim::Channels channels;
thread_local unsigned this_cpu;
std::map<unsigned, std::function<void()>> handlers; // by irq
std::function<void()> on_stray;
unsigned strays;
std::function<void()> before_bind_vcpu, after_bind_vcpu; // what another vCPU does then
bool out_of_memory;
uint32_t pages_left;
std::vector<void *> kept; // pages that the library has

void reset()
{
    handlers.clear();
    on_stray = {};
    strays = 0;
    before_bind_vcpu = after_bind_vcpu = {};
    this_cpu = 0;
    out_of_memory = false;
    pages_left = xen::abi::max_event_ports;
}

// The domain goes on in another Xen.
void restore(Kind kind)
{
    std::memset(&shared, 0, sizeof(shared));
    channels.start(shared, kind == fifo);
    xen_events_in(&shared);
    xen_events_restored();
}

// For a program's later tests a boot is little more than that.
void boot(Kind kind)
{
    restore(kind);
    if (channels.is_fifo() != (kind == fifo) || channels.pages() == 0)
        xen_events_start();
    ASSERT_EQ(channels.is_fifo(), kind == fifo);
}

// This thread is that vCPU for a while.
void dispatch_on(unsigned cpu)
{
    const unsigned before = this_cpu;
    this_cpu = cpu;
    if (__atomic_load_n(&shared.vcpu_info[cpu].upcall_pending, __ATOMIC_SEQ_CST))
        xen_dispatch_events();
    this_cpu = before;
}

} // namespace kit

using namespace kit;

// ---- the kernel ----

void glue_handle_irq(unsigned irq) { handlers.at(irq)(); }

void glue_stray_event()
{
    __atomic_add_fetch(&strays, 1, __ATOMIC_RELAXED);
    if (on_stray)
        on_stray();
}

void *glue_vcpu_info() { return &shared.vcpu_info[this_cpu]; }
unsigned glue_cpu() { return this_cpu; }

// What the library has it keeps.
void *xen_port_pages_alloc(unsigned count)
{
    if (out_of_memory)
        return nullptr;
    void *pages = std::aligned_alloc(4096, 4096ul * count);
    kept.push_back(pages);
    return std::memset(pages, 0, 4096ul * count);
}

void xen_port_page_free(void *) {}

uint64_t xen_port_frame(const void *page) { return reinterpret_cast<uintptr_t>(page) / 4096; }
void xen_port_log(int, const char *) {}
unsigned long xen_port_irq_save() { return 0; }
void xen_port_irq_restore(unsigned long) {}

// ---- Xen ----

extern "C" long xen_hypercall(unsigned long number, unsigned long command, unsigned long argument,
                              unsigned long, unsigned long, unsigned long)
{
    if (number != xen::abi::hypercall_event_channel_op)
        return -38;
    const bool moves = command == xen::abi::evtchnop_bind_vcpu;
    if (moves && before_bind_vcpu)
        before_bind_vcpu();
    if (command == xen::abi::evtchnop_expand_array && pages_left-- == 0) {
        pages_left = 0;
        return -12;
    }
    // SAFETY: EVTCHNOP_*'s argument.
    const long rc =
        channels.hypercall(static_cast<unsigned>(command), reinterpret_cast<void *>(argument));
    if (moves && after_bind_vcpu)
        after_bind_vcpu();
    return rc;
}
