/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entries from Xen and returns through it (public/arch-x86/xen-x86_64.h), and the interrupt flag,
 * which is a byte in the vCPU's info page (public/xen.h, vcpu_info). Native entry code does the
 * rest: every stub drops the rcx and r11 that Xen pushes on top of the hardware's frame.
 */
#include <linux/linkage.h>
#include <linux/init.h>
#include <asm/asm-offsets.h>
#include <asm/asm.h>
#include <asm/frame.h>
#include <asm/percpu.h>
#include <asm/segment.h>
#include <asm/thread_info.h>
#include <asm/unwind_hints.h>
#include <asm/nospec-branch.h>
#include <../entry/calling.h>

#define HYPERCALL_XEN_VERSION 17
#define HYPERCALL_IRET 23
#define VCPU_MASK PER_CPU_VAR(xen_vcpu_info + XEN_vcpu_info_mask)
#define VCPU_PENDING PER_CPU_VAR(xen_vcpu_info + XEN_vcpu_info_pending)

.pushsection .noinstr.text, "ax"

/* Callee-save (asm/paravirt.h): only rax may change. */
SYM_FUNC_START(xen_irq_disable)
	ENDBR
	movb	$1, VCPU_MASK
	RET
SYM_FUNC_END(xen_irq_disable)

/* X86_EFLAGS_IF, bit 9, if events are delivered. */
SYM_FUNC_START(xen_save_fl)
	ENDBR
	testb	$0xff, VCPU_MASK
	setz	%ah
	addb	%ah, %ah
	RET
SYM_FUNC_END(xen_save_fl)

SYM_FUNC_START(xen_irq_enable)
	FRAME_BEGIN
	ENDBR
	movb	$0, VCPU_MASK
	/* An event that came while masked waits for any return from Xen; a second one that comes
	 * after the test is delivered by itself. */
	testb	$0xff, VCPU_PENDING
	jz	1f
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	movl	$HYPERCALL_XEN_VERSION, %edi
	xorl	%esi, %esi
	xorl	%edx, %edx
	call	xen_hypercall
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
1:	FRAME_END
	RET
SYM_FUNC_END(xen_irq_enable)

SYM_FUNC_START(xen_read_cr2)
	ENDBR
	movq	PER_CPU_VAR(xen_vcpu_info + XEN_vcpu_info_arch_cr2), %rax
	RET
SYM_FUNC_END(xen_read_cr2)

/* ---- returning: the iret hypercall takes { rax, r11, rcx, flags } below the hardware's frame ---- */

SYM_CODE_START(xen_iret)
	UNWIND_HINT_IRET_REGS
	ANNOTATE_NOENDBR
	pushq	$0
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$HYPERCALL_IRET, %eax
	syscall
	int3
SYM_CODE_END(xen_iret)

SYM_CODE_START(xenpv_restore_regs_and_return_to_usermode)
	UNWIND_HINT_REGS
	ANNOTATE_NOENDBR
	movq	RBX(%rsp), %rbx
	movq	RBP(%rsp), %rbp
	movq	R12(%rsp), %r12
	movq	R13(%rsp), %r13
	movq	R14(%rsp), %r14
	movq	R15(%rsp), %r15
	movq	R11(%rsp), %r11
	movq	R10(%rsp), %r10
	movq	R9(%rsp), %r9
	movq	R8(%rsp), %r8
	movq	RAX(%rsp), %rax
	movq	RCX(%rsp), %rcx
	movq	RDX(%rsp), %rdx
	movq	RSI(%rsp), %rsi
	movq	RDI(%rsp), %rdi
	addq	$RIP, %rsp
	UNWIND_HINT_IRET_REGS
	jmp	xen_iret
SYM_CODE_END(xenpv_restore_regs_and_return_to_usermode)

/* ---- system calls: Xen has switched to the task's stack and pushed a frame ---- */

.macro SYSCALL_ENTRY name cs target
SYM_CODE_START(\name)
	UNWIND_HINT_ENTRY
	ENDBR
	popq	%rcx
	popq	%r11
	/* Xen reports selectors of its own; user space has to see the kernel's. */
	movq	$__USER_DS, 4*8(%rsp)
	movq	$\cs, 1*8(%rsp)
	jmp	\target
SYM_CODE_END(\name)
.endm

