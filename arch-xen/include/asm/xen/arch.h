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

/* SCHEDOP_shutdown: 0 poweroff, 1 reboot, 3 crash. */
void xen_arch_shutdown(unsigned int reason);

/* Right after frames can be translated: drivers/console. */
void xen_console_early_init(void);

#endif
