// SPDX-License-Identifier: GPL-2.0-only
/* smp_ops: secondary vCPUs start in kernel mode with their whole context given, and IPIs are events. */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/interrupt.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <asm/apic.h>
#include <asm/cpu.h>
#include <asm/desc.h>
#include <asm/processor.h>
#include <asm/smp.h>
#include <asm/spec-ctrl.h>
#include <asm/x86_init.h>
#include <asm/xen/arch.h>

#include "core.h"

#define REASON_RESCHEDULE 1
#define REASON_CALL 2
#define REASON_CALL_SINGLE 4
#define REASON_STOP 8

asmlinkage void cpu_bringup_and_idle(void);

static DEFINE_PER_CPU(int, ipi_irq);
static cpumask_t initialised;

static irqreturn_t ipi_interrupt(int irq, void *unused)
{
	u32 reasons = xen_take_ipi_reasons(smp_processor_id());

	if (reasons & REASON_RESCHEDULE) {
		inc_irq_stat(irq_resched_count);
		scheduler_ipi();
	}
	if (reasons & REASON_CALL) {
		inc_irq_stat(irq_call_count);
		generic_smp_call_function_interrupt();
	}
	if (reasons & REASON_CALL_SINGLE) {
		inc_irq_stat(irq_call_count);
		generic_smp_call_function_single_interrupt();
	}
	if (reasons & REASON_STOP) {
		set_cpu_online(smp_processor_id(), false);
		local_irq_disable();
		for (;;)
			xen_vcpu_down(smp_processor_id());
	}
	return IRQ_HANDLED;
}

static void send_reschedule(int cpu)
{
	xen_send_ipi(cpu, REASON_RESCHEDULE);
}

static void send_call(const struct cpumask *mask)
{
	unsigned int cpu;

	for_each_cpu_and(cpu, mask, cpu_online_mask)
		xen_send_ipi(cpu, REASON_CALL);
}

static void send_call_single(int cpu)
{
	xen_send_ipi(cpu, REASON_CALL_SINGLE);
}

/* The one thing that Linux asks of an APIC here: backtraces of other CPUs. */
static void send_nmi(const struct cpumask *mask, int vector)
{
	unsigned int cpu;

	if (vector == NMI_VECTOR)
		for_each_cpu_and(cpu, mask, cpu_online_mask)
			xen_vcpu_nmi(cpu);
}

static void stop_others(int wait)
{
	unsigned int cpu, patience;

	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id())
			xen_send_ipi(cpu, REASON_STOP);
	for (patience = 0; wait && num_online_cpus() > 1 && patience < 10000; patience++)
		xen_yield();
}

/* ---- bringing up ---- */

/* In a state of the hotplug machine where allocating an irq may sleep. */
static int prepare_cpu(unsigned int cpu)
{
	int irq;

	if (!per_cpu(ipi_irq, cpu)) {
		irq = xen_ipi_to_irq(cpu, ipi_interrupt, "ipi");
		if (irq < 0)
			return irq;
		per_cpu(ipi_irq, cpu) = irq;
	}
	return xen_clockevent_prepare(cpu);
}

void xen_smp_restored(void)
{
	unsigned int cpu;

	/* Of those that were down nothing is kept. */
	cpumask_and(&initialised, &initialised, cpu_online_mask);
	for_each_possible_cpu(cpu) {
		if (!per_cpu(ipi_irq, cpu))
			continue;
		xen_irq_rebind(per_cpu(ipi_irq, cpu), xen_bind_ipi(cpu), cpu);
		xen_send_ipi(cpu, 0); /* what was sent and had not arrived */
	}
}

static void __init prepare_boot_cpu(void)
{
	unsigned long boot_gdt = (unsigned long)__per_cpu_load + (unsigned long)&gdt_page -
				 (unsigned long)__per_cpu_start;

	native_smp_prepare_boot_cpu();
	xen_vcpu_info_setup(0);
	/* The first GDT is init data and becomes free memory. */
	xen_set_page_access(__pa_symbol(boot_gdt) >> PAGE_SHIFT, true);
}

static void __init prepare_cpus(unsigned int max_cpus)
{
	unsigned int cpu;

	smp_prepare_cpus_common();
	cpu_data(0).x86_max_cores = 1;
	speculative_store_bypass_ht_init();
	if (prepare_cpu(0))
		panic("Xen: no interrupts for the boot CPU");
	apic->send_IPI_mask = send_nmi;

	for_each_possible_cpu(cpu) {
		if (cpu >= max(max_cpus, 1u))
			set_cpu_possible(cpu, false);
		else
			set_cpu_present(cpu, true);
	}
	if (cpuhp_setup_state_nocalls(CPUHP_XEN_PREPARE, "x86/xen:prepare", prepare_cpu, NULL) < 0)
		panic("Xen: no hotplug state for vCPUs");
}

