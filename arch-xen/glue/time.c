// SPDX-License-Identifier: GPL-2.0-only
/* Xen's clock (public/xen.h, vcpu_time_info) as clocksource, scheduler clock and wall clock, and
 * the one-shot timer of each vCPU as clock event. */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/cpu.h>
#include <linux/interrupt.h>
#include <linux/static_call.h>
#include <asm/paravirt.h>
#include <asm/pvclock.h>
#include <asm/x86_init.h>

#include "core.h"

#define VIRQ_TIMER 0

static DEFINE_PER_CPU(struct clock_event_device, clock_event);

static notrace u64 read_time(void)
{
	u64 now;

	preempt_disable_notrace();
	now = pvclock_clocksource_read(xen_vcpu_time(raw_smp_processor_id()));
	preempt_enable_notrace();
	return now;
}

/* Xen's time starts with the host; the scheduler's with this kernel. */
static u64 boot_time;

static notrace u64 sched_time(void)
{
	return read_time() - boot_time;
}

static u64 steal_time(int cpu)
{
	return xen_steal_time(cpu);
}

static u64 read_clocksource(struct clocksource *cs)
{
	return read_time();
}

static struct clocksource xen_clocksource = {
	.name = "xen",
	.rating = 400,
	.read = read_clocksource,
	.mask = CLOCKSOURCE_MASK(64),
	.flags = CLOCK_SOURCE_IS_CONTINUOUS,
};

static unsigned long tsc_khz_from_xen(void)
{
	setup_force_cpu_cap(X86_FEATURE_TSC_KNOWN_FREQ);
	return pvclock_tsc_khz(xen_vcpu_time(0));
}

static void get_wallclock(struct timespec64 *now)
{
	pvclock_read_wallclock(xen_wall_clock(), xen_vcpu_time(0), now);
}

static int set_wallclock(const struct timespec64 *now)
{
	return -ENODEV; /* dom0's */
}

static int set_next_event(unsigned long delta, struct clock_event_device *device)
{
	return xen_timer_set(smp_processor_id(), read_time() + delta);
}

static int timer_stop(struct clock_event_device *device)
{
	xen_timer_stop(smp_processor_id());
	return 0;
}

static irqreturn_t timer_interrupt(int irq, void *unused)
{
	struct clock_event_device *device = this_cpu_ptr(&clock_event);

	if (!device->event_handler)
		return IRQ_NONE;
	device->event_handler(device);
	return IRQ_HANDLED;
}

/* Binds the timer of a vCPU that does not run yet, or is this one. */
int xen_clockevent_prepare(unsigned int cpu)
{
	struct clock_event_device *device = per_cpu_ptr(&clock_event, cpu);
	int irq;

	if (device->irq > 0)
		return 0;
	device->name = "xen";
	device->features = CLOCK_EVT_FEAT_ONESHOT;
	device->rating = 500;
	device->cpumask = cpumask_of(cpu);
	device->set_next_event = set_next_event;
	device->set_state_shutdown = timer_stop;
	irq = xen_virq_to_irq(VIRQ_TIMER, cpu, timer_interrupt, "timer");
	if (irq < 0)
		return irq;
	device->irq = irq;
	return 0;
}

/* The scheduler's clock stands still while the domain does. */
static u64 stopped_at;

void xen_time_suspend(void)
{
	stopped_at = sched_time();
}

void xen_time_resume(void)
{
	boot_time = read_time() - stopped_at;
}

/* Xen's time may have gone back: it is another host's. */
void xen_time_restored(void)
{
	unsigned int cpu;

	pvclock_resume();
	for_each_possible_cpu(cpu) {
		struct clock_event_device *device = per_cpu_ptr(&clock_event, cpu);

		if (device->irq <= 0)
			continue;
		xen_irq_rebind(device->irq, xen_bind_virq(VIRQ_TIMER, cpu), cpu);
	}
}

void xen_clockevent_start(void)
{
	xen_timer_stop(smp_processor_id());
	clockevents_config_and_register(this_cpu_ptr(&clock_event), NSEC_PER_SEC, 1000, LONG_MAX);
}

static void __init timer_init(void)
{
	clocksource_register_hz(&xen_clocksource, NSEC_PER_SEC);
	if (xen_clockevent_prepare(0))
		panic("Xen: no timer for the boot CPU");
	xen_clockevent_start();
	static_call_update(pv_steal_clock, steal_time);
	static_key_slow_inc(&paravirt_steal_enabled);
}

/* Called when shared info is mapped. */
void __init xen_time_init(void)
{
	pvclock_set_flags(0);
	boot_time = read_time();
	paravirt_set_sched_clock(sched_time);
	x86_init.timers.timer_init = timer_init;
	x86_init.timers.setup_percpu_clockev = x86_init_noop;
	x86_init.timers.wallclock_init = x86_init_noop;
	x86_cpuinit.setup_percpu_clockev = x86_init_noop;
	x86_platform.calibrate_cpu = tsc_khz_from_xen;
	x86_platform.calibrate_tsc = tsc_khz_from_xen;
	x86_platform.get_wallclock = get_wallclock;
	x86_platform.set_wallclock = set_wallclock;
}
