// SPDX-License-Identifier: GPL-2.0-only
// How a secondary vCPU starts (public/vcpu.h; arch-x86/xen.h, vcpu_guest_context).
#include "arch.hpp"

extern "C" {
extern const char xen_secondary_start[], xen_trap_event[], xen_failsafe_callback[];
extern const char xen_entry_syscall[];
extern uint64_t init_top_pgt[512];
}

namespace xen::pv {

void convert_idt(const void *idt, unsigned entries, abi::TrapInfo *traps);

namespace {

constexpr uint16_t kernel_cs = 0x10, kernel_ds = 0x18, user_ds = 0x2b; // asm/segment.h
constexpr uint64_t failsafe_masks_events = 1u << 3;
constexpr uint64_t syscall_masks_events = 1u << 4;

} // namespace
} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

struct SecondaryStart {
    uint64_t stack_top; // where the first frame goes
    uint64_t kernel_sp; // sp0: where exceptions from user mode start
    uint64_t per_cpu_base;
    uint64_t gdt_frame;
    uint32_t gdt_entries;
    const void *idt;
    uint32_t idt_entries;
};

extern "C" const size_t xen_vcpu_context_size = sizeof(abi::VcpuGuestContext);

// `memory`: zeroed, xen_vcpu_context_size bytes.
extern "C" int xen_vcpu_initialise(unsigned cpu, void *memory, const SecondaryStart *start)
{
    auto &context = *static_cast<abi::VcpuGuestContext *>(memory);
    context.flags = abi::vgcf_in_kernel | failsafe_masks_events | syscall_masks_events;
    auto &regs = context.user_regs;
    regs.rip = hypercall_argument(xen_secondary_start);
    regs.rsp = start->stack_top;
    regs.cs = kernel_cs;
    regs.ss = kernel_ds;
    regs.ds = regs.es = user_ds;
    convert_idt(start->idt, start->idt_entries, context.traps);
    context.gdt_frames[0] = start->gdt_frame;
    context.gdt_entries = start->gdt_entries;
    context.kernel_ss = kernel_ds;
    context.kernel_sp = start->kernel_sp;
    context.gs_base_kernel = start->per_cpu_base;
    context.ctrlreg[3] = abi::frame_to_cr3(to_mfn(init_top_pgt).value);
    context.event_callback = hypercall_argument(xen_trap_event);
    context.failsafe_callback = hypercall_argument(xen_failsafe_callback);
    context.syscall_callback = hypercall_argument(xen_entry_syscall);
    return to_errno(
        hypercall(abi::hypercall_vcpu_op, abi::vcpuop_initialise, cpu, &context).error());
}
