// SPDX-License-Identifier: GPL-2.0-only
/*
 * The devices that the bus's core finds, in Linux's driver model: /sys/bus/xen. Each device has a
 * work item, so that one whose backend does not answer keeps no other one waiting.
 */
#define pr_fmt(fmt) "xen: " fmt

#include <linux/delay.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/xen/arch.h>
#include "../core/xenbus_core.h"
#include "port.h"
#include "xenbus.h"

struct node {
	struct xenbus_device xdev;
	struct delayed_work work;
	char core[] __aligned(8);
};

static struct workqueue_struct *bus_work;
static DECLARE_RWSEM(running); /* held for writing while the domain is suspended */
static bool suspended;	/* changed while it is held so */

static struct node *to_node(struct device *dev)
{
	return container_of(dev, struct node, xdev.dev);
}

static struct node *core_to_node(struct xenbus_core_device *device)
{
	return container_of((char *)device, struct node, core[0]);
}

static struct xenbus_core_device *to_core(struct device *dev)
{
	return (struct xenbus_core_device *)to_node(dev)->core;
}

static struct xenbus_driver *to_driver(struct device_driver *driver)
{
	return container_of(driver, struct xenbus_driver, driver);
}

/* ---- /sys ---- */

static ssize_t nodename_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", to_node(dev)->xdev.nodename);
}
static DEVICE_ATTR_RO(nodename);

static ssize_t devtype_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", to_node(dev)->xdev.type);
}
static DEVICE_ATTR_RO(devtype);

static ssize_t modalias_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "xen:%s\n", to_node(dev)->xdev.type);
}
static DEVICE_ATTR_RO(modalias);

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	static const char *const names[] = {
		"Unknown", "Initialising", "InitWait", "Initialised", "Connected", "Closing",
		"Closed", "Reconfiguring", "Reconfigured",
	};
	unsigned int state = xenbus_core_read_state(to_node(dev)->xdev.nodename);

	return sysfs_emit(buf, "%s\n", state < ARRAY_SIZE(names) ? names[state] : names[0]);
}
static DEVICE_ATTR_RO(state);

static struct attribute *xen_dev_attrs[] = {
	&dev_attr_nodename.attr,
	&dev_attr_devtype.attr,
	&dev_attr_modalias.attr,
	&dev_attr_state.attr,
	NULL,
};
ATTRIBUTE_GROUPS(xen_dev);

/* ---- the bus ---- */

static int match(struct device *dev, struct device_driver *driver)
{
	return strcmp(to_node(dev)->xdev.type, to_driver(driver)->type) == 0;
}

static int uevent(struct device *dev, struct kobj_uevent_env *env)
{
	return add_uevent_var(env, "MODALIAS=xen:%s", to_node(dev)->xdev.type);
}

static int probe(struct device *dev)
{
	int rc = to_driver(dev->driver)->probe(&to_node(dev)->xdev);

	if (rc)
		return rc;
	xenbus_core_bound(to_core(dev));
	xenbus_port_kick(to_core(dev));
	return 0;
}

static void remove(struct device *dev)
{
	to_driver(dev->driver)->remove(&to_node(dev)->xdev);
}

static struct bus_type xen_bus = {
	.name = "xen",
	.match = match,
	.uevent = uevent,
	.probe = probe,
	.remove = remove,
	.dev_groups = xen_dev_groups,
};

int xenbus_driver_register(struct xenbus_driver *driver)
{
	if (!xenbus_store_ready)
		return -ENODEV;
	driver->driver.bus = &xen_bus;
	return driver_register(&driver->driver);
}

void xenbus_driver_unregister(struct xenbus_driver *driver)
{
	driver_unregister(&driver->driver);
}

/* ---- for the core ---- */

static void step(struct work_struct *work)
{
	struct node *node = container_of(to_delayed_work(work), struct node, work);

	down_read(&running);
	xenbus_core_step((struct xenbus_core_device *)node->core);
	up_read(&running);
	put_device(&node->xdev.dev);
}

static void release(struct device *dev)
{
	kfree(to_node(dev));
}

struct xenbus_core_device *xenbus_port_allocate(void)
{
	struct node *node = kzalloc(sizeof(*node) + xenbus_core_device_size(), GFP_KERNEL);

	if (!node)
		return NULL;
	INIT_DELAYED_WORK(&node->work, step);
	device_initialize(&node->xdev.dev);
	node->xdev.dev.bus = &xen_bus;
	node->xdev.dev.release = release;
	return (struct xenbus_core_device *)node->core;
}

void xenbus_port_release(struct xenbus_core_device *device)
{
	put_device(&core_to_node(device)->xdev.dev);
}

int xenbus_port_add(struct xenbus_core_device *device, const char *nodename, const char *type,
		    uint32_t id, const char *otherend, uint16_t otherend_id)
{
	struct xenbus_device *xdev = &core_to_node(device)->xdev;
	int rc;

	if (strscpy(xdev->nodename, nodename, sizeof(xdev->nodename)) < 0 ||
	    strscpy(xdev->otherend, otherend, sizeof(xdev->otherend)) < 0)
		return -ENAMETOOLONG;
	xdev->type = type;
	xdev->id = id;
	xdev->otherend_id = otherend_id;
	rc = dev_set_name(&xdev->dev, "%s-%u", type, id);
	return rc ?: device_add(&xdev->dev);
}

