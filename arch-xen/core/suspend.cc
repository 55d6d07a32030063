// SPDX-License-Identifier: GPL-2.0-only
// Suspension (public/sched.h, SHUTDOWN_suspend). The toolstack saves memory and vCPUs, and writes
// other machine frames into the page tables, the p2m list and start info of the domain it restores:
// all that it finds by our own frame numbers or in tables that Xen knows.
#include "arch.hpp"

extern "C" uint64_t init_top_pgt[512];

namespace xen::pv {

namespace {

constexpr uint64_t p2m_unchanged = 0; // generation: the list is never mapped otherwise

// In the saved image these two are numbers of our own.
void name_frames(uint64_t (*name)(uint64_t))
{
    auto &info = *guest.start_info;
    info.store_mfn = name(info.store_mfn);
    info.console_mfn = name(info.console_mfn);
}

uint64_t by_pfn(uint64_t mfn) { return to_pfn(Mfn{mfn}).value; }
uint64_t by_mfn(uint64_t pfn) { return to_mfn(Pfn{pfn}).value; }

} // namespace
} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// Where the toolstack finds the p2m list; in shared info, which is mapped anew.
extern "C" void xen_show_p2m(void)
{
    auto &shared = *guest.shared_info;
    shared.p2m_generation = p2m_unchanged;
    shared.p2m_vaddr = hypercall_argument(guest.p2m);
    shared.p2m_cr3 = abi::frame_to_cr3(to_mfn(init_top_pgt).value);
    shared.max_pfn = guest.pages;
}

// On vCPU 0. 0: the domain was restored, 1: the suspension was cancelled, or a negative errno.
extern "C" int xen_suspend(void)
{
    name_frames(by_pfn);
    batch_flush();
    abi::SchedShutdown args{abi::shutdown_suspend};
    // The third argument is where the toolstack looks for start info, and puts its new frame.
    const long rc = xen_hypercall(abi::hypercall_sched_op, abi::schedop_shutdown,
                                  hypercall_argument(&args), to_mfn(guest.start_info).value, 0, 0);
    if (rc == 0)
        machine_frames_init();
    else
        name_frames(by_mfn);
    return static_cast<int>(rc);
}
