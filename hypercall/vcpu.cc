// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Virtual CPUs (public/vcpu.h, sched.h): all but how one starts, which is the architecture's.
#include <xen/vcpu.h>

#include <xen/abi_pv.hpp>
#include <xen/dispatch.h>
#include <xen/hypercall.hpp>

using namespace xen;

namespace {

int vcpu_op(abi::VcpuOp op, unsigned cpu, void *args)
{
    auto done = hypercall(abi::hypercall_vcpu_op, op, cpu, args);
    return done.ok() ? static_cast<int>(done.value()) : to_errno(done.error());
}

void sched_op(unsigned op) { (void)hypercall(abi::hypercall_sched_op, op, nullptr); }

struct Steal {
    uint64_t before; // what domains had that are gone
    uint64_t now;
};
constinit Steal steals[XEN_MAX_VCPUS]{};

} // namespace

extern "C" int xen_register_vcpu_info(unsigned cpu, uint64_t frame, unsigned offset)
{
    abi::VcpuRegisterVcpuInfo args{frame, offset, 0};
    return vcpu_op(abi::vcpuop_register_vcpu_info, cpu, &args);
}

extern "C" int xen_vcpu_is_up(unsigned cpu) { return vcpu_op(abi::vcpuop_is_up, cpu, nullptr); }
extern "C" int xen_vcpu_up(unsigned cpu) { return vcpu_op(abi::vcpuop_up, cpu, nullptr); }
extern "C" int xen_vcpu_nmi(unsigned cpu) { return vcpu_op(abi::vcpuop_send_nmi, cpu, nullptr); }
extern "C" int xen_vcpu_down(unsigned cpu) { return vcpu_op(abi::vcpuop_down, cpu, nullptr); }

extern "C" void xen_timer_stop(unsigned cpu)
{
    vcpu_op(abi::vcpuop_stop_singleshot_timer, cpu, nullptr);
    vcpu_op(abi::vcpuop_stop_periodic_timer, cpu, nullptr);
}

extern "C" int xen_timer_set(unsigned cpu, uint64_t system_time)
{
    abi::VcpuSetSingleshotTimer args{system_time, 0};
    return vcpu_op(abi::vcpuop_set_singleshot_timer, cpu, &args);
}

extern "C" uint64_t xen_steal_time(unsigned cpu)
{
    abi::VcpuRunstateInfo info{};
    Steal &steal = steals[cpu];
    if (vcpu_op(abi::vcpuop_get_runstate_info, cpu, &info) == 0) {
        const uint64_t now = info.time[abi::runstate_runnable];
        if (now < steal.now) // a restored domain's begins anew
            steal.before += steal.now;
        steal.now = now;
    }
    return steal.before + steal.now;
}

extern "C" void xen_block(void) { sched_op(abi::schedop_block); }
extern "C" void xen_yield(void) { sched_op(abi::schedop_yield); }
