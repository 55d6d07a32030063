// SPDX-License-Identifier: GPL-2.0-only
/* pv_ops.cpu and pv_ops.irq: what Linux does to a CPU, as Xen wants it done. */
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/desc.h>
#include <asm/emulate_prefix.h>
#include <asm/io_bitmap.h>
#include <asm/msr.h>
#include <asm/mwait.h>
#include <asm/paravirt.h>
#include <asm/processor.h>
#include <asm/traps.h>
#include <asm/xen/arch.h>
#include <xen/interface/xen.h>

#include "core.h"

/* For core/traps.cc. */
const void *const xen_early_stubs __refconst = xen_early_idt_handler_array;
const void *const early_stubs __refconst = early_idt_handler_array;
const unsigned int xen_early_stub_size = XEN_EARLY_IDT_HANDLER_SIZE;
const unsigned int early_stub_size = EARLY_IDT_HANDLER_SIZE;

/* Xen writes here (VCPUOP_register_vcpu_info); asm/entry.S reads and masks. */
DEFINE_PER_CPU_ALIGNED(char[64], xen_vcpu_info);
static DEFINE_PER_CPU(char[4096], batch_memory) __aligned(64);

static cpumask_t registered;

void *glue_vcpu_info(void)
{
	return this_cpu_ptr(&xen_vcpu_info);
}

void *glue_batch_memory(void)
{
	return this_cpu_ptr(&batch_memory);
}

unsigned int glue_cpu(void)
{
	return raw_smp_processor_id();
}

int glue_lazy_mode(void)
{
	return paravirt_get_lazy_mode();
}

void glue_hypercall_failed(unsigned long op, long result, unsigned long a1, unsigned long a2)
{
	panic("Xen refused hypercall %lu: %ld (%lx, %lx)", op, result, a1, a2);
}

void xen_vcpu_info_setup(unsigned int cpu)
{
	void *info = per_cpu_ptr(&xen_vcpu_info, cpu);

	/* The area may be reached through the direct map or, page by page, through vmalloc space. */
	if (cpumask_test_and_set_cpu(cpu, &registered))
		return; /* once in a vCPU's life */
	if (xen_register_vcpu_info(cpu, xen_pfn_to_frame(per_cpu_ptr_to_phys(info) >> PAGE_SHIFT),
				   offset_in_page(info)))
		panic("Xen: no info page for vCPU %u", cpu);
}

/* One that runs has to stop for it; it stands still anyway. */
void xen_vcpu_info_restored(void)
{
	cpumask_t known = registered;
	unsigned int cpu;

	cpumask_clear(&registered);
	for_each_cpu(cpu, &known) {
		bool up = cpu && xen_vcpu_is_up(cpu) > 0;

		if (up)
			xen_vcpu_down(cpu);
		xen_vcpu_info_setup(cpu);
		if (up)
			xen_vcpu_up(cpu);
	}
}

/* Xen keeps a vCPU's time in its info page, wherever that is by now. */
void *xen_vcpu_time(unsigned int cpu)
{
	if (cpumask_test_cpu(cpu, &registered))
		return (char *)per_cpu_ptr(&xen_vcpu_info, cpu) + 32;
	return xen_time_info(cpu);
}

/* ---- identification ---- */

static void pv_cpuid(unsigned int *ax, unsigned int *bx, unsigned int *cx, unsigned int *dx)
{
	unsigned int leaf = *ax;

	asm(__ASM_FORM(.byte __XEN_EMULATE_PREFIX;) "cpuid"
	    : "=a" (*ax), "=b" (*bx), "=c" (*cx), "=d" (*dx)
	    : "0" (*ax), "2" (*cx));

	switch (leaf) {
	case 1: /* no APIC numbers the vCPUs: their own number does */
		*bx = (*bx & 0x0000ffff) | 1 << 16 | raw_smp_processor_id() << 24;
		*dx &= ~BIT(28); /* nor are two of them one core's threads */
		break;
	case CPUID_MWAIT_LEAF:
	case 0xb: /* the machine's topology is not the guest's */
	case 0x1f:
		*ax = *bx = *cx = *dx = 0;
		break;
	}
}

/* ---- control and debug registers, MSRs ---- */

static unsigned long pv_read_cr0(void)
{
	return native_read_cr0();
}

static void pv_write_cr0(unsigned long cr0)
{
	xen_task_switched(cr0 & X86_CR0_TS);
}

static void pv_write_cr4(unsigned long cr4)
{
	native_write_cr4(cr4 & ~(X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PCE));
}

static unsigned long pv_get_debugreg(int number)
{
	return xen_get_debug_register(number);
}

static u64 pv_read_msr_safe(unsigned int msr, int *err)
{
	u64 value = native_read_msr_safe(msr, err);

	if (msr == MSR_IA32_APICBASE)
		value &= ~X2APIC_ENABLE;
	return value;
}

