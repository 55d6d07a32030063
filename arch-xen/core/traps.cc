// SPDX-License-Identifier: GPL-2.0-only
// What a CPU's descriptor tables, stack pointer and segment bases become under Xen (public/xen.h:
// set_trap_table, set_gdt, update_descriptor, stack_switch, set_segment_base, fpu_taskswitch).
#include "arch.hpp"

extern "C" {
extern const uint64_t xen_trap_stubs[32];
extern const char xen_trap_int80[];
// Init text, gone after boot, when no gate points there any more.
extern const char *const xen_early_stubs, *const early_stubs;
extern const unsigned xen_early_stub_size, early_stub_size;
}

namespace xen::pv {
namespace {

constexpr unsigned exceptions = 32;
constexpr unsigned int80 = 0x80;

// An x86-64 interrupt gate.
struct Gate {
    uint16_t offset_low, segment;
    uint16_t attributes; // 0..2 IST, 8..11 type, 13..14 DPL, 15 present
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
static_assert(sizeof(Gate) == 16);

constexpr uint16_t gate_present = 1u << 15;
constexpr uint16_t gate_type_mask = 0xf00;
constexpr uint16_t gate_interrupt = 0xe00;

uint64_t target(const Gate &gate)
{
    return static_cast<uint64_t>(gate.offset_high) << 32 |
           static_cast<uint64_t>(gate.offset_middle) << 16 | gate.offset_low;
}

// Xen enters through a stub of ours in place of the native handler; each vector has one handler
// for good, and one for the time before.
uint64_t stub_for(unsigned vector, const Gate &gate)
{
    if (vector == int80)
        return hypercall_argument(xen_trap_int80);
    uint64_t early = hypercall_argument(early_stubs) + vector * early_stub_size;
    if (target(gate) == early)
        return hypercall_argument(xen_early_stubs) + vector * xen_early_stub_size;
    return xen_trap_stubs[vector];
}

bool convert(unsigned vector, const Gate &gate, abi::TrapInfo &trap)
{
    // Interrupts come as events: only exceptions and the legacy system call go through the table.
    if ((vector >= exceptions && vector != int80) || !(gate.attributes & gate_present))
        return false;
    trap.vector = static_cast<uint8_t>(vector);
    trap.flags = gate.attributes >> 13 & 3;
    // Page faults and the others behind interrupt gates want cr2 and friends undisturbed. int80
    // enables interrupts by itself.
    if ((gate.attributes & gate_type_mask) == gate_interrupt)
        trap.flags |= abi::trap_masks_events;
    trap.cs = abi::flat_kernel_cs;
    trap.address = stub_for(vector, gate);
    return true;
}

} // namespace

// Fills `traps` (room for 34, the last one zero) from an IDT.
void convert_idt(const void *idt, unsigned entries, abi::TrapInfo *traps)
{
    auto *gates = static_cast<const Gate *>(idt);
    for (unsigned vector = 0; vector < entries; vector++) {
        if (convert(vector, gates[vector], *traps))
            traps++;
    }
    *traps = {};
}

} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

extern "C" void xen_load_idt(const void *idt, unsigned entries)
{
    abi::TrapInfo traps[exceptions + 2];
    convert_idt(idt, entries, traps);
    batch_flush();
    auto done = hypercall(abi::hypercall_set_trap_table, traps);
    if (!done.ok())
        glue_hypercall_failed(abi::hypercall_set_trap_table, to_errno(done.error()), 0, 0);
}

extern "C" void xen_load_gdt(const uint64_t *frames, unsigned entries)
{
    batch_flush();
    auto done = hypercall(abi::hypercall_set_gdt, frames, entries);
    if (!done.ok())
        glue_hypercall_failed(abi::hypercall_set_gdt, to_errno(done.error()), frames[0], entries);
}

extern "C" void xen_set_ldt(const void *ldt, unsigned entries)
{
    batch_extended(lazy_cpu, abi::mmuext_set_ldt, hypercall_argument(ldt), entries);
}

// `frame`, `offset`: where the descriptor is in memory.
extern "C" void xen_update_descriptor(uint64_t frame, unsigned offset, uint64_t descriptor)
{
    batch_call(lazy_cpu, abi::hypercall_update_descriptor, frame << page_shift | offset,
               descriptor);
}

extern "C" void xen_stack_switch(unsigned long sp0, unsigned ss)
{
    batch_call(lazy_cpu, abi::hypercall_stack_switch, ss, sp0);
}

extern "C" void xen_task_switched(bool set)
{
    batch_call(lazy_cpu, abi::hypercall_fpu_taskswitch, set);
}

// Touches no per-CPU memory: Linux calls it to make that reachable.
extern "C" int xen_set_segment_base(unsigned which, unsigned long base)
{
    auto done = hypercall(abi::hypercall_set_segment_base, which, base);
    return done.ok() ? 0 : to_errno(done.error());
}

extern "C" void xen_set_debug_register(int number, unsigned long value)
{
    (void)hypercall(abi::hypercall_set_debugreg, number, value);
}

extern "C" unsigned long xen_get_debug_register(int number)
{
    return static_cast<unsigned long>(
        xen_hypercall(abi::hypercall_get_debugreg, static_cast<unsigned long>(number), 0, 0, 0, 0));
}

// The I/O permission bitmap of the task that runs next; null: every port is forbidden.
extern "C" void xen_set_io_bitmap(const void *bitmap, unsigned ports)
{
    struct {
        const void *bitmap;
        uint32_t ports;
    } args{bitmap, ports};
    constexpr unsigned physdevop_set_iobitmap = 7;
    (void)hypercall(abi::hypercall_physdev_op, physdevop_set_iobitmap, &args);
}
