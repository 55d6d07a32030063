/* SPDX-License-Identifier: GPL-2.0-only */
/* The head of Xen's vcpu_info, for arch/x86/kernel/asm-offsets.c. C++ has its own (xen/abi.hpp). */
#ifndef PROXENOS_XEN_INTERFACE_XEN_H
#define PROXENOS_XEN_INTERFACE_XEN_H

struct vcpu_info {
	u8 evtchn_upcall_pending;
	u8 evtchn_upcall_mask;
	unsigned long evtchn_pending_sel;
	struct {
		unsigned long cr2;
		unsigned long pad;
	} arch;
};

#endif
