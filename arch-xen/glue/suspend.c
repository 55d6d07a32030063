// SPDX-License-Identifier: GPL-2.0-only
/* Suspension, as Linux sees it: all CPUs stand still with their events off while the first one asks
 * Xen to stop the domain. Tasks are not frozen: without kernel preemption none is stopped where it
 * holds a machine frame that it goes on to use. */
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <linux/tick.h>
#include <asm/fixmap.h>
#include <asm/xen/arch.h>
#include <../kernel/time/timekeeping.h>

#include "core.h"

/* Nobody else's page may be mapped in a saved domain. */
static int suspend(void *unused)
{
	int rc = timekeeping_suspend();

	if (rc)
		return rc;
	xen_time_suspend();
	xen_shared_suspend();
	xen_pin_all();
	xen_arch_unmap_page(FIX_PARAVIRT_BOOTMAP);
	rc = xen_suspend();
	xen_shared_info_map();
	if (rc == 0) {
		xen_vcpu_info_restored();
		xen_irq_restored();
		xen_time_restored();
		xen_smp_restored();
	}
	xen_time_resume();
	xen_unpin_all();
	xen_shared_resume(rc == 0);
	timekeeping_resume();
	return rc;
}

/* A timer that was set went with the vCPU. */
static void resume_tick(void *unused)
{
	tick_resume_local();
}

int xen_arch_suspend(void)
{
	int rc = stop_machine(suspend, NULL, cpumask_of(0));

	if (rc == 0) {
		on_each_cpu(resume_tick, NULL, 1);
		xen_irq_free_lost();
	}
	return rc;
}
