// SPDX-License-Identifier: GPL-2.0-only
/*
 * Brings vCPUs up and takes them down as the toolstack says (xl vcpu-set). At boot all of the domain's
 * run, and those too many are taken down as soon as there is somebody to ask.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/workqueue.h>
#include "../core/xenbus_core.h"
#include "port.h"

static void follow(struct device *dev, unsigned int cpu)
{
	int wanted = xenbus_core_vcpu_wanted(cpu);
	int rc;

	if (wanted < 0 || wanted == cpu_online(cpu))
		return;
	rc = wanted ? device_online(dev) : device_offline(dev);
	if (rc < 0)
		dev_warn(dev, "cannot be taken %s: error %d\n", wanted ? "up" : "down", rc);
}

static void adjust(struct work_struct *work)
{
	unsigned int cpu;

	lock_device_hotplug();
	for_each_present_cpu(cpu)
		if (get_cpu_device(cpu))
			follow(get_cpu_device(cpu), cpu);
	unlock_device_hotplug();
}
static DECLARE_WORK(adjust_work, adjust);

void xenbus_port_kick_vcpus(void)
{
	schedule_work(&adjust_work);
}

static int __init start_vcpus(void)
{
	return xenbus_store_ready ? xenbus_core_start_vcpus() : 0;
}
late_initcall(start_vcpus);
