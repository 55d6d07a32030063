// SPDX-License-Identifier: GPL-2.0-only
// TEMPORARY: weak stand-ins for what Linux's core needs of the port. To be removed.

#include <xen/abi.hpp>

#define STUB(name) extern "C" [[gnu::weak]] void name() { __builtin_trap(); }
STUB(xenpv_exc_nmi)
STUB(xenpv_exc_debug)
STUB(xenpv_exc_double_fault)
STUB(xenpv_exc_machine_check)
STUB(exc_xen_unknown_trap)
STUB(xen_pv_evtchn_do_upcall)
STUB(xenpv_restore_regs_and_return_to_usermode)
STUB(xen_biovec_phys_mergeable)

extern "C" {
[[gnu::weak]] int xen_domain_type = 0;
static int detect() { return 0; }
struct Hyper {
    const char* name;
    int (*detect)();
    long rest[10];
};
[[gnu::weak]] constinit Hyper x86_hyper_xen_pv = {"none", detect, {}};
[[gnu::weak]] long xenboot_console[32] = {};
}
