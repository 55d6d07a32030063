// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/hypervisor: programs look there for whether they run on Xen, and on which.
 */
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>
#include <xen/xen.h>
#include "../core/hypervisor.h"

#define LINE(name, text)                                                                          \
	static ssize_t name##_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)  \
	{                                                                                         \
		return sysfs_emit(buf, text "\n");                                                \
	}                                                                                         \
	static struct kobj_attribute name##_attribute = __ATTR_RO(name)

#define PROPERTY(name, property)                                                                  \
	static ssize_t name##_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)  \
	{                                                                                         \
		return xenbus_core_property(property, buf, PAGE_SIZE);                            \
	}                                                                                         \
	static struct kobj_attribute name##_attribute = __ATTR_RO(name)

LINE(type, "xen");
LINE(guest_type, "PV");
PROPERTY(uuid, XENBUS_UUID);
PROPERTY(major, XENBUS_MAJOR);
PROPERTY(minor, XENBUS_MINOR);
PROPERTY(extra, XENBUS_EXTRA);
PROPERTY(capabilities, XENBUS_CAPABILITIES);
PROPERTY(changeset, XENBUS_CHANGESET);
PROPERTY(features, XENBUS_FEATURES);
PROPERTY(pagesize, XENBUS_PAGESIZE);

static struct attribute *domain[] = {
	&type_attribute.attr, &guest_type_attribute.attr, &uuid_attribute.attr, NULL,
};

static struct attribute *version[] = {
	&major_attribute.attr, &minor_attribute.attr, &extra_attribute.attr, NULL,
};

static struct attribute *properties[] = {
	&capabilities_attribute.attr, &changeset_attribute.attr, &features_attribute.attr,
	&pagesize_attribute.attr, NULL,
};

static const struct attribute_group domain_group = { .attrs = domain };
static const struct attribute_group version_group = { .name = "version", .attrs = version };
static const struct attribute_group properties_group = {
	.name = "properties",
	.attrs = properties,
};

static const struct attribute_group *groups[] = {
	&domain_group, &version_group, &properties_group, NULL,
};

static int __init start_hypervisor(void)
{
	return xen_domain() ? sysfs_create_groups(hypervisor_kobj, groups) : 0;
}
device_initcall(start_hypervisor);
