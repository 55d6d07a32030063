// SPDX-License-Identifier: GPL-2.0-only
/*
 * Suspends the domain, and brings back what it shares with others when it goes on: at once where it
 * was (cancelled), or restored as another domain, maybe on another host.
 */
#define pr_fmt(fmt) "xen: " fmt

#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/printk.h>
#include <linux/sched/mm.h>
#include <asm/xen/arch.h>
#include "../../programs/linux/programs.h"
#include "../core/xenbus_core.h"
#include "port.h"

void xen_shared_suspend(void)
{
	xenbus_core_suspend_shared();
}

void xen_shared_resume(bool restored)
{
	int rc = xenbus_core_resume_shared(restored);

	if (rc)
		panic("xen: no grant table for all grants in use: %d", rc);
}

/* Memory must not wait for the disks that come back here. */
static void restored(void)
{
	unsigned int noio = memalloc_noio_save();
	int rc;

	xen_console_restored();
	rc = xenbus_core_restore_store(xen_arch_frame_to_virt(xen_arch_store_frame()),
				       xen_arch_store_port());
	if (rc)
		pr_err("cannot talk to xenstore any more: %d\n", rc);
	xenbus_core_restore_bus();
	memalloc_noio_restore(noio);
}

void xenbus_suspend(void)
{
	int rc;

	/* A vCPU that goes down waits for the disks' requests, which may wait for a device's step. */
	lock_device_hotplug();
	if (IS_ENABLED(CONFIG_XEN_PROGRAMS))
		xen_programs_suspend();
	xenbus_suspend_devices();
	rc = xenbus_core_suspend_store();
	if (!rc) {
		rc = xen_arch_suspend();
		if (rc == 0)
			restored();
		else
			xenbus_core_resume_store();
	}
	xenbus_resume_devices();
	if (IS_ENABLED(CONFIG_XEN_PROGRAMS))
		xen_programs_resume(rc == 0);
	unlock_device_hotplug();
	if (!rc)
		xenbus_core_restore_control();
	if (rc < 0)
		pr_err("not suspended: error %d\n", rc);
	else
		pr_info("%s\n", rc ? "goes on: the suspension was cancelled" : "goes on: restored");
}
