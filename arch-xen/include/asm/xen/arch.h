/* SPDX-License-Identifier: GPL-2.0-only */
/* What the port gives to the rest of the guest's Xen code (drivers/ and glue). A frame is what Xen
 * calls it: the machine frame in a PV guest. */
#ifndef PROXENOS_ASM_XEN_ARCH_H
#define PROXENOS_ASM_XEN_ARCH_H

#include <linux/types.h>
#include <linux/mm.h>

/* From start info. The frames are 0 in a domain that has no such page (the initial one). */
u64 xen_arch_store_frame(void);
u32 xen_arch_store_port(void);
u64 xen_arch_console_frame(void);
u32 xen_arch_console_port(void);

/* Our own memory: its linear address, or NULL if the frame is not ours; and the reverse. */
void *xen_arch_frame_to_virt(u64 frame);
u64 xen_arch_virt_to_frame(const void *address);
u64 xen_pfn_to_frame(u64 pfn);
static inline u64 xen_arch_page_to_frame(struct page *page)
{
	return xen_pfn_to_frame(page_to_pfn(page));
}

/* Maps Xen's frames (the grant table's) side by side; NULL: no memory. May sleep. */
void *xen_arch_map_frames(const u64 *frames, unsigned int count);

/* Puts others in their place, or if `frames` is NULL nothing. */
void xen_arch_remap_frames(void *area, const u64 *frames, unsigned int count);

/* The memory that the domain booted with, and what it may ever have; for that, the latter makes room,
 * and returns for how many pages there is. Beyond those of boot they are reserved, and Xen's. */
u64 xen_arch_boot_pages(void);
u64 xen_arch_most_pages(void);
u64 xen_arch_grow(void);

/* Pages that the caller owns go to Xen, 64 at most at once, or come back from it: as many as Xen takes
 * or has, the first ones. How many is returned. */
unsigned int xen_arch_give_pages(const u64 *pfns, unsigned int count);
unsigned int xen_arch_take_pages(const u64 *pfns, unsigned int count);

/*
 * Suspends the domain. 0: it goes on as a restored one, where all event ports but the console's and
 * xenstore's are gone, and their bindings forgotten; 1: it goes on as if nothing had been; or a
 * negative errno. May sleep. xen_shared_*() are called around it, with all other CPUs standing
 * still, before the domain stops and when it goes on.
 */
int xen_arch_suspend(void);
void xen_shared_suspend(void);
void xen_shared_resume(bool restored);

/* Of a restored domain: drivers/console. */
void xen_console_restored(void);

/* SCHEDOP_shutdown: 0 poweroff, 1 reboot, 3 crash. */
void xen_arch_shutdown(unsigned int reason);

/* Right after frames can be translated: drivers/console. */
void xen_console_early_init(void);

#endif