SYSCALL_ENTRY xen_entry_syscall, __USER_CS, entry_SYSCALL_64_after_hwframe
#ifdef CONFIG_IA32_EMULATION
SYSCALL_ENTRY xen_entry_syscall32, __USER32_CS, entry_SYSCALL_compat_after_hwframe
SYSCALL_ENTRY xen_entry_sysenter, __USER32_CS, entry_SYSENTER_compat_after_hwframe
#else
SYM_CODE_START(xen_entry_syscall32)
SYM_INNER_LABEL(xen_entry_sysenter, SYM_L_GLOBAL)
	UNWIND_HINT_ENTRY
	ENDBR
	popq	%rcx
	popq	%r11
	mov	$-38 /* ENOSYS */, %rax
	jmp	xen_iret
SYM_CODE_END(xen_entry_syscall32)
#endif

/* ---- exceptions and events ---- */

.macro TRAP_STUB vector target
SYM_CODE_START(xen_trap_\vector)
	UNWIND_HINT_ENTRY
	ENDBR
	popq	%rcx
	popq	%r11
	jmp	\target
SYM_CODE_END(xen_trap_\vector)
.endm

TRAP_STUB 0, asm_exc_divide_error
TRAP_STUB 1, asm_xenpv_exc_debug
TRAP_STUB 2, asm_xenpv_exc_nmi
TRAP_STUB 3, asm_exc_int3
TRAP_STUB 4, asm_exc_overflow
TRAP_STUB 5, asm_exc_bounds
TRAP_STUB 6, asm_exc_invalid_op
TRAP_STUB 7, asm_exc_device_not_available
TRAP_STUB 8, asm_xenpv_exc_double_fault
TRAP_STUB 9, asm_exc_coproc_segment_overrun
TRAP_STUB 10, asm_exc_invalid_tss
TRAP_STUB 11, asm_exc_segment_not_present
TRAP_STUB 12, asm_exc_stack_segment
TRAP_STUB 13, asm_exc_general_protection
TRAP_STUB 14, asm_exc_page_fault
TRAP_STUB 15, asm_exc_spurious_interrupt_bug
TRAP_STUB 16, asm_exc_coprocessor_error
TRAP_STUB 17, asm_exc_alignment_check
#ifdef CONFIG_X86_MCE
TRAP_STUB 18, asm_xenpv_exc_machine_check
#else
TRAP_STUB 18, asm_exc_xen_unknown_trap
#endif
TRAP_STUB 19, asm_exc_simd_coprocessor_error
TRAP_STUB unknown, asm_exc_xen_unknown_trap
#ifdef CONFIG_IA32_EMULATION
TRAP_STUB int80, asm_int80_emulation
#else
TRAP_STUB int80, asm_exc_xen_unknown_trap
#endif
TRAP_STUB event, asm_exc_xen_hypervisor_callback

.popsection

/* By vector, for core/traps.cc. */
	.section .rodata, "a"
SYM_DATA_START(xen_trap_stubs)
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
	.quad	xen_trap_\vector
.endr
.rept 12
	.quad	xen_trap_unknown
.endr
SYM_DATA_END(xen_trap_stubs)

/* The same for the handlers that Linux installs before it has a real IDT. */
	__INIT
SYM_CODE_START(xen_early_idt_handler_array)
	i = 0
	.rept NUM_EXCEPTION_VECTORS
	UNWIND_HINT_EMPTY
	ENDBR
	popq	%rcx
	popq	%r11
	jmp	early_idt_handler_array + i * EARLY_IDT_HANDLER_SIZE
	i = i + 1
	.fill	xen_early_idt_handler_array + i * XEN_EARLY_IDT_HANDLER_SIZE - ., 1, 0xcc
	.endr
SYM_CODE_END(xen_early_idt_handler_array)

	.text

/* A secondary vCPU's first instruction: the context is complete, only a C frame is missing. */
SYM_CODE_START(xen_secondary_start)
	UNWIND_HINT_EMPTY
	ANNOTATE_NOENDBR
	call	cpu_bringup_and_idle
	int3
SYM_CODE_END(xen_secondary_start)

/* The same again, on the given stack. */
SYM_CODE_START(xen_secondary_restart)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	movq	%rdi, %rsp
	UNWIND_HINT_EMPTY
	jmp	xen_secondary_start
SYM_CODE_END(xen_secondary_restart)
