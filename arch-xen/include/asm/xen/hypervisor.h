/* SPDX-License-Identifier: GPL-2.0-only */
/* asm/hypervisor.h and arch/x86/kernel include this and need nothing of it. */