static int pv_write_msr_safe(unsigned int msr, unsigned int low, unsigned int high)
{
	u64 value = (u64)high << 32 | low;

	switch (msr) {
	case MSR_FS_BASE:
		return xen_set_segment_base(XEN_SEGMENT_FS, value);
	case MSR_KERNEL_GS_BASE:
		return xen_set_segment_base(XEN_SEGMENT_GS_USER, value);
	case MSR_GS_BASE:
		return xen_set_segment_base(XEN_SEGMENT_GS_KERNEL, value);
	case MSR_STAR:
	case MSR_CSTAR:
	case MSR_LSTAR:
	case MSR_SYSCALL_MASK:
	case MSR_IA32_SYSENTER_CS:
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
		return 0; /* system calls enter through callbacks */
	default:
		return native_write_msr_safe(msr, low, high);
	}
}

/* Xen hides many MSRs from a guest; what is not there reads as 0, without a complaint. */
static u64 pv_read_msr(unsigned int msr)
{
	int err;

	return pv_read_msr_safe(msr, &err);
}

static void pv_write_msr(unsigned int msr, unsigned int low, unsigned int high)
{
	pv_write_msr_safe(msr, low, high);
}

static u64 pv_read_pmc(int counter)
{
	return 0;
}

/* ---- descriptor tables ---- */

static void pv_load_gdt(const struct desc_ptr *table)
{
	u64 frame = xen_frame_read_only(table->address);

	xen_load_gdt(&frame, (table->size + 1) / 8);
}

/* The one table of all CPUs; sidt would show Xen's. */
struct desc_ptr xen_idt;

static void pv_load_idt(const struct desc_ptr *table)
{
	xen_idt = *table;
	xen_load_idt((void *)table->address, (table->size + 1) / sizeof(gate_desc));
}

/* Gates change only before the table is loaded, or with a load after them, but for the last few
 * that trap_init() writes into the loaded one. */
static void pv_write_idt_entry(gate_desc *idt, int entry, const gate_desc *gate)
{
	native_write_idt_entry(idt, entry, gate);
	if (entry < NUM_EXCEPTION_VECTORS || entry == IA32_SYSCALL_VECTOR)
		xen_load_idt(idt, IDT_ENTRIES);
}

static void update_descriptor(void *entry, const void *descriptor)
{
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)entry, &level);

	xen_update_descriptor(xen_pfn_to_frame(pte_pfn(*pte)), offset_in_page(entry),
			      *(const u64 *)descriptor);
}

static void pv_write_gdt_entry(struct desc_struct *gdt, int entry, const void *descriptor, int type)
{
	/* Task state and local tables are Xen's business. */
	if (type != DESC_TSS && type != DESC_LDT)
		update_descriptor(&gdt[entry], descriptor);
}

static void pv_write_ldt_entry(struct desc_struct *ldt, int entry, const void *descriptor)
{
	update_descriptor(&ldt[entry], descriptor);
}

static void pv_alloc_ldt(struct desc_struct *ldt, unsigned int entries)
{
	unsigned int i;

	for (i = 0; i < entries; i += PAGE_SIZE / LDT_ENTRY_SIZE)
		xen_frame_read_only((unsigned long)(ldt + i));
}

static void flush_batch(void *unused)
{
	xen_core_flush();
}

static void pv_free_ldt(struct desc_struct *ldt, unsigned int entries)
{
	unsigned int i, level;

	/* A CPU that switches away from the table's owner may have that still in its batch. */
	if (!irqs_disabled())
		on_each_cpu(flush_batch, NULL, true);
	for (i = 0; i < entries; i += PAGE_SIZE / LDT_ENTRY_SIZE) {
		pte_t *pte = lookup_address((unsigned long)(ldt + i), &level);

		xen_set_page_access(pte_pfn(*pte), true);
		if (!pte_write(*pte))
			xen_set_mapping((unsigned long)(ldt + i), pte->pte | _PAGE_RW);
	}
}

static void pv_set_ldt(const void *ldt, unsigned int entries)
{
	xen_set_ldt(ldt, entries);
}

static void pv_load_tls(struct thread_struct *thread, unsigned int cpu)
{
	struct desc_struct *gdt = get_cpu_gdt_rw(cpu);
	unsigned int i;

	for (i = 0; i < GDT_ENTRY_TLS_ENTRIES; i++) {
		if (!memcmp(&gdt[GDT_ENTRY_TLS_MIN + i], &thread->tls_array[i], 8))
			continue;
		/* In a task switch the outgoing task's selectors are saved by now; Xen would reload
		 * them, and they may refer to what is about to change. */
		if (paravirt_get_lazy_mode() == PARAVIRT_LAZY_CPU)
			loadsegment(fs, 0);
		update_descriptor(&gdt[GDT_ENTRY_TLS_MIN + i], &thread->tls_array[i]);
	}
}

