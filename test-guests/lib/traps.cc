// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Traps (set_trap_table, public/arch-x86/xen.h). Any trap is a bug in the guest: it is reported,
// and the domain crashes.
#include <xen/format.hpp>
#include <xen/hypercall.hpp>
#include <xen/shared.hpp>

#include "guest.hpp"
#include "internal.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

struct TrapFrame { // as the stubs in start.S leave it
    uint64_t error_code, rip, cs, rflags, rsp, ss;
};

constexpr unsigned vectors = 20;
constexpr unsigned stub_size = 32;
constinit bool trapped;

} // namespace

extern "C" const uint8_t guest_trap_stubs[];
extern "C" void guest_failsafe();

extern "C" [[noreturn]] void guest_trap(unsigned long vector, const TrapFrame *frame)
{
    // A second trap while reporting the first.
    if (trapped)
        guest::exit(abi::shutdown_crash);
    trapped = true;
    Line line;
    line.text("trap ").number(vector).text(", error code ").hex(frame->error_code);
    line.text(", rip ").hex(frame->rip).text(", rsp ").hex(frame->rsp);
    if (vector == 14)
        line.text(", cr2 ").hex(load_shared(guest::shared_info().vcpu_info[0].cr2));
    tap::bail_out(line.c_str());
}

void guest::traps_init()
{
    abi::TrapInfo table[vectors + 1]{};
    for (unsigned vector = 0; vector < vectors; ++vector) {
        table[vector] = {static_cast<uint8_t>(vector), abi::trap_masks_events, abi::flat_kernel_cs,
                         reinterpret_cast<uint64_t>(guest_trap_stubs + vector * stub_size)};
    }
    abi::CallbackRegister failsafe{abi::callback_failsafe, abi::callback_masks_events,
                                   reinterpret_cast<uint64_t>(&guest_failsafe)};
    if (!hypercall(abi::hypercall_set_trap_table, table).ok() ||
        !hypercall(abi::hypercall_callback_op, abi::callbackop_register, &failsafe).ok())
        tap::bail_out("Xen refuses the trap table");
}
