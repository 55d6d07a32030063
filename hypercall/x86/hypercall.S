/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The way into Xen for a 64-bit PV guest (public/arch-x86/xen-x86_64.h): number in rax, arguments in rdi,
 * rsi, rdx, r10, r8, `syscall`; rcx and r11 are lost. Xen's hypercall page is not used.
 */
#ifdef __KERNEL__
#include <linux/linkage.h>
#include <asm/unwind_hints.h>
#else
#define RET ret
#define UNWIND_HINT_FUNC
#endif

	.section .noinstr.text, "ax"

/* long xen_hypercall(number, a1, a2, a3, a4, a5) */
	.globl	xen_hypercall
	.type	xen_hypercall, @function
	.balign	16
xen_hypercall:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	syscall
	UNWIND_HINT_FUNC /* Xen returns to here, with the same stack */
	RET
	.size	xen_hypercall, . - xen_hypercall

#ifndef __KERNEL__
	.section .note.GNU-stack, "", @progbits
#endif