static void pv_load_gs_index(unsigned int selector)
{
	xen_set_segment_base(XEN_SEGMENT_GS_USER_SELECTOR, selector);
}

static void pv_load_tr(void)
{
}

static unsigned long pv_store_tr(void)
{
	return 0;
}

/* ---- task switch ---- */

static void pv_load_sp0(unsigned long sp0)
{
	xen_stack_switch(sp0, __KERNEL_DS);
	this_cpu_write(cpu_tss_rw.x86_tss.sp0, sp0);
}

#ifdef CONFIG_X86_IOPL_IOPERM
static void pv_invalidate_io_bitmap(void)
{
	xen_set_io_bitmap(NULL, 0);
	native_tss_invalidate_io_bitmap();
}

static void pv_update_io_bitmap(void)
{
	struct tss_struct *tss = this_cpu_ptr(&cpu_tss_rw);
	u16 base;

	native_tss_update_io_bitmap();
	base = tss->x86_tss.io_bitmap_base;
	if (base == IO_BITMAP_OFFSET_INVALID)
		xen_set_io_bitmap(NULL, 0);
	else
		xen_set_io_bitmap((void *)&tss->x86_tss + base, IO_BITMAP_BITS);
}
#endif

static void pv_end_context_switch(struct task_struct *next)
{
	xen_core_flush();
	paravirt_end_context_switch(next);
}

static void pv_nothing(void)
{
}

static const struct pv_cpu_ops xen_cpu_ops __initconst = {
	.io_delay = pv_nothing,
	.get_debugreg = pv_get_debugreg,
	.set_debugreg = xen_set_debug_register,
	.read_cr0 = pv_read_cr0,
	.write_cr0 = pv_write_cr0,
	.write_cr4 = pv_write_cr4,
	.load_tr_desc = pv_load_tr,
	.load_gdt = pv_load_gdt,
	.load_idt = pv_load_idt,
	.set_ldt = pv_set_ldt,
	.store_tr = pv_store_tr,
	.load_tls = pv_load_tls,
	.load_gs_index = pv_load_gs_index,
	.write_ldt_entry = pv_write_ldt_entry,
	.write_gdt_entry = pv_write_gdt_entry,
	.write_idt_entry = pv_write_idt_entry,
	.alloc_ldt = pv_alloc_ldt,
	.free_ldt = pv_free_ldt,
	.load_sp0 = pv_load_sp0,
#ifdef CONFIG_X86_IOPL_IOPERM
	.invalidate_io_bitmap = pv_invalidate_io_bitmap,
	.update_io_bitmap = pv_update_io_bitmap,
#endif
	.wbinvd = pv_nothing,
	.cpuid = pv_cpuid,
	.read_msr = pv_read_msr,
	.write_msr = pv_write_msr,
	.read_msr_safe = pv_read_msr_safe,
	.write_msr_safe = pv_write_msr_safe,
	.read_pmc = pv_read_pmc,
	.start_context_switch = paravirt_start_context_switch,
	.end_context_switch = pv_end_context_switch,
};

/* ---- the interrupt flag ---- */

asmlinkage unsigned long xen_save_fl(void);
asmlinkage void xen_irq_disable(void);
asmlinkage void xen_irq_enable(void);

static void pv_halt(void)
{
	if (irqs_disabled())
		xen_vcpu_down(smp_processor_id());
	else
		xen_block();
}

static const struct pv_irq_ops xen_irq_ops __initconst = {
	.save_fl = __PV_IS_CALLEE_SAVE(xen_save_fl),
	.irq_disable = __PV_IS_CALLEE_SAVE(xen_irq_disable),
	.irq_enable = __PV_IS_CALLEE_SAVE(xen_irq_enable),
	.safe_halt = xen_block,
	.halt = pv_halt,
};

void __init xen_cpu_ops_init(void)
{
	pv_ops.cpu = xen_cpu_ops;
	pv_ops.irq = xen_irq_ops;
}

/* ---- exceptions that have a stack of their own natively, and none here ---- */

DEFINE_IDTENTRY_RAW(xenpv_exc_nmi)
{
	exc_nmi(regs);
}

DEFINE_IDTENTRY_RAW_ERRORCODE(xenpv_exc_double_fault)
{
	exc_double_fault(regs, error_code);
}

DEFINE_IDTENTRY_RAW(xenpv_exc_debug)
{
	if (user_mode(regs))
		noist_exc_debug(regs);
	else
		exc_debug(regs);
}

#ifdef CONFIG_X86_MCE
DEFINE_IDTENTRY_RAW(xenpv_exc_machine_check)
{
	if (user_mode(regs))
		noist_exc_machine_check(regs);
	else
		exc_machine_check(regs);
}
#endif

DEFINE_IDTENTRY_RAW(exc_xen_unknown_trap)
{
	instrumentation_begin();
	panic("Xen delivered a trap that no handler is for");
	instrumentation_end();
}