void xenbus_port_remove(struct xenbus_core_device *device)
{
	device_del(&core_to_node(device)->xdev.dev);
}

void xenbus_port_lock(struct xenbus_core_device *device)
{
	device_lock(&core_to_node(device)->xdev.dev);
}

void xenbus_port_unlock(struct xenbus_core_device *device)
{
	device_unlock(&core_to_node(device)->xdev.dev);
}

int xenbus_port_deliver(struct xenbus_core_device *device, unsigned int state)
{
	struct xenbus_device *xdev = &core_to_node(device)->xdev;

	if (!xdev->dev.driver)
		return -ENODEV;
	to_driver(xdev->dev.driver)->backend_changed(xdev, state);
	return 0;
}

void xenbus_port_kick(struct xenbus_core_device *device)
{
	struct node *node = core_to_node(device);

	/* A queued step holds the device. */
	get_device(&node->xdev.dev);
	if (mod_delayed_work(bus_work, &node->work, 0))
		put_device(&node->xdev.dev);
}

void xenbus_port_kick_later(struct xenbus_core_device *device)
{
	struct node *node = core_to_node(device);

	get_device(&node->xdev.dev);
	if (!queue_delayed_work(bus_work, &node->work, HZ))
		put_device(&node->xdev.dev);
}

static void scan(struct work_struct *work)
{
	down_read(&running);
	xenbus_core_scan();
	up_read(&running);
}
static DECLARE_DELAYED_WORK(scan_work, scan);

void xenbus_port_kick_scan(void)
{
	/* The watch reports every write below the devices' directory: let a few come together. */
	queue_delayed_work(bus_work, &scan_work, msecs_to_jiffies(10));
}

void xenbus_port_kick_scan_later(void)
{
	queue_delayed_work(bus_work, &scan_work, HZ);
}

void *xenbus_port_map_frames(const uint64_t *frames, unsigned int count)
{
	return xen_arch_map_frames(frames, count);
}

void xenbus_port_remap_frames(void *address, const uint64_t *frames, unsigned int count)
{
	xen_arch_remap_frames(address, frames, count);
}

/* ---- suspension ---- */

static int suspend_device(struct device *dev, void *unused)
{
	device_lock(dev); /* no driver comes or goes */
	if (dev->driver && to_driver(dev->driver)->suspend)
		to_driver(dev->driver)->suspend(&to_node(dev)->xdev);
	return 0;
}

static int resume_device(struct device *dev, void *unused)
{
	if (dev->driver && to_driver(dev->driver)->resume)
		to_driver(dev->driver)->resume(&to_node(dev)->xdev);
	device_unlock(dev);
	return 0;
}

void xenbus_suspend_devices(void)
{
	down_write(&running);
	suspended = true;
	bus_for_each_dev(&xen_bus, NULL, NULL, suspend_device);
}

void xenbus_resume_devices(void)
{
	bus_for_each_dev(&xen_bus, NULL, NULL, resume_device);
	suspended = false;
	up_write(&running);
}

void xenbus_port_restored(struct xenbus_core_device *device, const char *otherend,
			  uint16_t otherend_id)
{
	struct xenbus_device *xdev = &core_to_node(device)->xdev;
	struct xenbus_driver *driver = xdev->dev.driver ? to_driver(xdev->dev.driver) : NULL;
	bool late = !suspended;
	unsigned int noio;

	strscpy(xdev->otherend, otherend, sizeof(xdev->otherend));
	xdev->otherend_id = otherend_id;
	if (!driver || !driver->restored)
		return;
	if (late && driver->suspend)
		driver->suspend(xdev);
	noio = memalloc_noio_save(); /* memory must not wait for this very disk */
	driver->restored(xdev);
	memalloc_noio_restore(noio);
	if (late && driver->resume)
		driver->resume(xdev);
}

/* ---- boot ---- */

static int __init start_bus(void)
{
	int rc;

	if (!xenbus_store_ready)
		return 0;
	bus_work = alloc_workqueue("xenbus", WQ_UNBOUND, 0);
	if (!bus_work)
		return -ENOMEM;
	rc = bus_register(&xen_bus);
	if (rc)
		return rc;
	return xenbus_core_start_bus();
}
subsys_initcall(start_bus);

static int __init count_waiting(struct device *dev, void *count)
{
	if (dev->driver && !xenbus_core_is_ready(to_core(dev)))
		++*(int *)count;
	return 0;
}

static int __init report_waiting(struct device *dev, void *unused)
{
	if (dev->driver && !xenbus_core_is_ready(to_core(dev)))
		dev_warn(dev, "not connected yet; going on without it\n");
	return 0;
}

/* The root file system may be on one of the devices: wait for them, as long as they make progress. */
static int __init wait_for_devices(void)
{
	unsigned long limit = jiffies + 30 * HZ;
	unsigned long patience = jiffies + 10 * HZ;
	int waiting, before = 0;

	if (!xenbus_store_ready)
		return 0;
	flush_delayed_work(&scan_work);
	for (;;) {
		waiting = 0;
		bus_for_each_dev(&xen_bus, NULL, &waiting, count_waiting);
		if (!waiting)
			return 0;
		if (waiting != before)
			patience = jiffies + 10 * HZ;
		if (time_after(jiffies, patience) || time_after(jiffies, limit))
			break;
		before = waiting;
		msleep(10);
	}
	return bus_for_each_dev(&xen_bus, NULL, NULL, report_waiting);
}
late_initcall(wait_for_devices);
