/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where Xen enters the kernel, and the ELF notes that tell Xen's domain builder how to load it
 * (public/elfnote.h). rsi: start info; rsp: a small stack; all segments flat; interrupts masked.
 */
#include <linux/elfnote.h>
#include <linux/init.h>
#include <linux/linkage.h>
#include <asm/msr-index.h>
#include <asm/page.h>
#include <asm/percpu.h>
#include <asm/unwind_hints.h>

	__INIT
SYM_CODE_START(xen_start)
	UNWIND_HINT_EMPTY
	ANNOTATE_NOENDBR
	cld

	mov	initial_stack(%rip), %rsp

	/* Per-CPU data of the boot CPU; Xen emulates the write. */
	movl	$MSR_GS_BASE, %ecx
	movq	$INIT_PER_CPU_VAR(fixed_percpu_data), %rax
	cdq
	wrmsr

	/* Xen's domain builder gives zeroed pages for .bss only by accident. */
	mov	%rsi, %rdx
	xor	%eax, %eax
	mov	$__bss_start, %rdi
	mov	$__bss_stop, %rcx
	sub	%rdi, %rcx
	shr	$3, %rcx
	rep stosq

	mov	%rdx, %rdi
	call	xen_start_kernel
	int3
SYM_CODE_END(xen_start)
	__FINIT

#define NOTE(type, value) ELFNOTE(Xen, type, value)
	NOTE(1 /* ENTRY */,              .quad xen_start)
	NOTE(3 /* VIRT_BASE */,          .quad __START_KERNEL_map)
	NOTE(4 /* PADDR_OFFSET */,       .quad 0)
	NOTE(5 /* XEN_VERSION */,        .asciz "xen-3.0")
	NOTE(6 /* GUEST_OS */,           .asciz "linux")
	NOTE(8 /* LOADER */,             .asciz "generic")
	NOTE(9 /* PAE_MODE */,           .asciz "yes")
	/* Read-only page tables, and a supervisor in ring 3: what every 64-bit PV guest is. */
	NOTE(10 /* FEATURES */,          .asciz "!writable_page_tables|pae_pgdir_above_4gb")
	NOTE(17 /* SUPPORTED_FEATURES */, .long (1 << 4) /* pae_pgdir_above_4gb */)
	NOTE(14 /* SUSPEND_CANCEL */,    .long 1)
	/* Present entries hold a machine frame: the mask and what it has to equal. */
	NOTE(13 /* L1_MFN_VALID */,      .quad 1; .quad 1)
	NOTE(16 /* MOD_START_PFN */,     .long 1)
	/* The linear p2m, in the hole below vmalloc space. */
	NOTE(15 /* INIT_P2M */,          .quad 0xffffc88000000000)
	NOTE(12 /* HV_START_LOW */,      .quad 0xffff800000000000)
#undef NOTE