/* Runs on the new vCPU, on its idle task's stack. */
asmlinkage __visible void cpu_bringup_and_idle(void)
{
	unsigned int cpu = smp_processor_id();

	cr4_init();
	cpu_init_exception_handling();
	cpu_init();
	xen_register_callbacks();
	smp_store_cpu_info(cpu);
	cpu_data(cpu).x86_max_cores = 1;
	set_cpu_sibling_map(cpu);
	speculative_store_bypass_ht_init();
	xen_clockevent_start();
	notify_cpu_starting(cpu);
	set_cpu_online(cpu, true);
	cpu_set_state_online(cpu);
	smp_mb(); /* online before the first interrupt */
	local_irq_enable();
	cpu_startup_entry(CPUHP_AP_ONLINE_IDLE);
}

static int initialise(unsigned int cpu, struct task_struct *idle)
{
	struct xen_secondary_start start = {
		.stack_top = (unsigned long)task_pt_regs(idle),
		.kernel_sp = task_top_of_stack(idle),
		.per_cpu_base = per_cpu_offset(cpu),
		.gdt_frame = xen_frame_read_only((unsigned long)get_cpu_gdt_rw(cpu)),
		.gdt_entries = GDT_ENTRIES,
		.idt = (void *)xen_idt.address,
		.idt_entries = IDT_ENTRIES,
	};
	void *context;
	int err;

	context = kzalloc(xen_vcpu_context_size, GFP_KERNEL);
	if (!context)
		return -ENOMEM;
	err = xen_vcpu_initialise(cpu, context, &start);
	kfree(context);
	return err;
}

static int cpu_up_xen(unsigned int cpu, struct task_struct *idle)
{
	int err = common_cpu_up(cpu, idle);
	unsigned long deadline;

	if (err)
		return err;
	err = cpu_check_up_prepare(cpu);
	if (err && err != -EBUSY)
		return err;
	xen_vcpu_info_setup(cpu);
	xen_mmu_secondary(cpu);
	cpumask_set_cpu(cpu, cpu_callout_mask); /* cpu_init() on the new one waits for it */
	if (!cpumask_test_cpu(cpu, &initialised)) {
		err = initialise(cpu, idle);
		if (err)
			return err;
		cpumask_set_cpu(cpu, &initialised);
	}
	err = xen_vcpu_up(cpu);
	deadline = jiffies + 30 * HZ;
	while (!err && !cpu_online(cpu)) {
		xen_yield();
		if (time_after(jiffies, deadline))
			err = -ETIMEDOUT;
	}
	return err;
}

static void __init cpus_done(unsigned int max_cpus)
{
}

/* ---- taking down ---- */

#ifdef CONFIG_HOTPLUG_CPU
asmlinkage void xen_secondary_restart(unsigned long stack_top);

static int disable_cpu(void)
{
	cpu_disable_common(); /* of the first one Linux lets go of by no means */
	return 0;
}

static void await_down(unsigned int cpu)
{
	if (common_cpu_die(cpu))
		return;
	while (xen_vcpu_is_up(cpu) > 0)
		schedule_timeout_uninterruptible(1);
}

/* Goes on when the vCPU is up again, as if it never had been. */
static void go_down(void)
{
	play_dead_common();
	xen_vcpu_down(smp_processor_id());
	xen_secondary_restart((unsigned long)task_pt_regs(current));
	BUG();
}
#endif

static const struct smp_ops xen_smp_ops __initconst = {
	.smp_prepare_boot_cpu = prepare_boot_cpu,
	.smp_prepare_cpus = prepare_cpus,
	.smp_cpus_done = cpus_done,
	.stop_other_cpus = stop_others,
	.smp_send_reschedule = send_reschedule,
	.cpu_up = cpu_up_xen,
#ifdef CONFIG_HOTPLUG_CPU
	.cpu_disable = disable_cpu,
	.cpu_die = await_down,
	.play_dead = go_down,
#endif
	.send_call_func_ipi = send_call,
	.send_call_func_single_ipi = send_call_single,
};

/* Xen knows which vCPUs there are; no table of the firmware's does. */
static void __init count_vcpus(unsigned int early)
{
	unsigned int cpu;

	if (early)
		return;
	xen_more_vcpus = xen_vcpu_is_up(NR_CPUS) >= 0;
	num_processors = 0;
	for (cpu = 0; cpu < nr_cpu_ids && xen_vcpu_is_up(cpu) >= 0; cpu++) {
		num_processors++;
		set_cpu_possible(cpu, true);
		early_per_cpu(x86_cpu_to_apicid, cpu) = cpu;
		early_per_cpu(x86_bios_cpu_apicid, cpu) = 0; /* what the absent APIC says */
	}
}

void __init xen_smp_init(void)
{
	BUILD_BUG_ON(NR_CPUS > XEN_MAX_VCPUS);
	smp_ops = xen_smp_ops;
	x86_init.mpparse.find_smp_config = x86_init_noop;
	x86_init.mpparse.get_smp_config = count_vcpus;
}
