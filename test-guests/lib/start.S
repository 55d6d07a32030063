/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How Xen enters a test guest: the ELF notes for its domain builders (public/elfnote.h), the entry
 * point, and the stubs that traps and event upcalls arrive at (public/arch-x86/xen-x86_64.h).
 * The hypercall page is not asked for. */

/* note TYPE, DIRECTIVE, VALUE */
.macro note type, directive, value:vararg
	.balign	4
	.long	4, 9f - 8f, \type
	.asciz	"Xen"
8:	\directive \value
9:	.balign	4
.endm

	.section .note.Xen, "a", @note
	note	1, .quad, guest_entry			/* ENTRY */
	note	3, .quad, 0xffffffff80000000		/* VIRT_BASE */
	note	4, .quad, 0				/* PADDR_OFFSET */
	note	5, .asciz, "xen-3.0"			/* XEN_VERSION */
	note	6, .asciz, "proxenos-test-guest"	/* GUEST_OS */
	note	8, .asciz, "generic"			/* LOADER */
	note	9, .asciz, "yes"			/* PAE_MODE */
	note	12, .quad, 0xffff800000000000		/* HV_START_LOW */

	.bss
	.balign	4096
stack:	.skip	32768
stack_end:

/* rsi: start info; rsp: end of the boot stack, after which memory is free. Events are masked. */
	.text
	.globl	guest_entry
	.type	guest_entry, @function
guest_entry:
	cld
	mov	%rsi, %rdi
	mov	%rsp, %rsi
	lea	stack_end(%rip), %rsp
	xor	%ebp, %ebp
	call	guest_start
	ud2
	.size	guest_entry, . - guest_entry

/* A trap is the end of the test: no register is kept. Xen pushed ss, rsp, rflags, cs, rip, the
 * error code if the vector has one, r11, rcx. */
	.globl	guest_trap_stubs
	.balign	32
guest_trap_stubs:		/* one every 32 bytes */
	.irp	vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
	.balign	32
	pop	%rcx
	pop	%r11
	.if	\vector != 8 && (\vector < 10 || \vector > 14) && \vector != 17
	push	$0
	.endif
	mov	$\vector, %edi
	mov	%rsp, %rsi
	and	$-16, %rsp
	cld
	call	guest_trap
	ud2
	.endr

/* Xen could not return to the guest's segments. Below rcx and r11: ds, es, fs, gs. */
	.globl	guest_failsafe
guest_failsafe:
	add	$48, %rsp
	push	$0
	mov	$255, %edi
	mov	%rsp, %rsi
	and	$-16, %rsp
	cld
	call	guest_trap
	ud2

/* An event upcall: Xen masked events, and pushed ss, rsp, rflags, cs, rip, r11, rcx. The iret
 * hypercall restores the mask from rflags.IF, together with the registers. */
	.globl	guest_upcall_stub
guest_upcall_stub:
	pop	%rcx
	pop	%r11
	push	%rcx
	push	%r11
	push	%rax
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%rbp
	mov	%rsp, %rbp
	and	$-16, %rsp
	cld
	call	guest_upcall
	mov	%rbp, %rsp
	pop	%rbp
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rax
	pop	%r11
	pop	%rcx
	push	$0		/* flags: rcx and r11 are to be restored */
	push	%rcx
	push	%r11
	push	%rax
	mov	$23, %eax	/* iret */
	syscall
	ud2

	.section .note.GNU-stack, "", @progbits
