// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Start of day: from Xen's entry with start info (public/xen.h) to the tests, and the end of the
// domain (SCHEDOP_shutdown, public/sched.h) as the verdict.
#include <xen/hypercall.hpp>
#include <xen/xenstore.hpp>

#include "guest.hpp"
#include "internal.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

constinit const abi::StartInfo *info;
alignas(page_size) constinit uint8_t shared_info_page[page_size];

struct EvtchnStatus { // EVTCHNOP_status, with the part of an unbound port
    uint16_t domid;
    uint32_t port;
    uint32_t status;        // out
    uint32_t vcpu;          // out
    uint16_t unbound_domid; // out
    uint16_t pad[3];
};
static_assert(sizeof(EvtchnStatus) == 24);
static_assert(offsetof(EvtchnStatus, unbound_domid) == 16);

constexpr unsigned evtchnstat_unbound = 1;

} // namespace

const abi::StartInfo &guest::start_info() { return *info; }

abi::SharedInfo &guest::shared_info()
{
    // SAFETY: Xen's shared info page was mapped here before anything looks at it.
    return *reinterpret_cast<abi::SharedInfo *>(shared_info_page);
}

guest::Module guest::module()
{
    // SAFETY: the domain builder mapped it; a kernel that wants its frame number has to ask.
    return {reinterpret_cast<char *>(info->mod_start), info->mod_len};
}

bool guest::first_domain() { return info->flags & abi::sif_initdomain; }

DomId guest::own_domid()
{
    // There is no call for it, but Xen resolves DOMID_SELF when a port is made for ourselves.
    abi::EvtchnAllocUnbound alloc{domid_self.value, domid_self.value, 0};
    if (!hypercall(abi::hypercall_event_channel_op, abi::evtchnop_alloc_unbound, &alloc).ok())
        tap::bail_out("no event channel for learning the domain's number");
    EvtchnStatus status{domid_self.value, alloc.port, 0, 0, 0, {}};
    auto result = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_status, &status);
    abi::EvtchnPort close{alloc.port};
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_close, &close);
    if (!result.ok() || status.status != evtchnstat_unbound)
        tap::bail_out("the domain's number cannot be learnt");
    return DomId{status.unbound_domid};
}

void guest::exit(abi::ShutdownReason reason)
{
    print_drain().ok();
    // A first domain that powers off leaves Xen halted for ever; a reboot ends the machine.
    if (first_domain() && reason == abi::shutdown_poweroff)
        reason = abi::shutdown_reboot;
    abi::SchedShutdown shutdown{reason};
    for (;;)
        (void)hypercall(abi::hypercall_sched_op, abi::schedop_shutdown, &shutdown);
}

// From guest_entry, on the stack in .bss; `boot_stack_end` is where free memory starts.
extern "C" [[noreturn]] void guest_start(const abi::StartInfo *start_info, uint64_t boot_stack_end)
{
    info = start_info;
    guest::memory_init(*info, (boot_stack_end + page_size - 1) & ~(page_size - 1));
    if (!guest::map_frame(shared_info_page, info->shared_info >> page_shift).ok())
        guest::exit(abi::shutdown_crash);
    guest::console_init(); // from here on a failure can be told
    guest::traps_init();
    guest::events_init();
    guest::grants_init();
    if (!guest::first_domain()) {
        auto started =
            xenstore::start(guest::frame_to_virt(info->store_mfn), EventPort{info->store_evtchn});
        if (!started.ok())
            tap::bail_out("xenstore does not start");
    }
    guest::exit(tap::run_all() ? abi::shutdown_poweroff : abi::shutdown_crash);
}
