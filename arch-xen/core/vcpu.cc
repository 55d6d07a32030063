// SPDX-License-Identifier: GPL-2.0-only
// Virtual CPUs: their info pages, one-shot timers, and how a secondary one starts and stops
// (public/vcpu.h, sched.h; arch-x86/xen.h, vcpu_guest_context).
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

int vcpu_op(abi::VcpuOp op, unsigned cpu, void *args)
{
    auto done = hypercall(abi::hypercall_vcpu_op, op, cpu, args);
    return done.ok() ? static_cast<int>(done.value()) : to_errno(done.error());
}

} // namespace
} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// From now on Xen writes this vCPU's pending and mask bytes, cr2 and time to `info`.
extern "C" int xen_register_vcpu_info(unsigned cpu, uint64_t frame, unsigned offset)
{
    abi::VcpuRegisterVcpuInfo args{frame, offset, 0};
    return vcpu_op(abi::vcpuop_register_vcpu_info, cpu, &args);
}

// 0 or 1, or a negative errno if the domain has no such vCPU.
extern "C" int xen_vcpu_is_up(unsigned cpu) { return vcpu_op(abi::vcpuop_is_up, cpu, nullptr); }
extern "C" int xen_vcpu_up(unsigned cpu) { return vcpu_op(abi::vcpuop_up, cpu, nullptr); }
extern "C" int xen_vcpu_nmi(unsigned cpu) { return vcpu_op(abi::vcpuop_send_nmi, cpu, nullptr); }
extern "C" int xen_vcpu_down(unsigned cpu) { return vcpu_op(abi::vcpuop_down, cpu, nullptr); }

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
    return vcpu_op(abi::vcpuop_initialise, cpu, &context);
}

// ---- time ----

extern "C" void xen_timer_stop(unsigned cpu)
{
    vcpu_op(abi::vcpuop_stop_singleshot_timer, cpu, nullptr);
    vcpu_op(abi::vcpuop_stop_periodic_timer, cpu, nullptr);
}

// An event on the timer's port at this system time; one in the past comes at once.
extern "C" int xen_timer_set(unsigned cpu, uint64_t system_time)
{
    abi::VcpuSetSingleshotTimer args{system_time, 0};
    return vcpu_op(abi::vcpuop_set_singleshot_timer, cpu, &args);
}

// ---- idle: stops this vCPU until an event; Xen unmasks events with it ----

extern "C" void xen_block(void)
{
    (void)hypercall(abi::hypercall_sched_op, abi::schedop_block, nullptr);
}

extern "C" void xen_yield(void)
{
    (void)hypercall(abi::hypercall_sched_op, abi::schedop_yield, nullptr);
}
