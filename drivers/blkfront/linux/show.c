// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a disk's backend and the frontend agreed on, in /sys/block/xvda/xen, and how its queues do,
 * in debugfs: xen-blkfront/xvda/queue0 and so on.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>
#include "vbd.h"

/* ---- sysfs ---- */

static const struct blkfront_geometry *to_geometry(struct device *dev)
{
	struct vbd *vbd = dev_to_disk(dev)->private_data;

	return &vbd->geometry;
}

#define SHOW_NUMBER(name)                                                                         \
	static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf)  \
	{                                                                                         \
		return sysfs_emit(buf, "%u\n", to_geometry(dev)->name);                           \
	}                                                                                         \
	static DEVICE_ATTR_RO(name)

SHOW_NUMBER(queues);
SHOW_NUMBER(polled_queues);
SHOW_NUMBER(ring_pages);
SHOW_NUMBER(requests);
SHOW_NUMBER(segments);
SHOW_NUMBER(persistent_grants);
SHOW_NUMBER(trusted);
SHOW_NUMBER(secure_discard);
SHOW_NUMBER(cdrom);

static ssize_t discard_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", to_geometry(dev)->discard_granularity != 0);
}
static DEVICE_ATTR_RO(discard);

static ssize_t flush_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	static const char *const names[] = {
		[BLKFRONT_NO_FLUSH] = "none",
		[BLKFRONT_FLUSH_CACHE] = "flush",
		[BLKFRONT_BARRIER] = "barrier",
	};

	return sysfs_emit(buf, "%s\n", names[to_geometry(dev)->flush]);
}
static DEVICE_ATTR_RO(flush);

static struct attribute *vbd_attrs[] = {
	&dev_attr_queues.attr,		  &dev_attr_polled_queues.attr,
	&dev_attr_ring_pages.attr,	  &dev_attr_requests.attr,
	&dev_attr_segments.attr,	  &dev_attr_persistent_grants.attr,
	&dev_attr_trusted.attr,		  &dev_attr_flush.attr,
	&dev_attr_discard.attr,		  &dev_attr_secure_discard.attr,
	&dev_attr_cdrom.attr,		  NULL,
};

static const struct attribute_group vbd_group = { .name = "xen", .attrs = vbd_attrs };

const struct attribute_group *vbd_groups[] = { &vbd_group, NULL };

/* ---- debugfs ---- */

static struct dentry *debug_root;

static int queue_show(struct seq_file *file, void *unused)
{
	struct vbd_queue *queue = file->private;
	struct blkfront_statistics s;
	int i;

	if (!blkfront_queue_statistics(queue->vbd->core, queue->number, &s))
		return 0; /* the backend does not offer as many any more */
	seq_printf(file, "requests %llu\n", s.requests);
	seq_printf(file, "errors %llu\n", s.errors);
	seq_printf(file, "busy %llu\n", s.busy);
	seq_printf(file, "notifications %llu\n", s.notifications);
	seq_printf(file, "events %llu\n", s.events);
	seq_printf(file, "persistent_hits %llu\n", s.persistent_hits);
	seq_printf(file, "in_flight %u\n", s.in_flight);
	seq_printf(file, "held %u\n", s.held);
	seq_printf(file, "persistent %u\n", s.persistent);
	seq_printf(file, "latency_max_ns %llu\n", s.latency_max_ns);
	for (i = 0; i < BLKFRONT_LATENCY_BUCKETS; i++)
		if (s.latency[i])
			seq_printf(file, "latency_below_us %llu %llu\n", 1ULL << i, s.latency[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(queue);

void vbd_debug_init(void)
{
	debug_root = debugfs_create_dir("xen-blkfront", NULL);
}

void vbd_debug_exit(void)
{
	debugfs_remove(debug_root);
}

/* A file for each queue of the disk's that has none. */
void vbd_debug_add(struct vbd *vbd)
{
	unsigned int queues = min_t(unsigned int, BLKFRONT_MAX_QUEUES,
				    vbd->geometry.queues + vbd->geometry.polled_queues);

	if (!vbd->debug)
		vbd->debug = debugfs_create_dir(vbd->name, debug_root);
	for (; vbd->debug_queues < queues; vbd->debug_queues++) {
		struct vbd_queue *queue = &vbd->queue[vbd->debug_queues];
		char name[16];

		*queue = (struct vbd_queue){ vbd, vbd->debug_queues };
		snprintf(name, sizeof(name), "queue%u", vbd->debug_queues);
		debugfs_create_file(name, 0400, vbd->debug, queue, &queue_fops);
	}
}

void vbd_debug_remove(struct vbd *vbd)
{
	debugfs_remove(vbd->debug);
}
