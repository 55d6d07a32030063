// SPDX-License-Identifier: GPL-2.0-only
// Start of day: start info, the shared info page, entry points for events, system calls and failed
// returns, memory map, and the end of the domain (public/xen.h, callback.h, sched.h, memory.h).
#include <xen/dispatch.h>

#include "arch.hpp"

extern "C" {
extern const char xen_trap_event[], xen_failsafe_callback[];
extern const char xen_entry_syscall[], xen_entry_syscall32[], xen_entry_sysenter[], xen_trap_2[];
}

namespace xen::pv {

void translation_init(abi::StartInfo *start_info);
void build_kernel_tables();

namespace {

bool register_callback(abi::CallbackType type, const char *entry, uint16_t flags)
{
    abi::CallbackRegister args{type, flags, hypercall_argument(entry)};
    auto done = hypercall(abi::hypercall_callback_op, abi::callbackop_register, &args);
    // A CPU without syscall or sysenter in compatibility mode has no such entry to register.
    if (!done.ok() && type != abi::callback_sysenter && type != abi::callback_syscall32)
        glue_hypercall_failed(abi::hypercall_callback_op, to_errno(done.error()), type, 0);
    return done.ok();
}

} // namespace
} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// The entry points of this vCPU: each registers for itself. Says whether 32-bit programs have fast
// ones.
extern "C" bool xen_register_callbacks(void)
{
    register_callback(abi::callback_event, xen_trap_event, abi::callback_masks_events);
    register_callback(abi::callback_failsafe, xen_failsafe_callback, abi::callback_masks_events);
    register_callback(abi::callback_syscall, xen_entry_syscall, abi::callback_masks_events);
    register_callback(abi::callback_nmi, xen_trap_2, 0);
    bool fast =
        register_callback(abi::callback_syscall32, xen_entry_syscall32, abi::callback_masks_events);
    return register_callback(abi::callback_sysenter, xen_entry_sysenter,
                             abi::callback_masks_events) &&
           fast;
}

extern "C" void xen_boot_tables(void *start_info)
{
    translation_init(static_cast<abi::StartInfo *>(start_info));
    build_kernel_tables();
    // The kernel's alias of start info goes away with the unused part of its image mapping.
    guest.start_info = direct_map<abi::StartInfo>(Pfn{physical_address(start_info) >> page_shift});
    // Native stores to live L1 tables, which Linux's atomic accesses to entries are, get emulated.
    (void)hypercall(abi::hypercall_vm_assist, abi::vmassist_enable,
                    abi::vmassist_writable_pagetables);
    // The few native cli and sti that run before Linux patches itself do nothing, rather than
    // fault.
    (void)hypercall(abi::hypercall_vm_assist, abi::vmassist_enable,
                    abi::vmassist_architectural_iopl);
}

// Maps Xen's page at an address of the fixmap.
extern "C" void xen_boot_shared_info(void *address)
{
    guest.shared_info = static_cast<abi::SharedInfo *>(address);
    xen_events_in(address);
}

extern "C" uint64_t xen_shared_info_frame(void)
{
    return guest.start_info->shared_info >> page_shift;
}

extern "C" void *xen_time_info(unsigned vcpu) { return &guest.shared_info->vcpu_info[vcpu].time; }
extern "C" void *xen_wall_clock(void) { return &guest.shared_info->wc_version; }

// ---- what boot_params and memblock need of start info ----

extern "C" const char *xen_command_line(void) { return guest.start_info->cmd_line; }

extern "C" uint64_t xen_arch_boot_pages(void) { return guest.start_info->nr_pages; }
extern "C" uint64_t xen_arch_most_pages(void) { return guest.most_pages; }

extern "C" bool xen_initrd(uint64_t *physical, uint64_t *size)
{
    auto &info = *guest.start_info;
    *size = info.mod_len;
    *physical = info.flags & abi::sif_mod_start_pfn ? info.mod_start << page_shift
                                                    : info.mod_start - kernel_map_base;
    return info.mod_len != 0 && info.mod_start != 0;
}

// The ranges of memory, in frames, that stay Xen's or the toolstack's. Returns how many.
extern "C" unsigned xen_reserved_ranges(uint64_t first[5], uint64_t count[5])
{
    auto &info = *guest.start_info;
    unsigned n = 0;
    auto add = [&](uint64_t start, uint64_t frames) {
        if (start >= guest.pages || frames == 0)
            return;
        first[n] = start;
        count[n++] = frames;
    };
    add(to_pfn(&info).value, 1);
    add(info.first_p2m_pfn, info.nr_p2m_frames);
    add((info.pt_base - kernel_map_base) >> page_shift, info.nr_pt_frames);
    if (!(info.flags & abi::sif_initdomain)) {
        add(to_pfn(Mfn{info.store_mfn}).value, 1);
        add(to_pfn(Mfn{info.console_mfn}).value, 1);
    }
    return n;
}

// ---- the rest of the guest's drivers (asm/xen/arch.h) ----

extern "C" bool xen_initial_guest(void) { return guest.start_info->flags & abi::sif_initdomain; }
extern "C" uint64_t xen_arch_store_frame(void)
{
    return xen_initial_guest() ? 0 : guest.start_info->store_mfn;
}
extern "C" uint32_t xen_arch_store_port(void) { return guest.start_info->store_evtchn; }
extern "C" uint64_t xen_arch_console_frame(void)
{
    return xen_initial_guest() ? 0 : guest.start_info->console_mfn;
}
extern "C" uint32_t xen_arch_console_port(void)
{
    return xen_initial_guest() ? 0 : guest.start_info->console_evtchn;
}
extern "C" void *xen_arch_frame_to_virt(uint64_t frame)
{
    Pfn pfn = to_pfn(Mfn{frame});
    return pfn.value == no_frame ? nullptr : direct_map<void>(pfn);
}
extern "C" uint64_t xen_arch_virt_to_frame(const void *address) { return to_mfn(address).value; }

// Ends the domain, or says why; returns only if Xen refuses.
extern "C" void xen_arch_shutdown(unsigned reason)
{
    abi::SchedShutdown args{reason};
    (void)hypercall(abi::hypercall_sched_op, abi::schedop_shutdown, &args);
}
