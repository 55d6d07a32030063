// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disks that another domain serves, as Linux block devices: major 202, xvda and so on. All that
 * concerns the backend is the core's (core/blkfront_port.h); the files beside this one are blk-mq
 * (request.c), the gendisk (disk.c), and what can be seen of it (show.c). This is the module and
 * the bus.
 */
#include <linux/crash_dump.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <xen/xen.h>
#include "vbd.h"

/* How often pages whose grants persist are looked through for those that nobody uses. */
#define AGE_INTERVAL	(30 * HZ)

static LIST_HEAD(vbds);
static DEFINE_MUTEX(vbds_lock);
struct workqueue_struct *vbd_wq; /* memory may be waiting for a disk that reconnects */
struct workqueue_struct *vbd_split_wq; /* or for a request that waits for that */

/* ---- parameters: those that upstream's driver has, by their names there ---- */

static unsigned int max_queues;
module_param(max_queues, uint, 0644);
MODULE_PARM_DESC(max_queues, "Queues of a disk, at most (0: one for each CPU)");

static unsigned int poll_queues;
module_param(poll_queues, uint, 0644);
MODULE_PARM_DESC(poll_queues, "Queues of a disk for polled I/O, besides (default: 0)");

static unsigned int max_ring_page_order = 2;
module_param(max_ring_page_order, uint, 0644);
MODULE_PARM_DESC(max_ring_page_order, "Pages of a queue's ring, at most, as a power of two (0 to 4, "
				      "default: 2)");

static unsigned int max_indirect_segments = BLKFRONT_MAX_SEGMENTS;
module_param(max_indirect_segments, uint, 0644);
MODULE_PARM_DESC(max_indirect_segments,
		 "Segments of 4 KiB in a request, at most (0: no indirect requests; default: 512)");

static bool feature_persistent = true;
module_param(feature_persistent, bool, 0644);
MODULE_PARM_DESC(feature_persistent, "Use persistent grants where the backend has them");

static bool trusted = true;
module_param(trusted, bool, 0644);
MODULE_PARM_DESC(trusted, "Is the backend trusted");

enum vbd_timeout vbd_timeout_action = VBD_WAIT;
static const char *const timeout_actions[] = { "wait", "fail", "requeue" };

static int set_timeout_action(const char *value, const struct kernel_param *param)
{
	int action = __sysfs_match_string(timeout_actions, ARRAY_SIZE(timeout_actions), value);

	if (action < 0)
		return action;
	WRITE_ONCE(vbd_timeout_action, action);
	return 0;
}

static int get_timeout_action(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", timeout_actions[READ_ONCE(vbd_timeout_action)]);
}

static const struct kernel_param_ops timeout_action_ops = {
	.set = set_timeout_action,
	.get = get_timeout_action,
};
module_param_cb(timeout_action, &timeout_action_ops, NULL, 0644);
__MODULE_PARM_TYPE(timeout_action, "string");
MODULE_PARM_DESC(timeout_action, "After a disk's queue/io_timeout: wait (default), fail the disk's "
				 "requests, or requeue them and connect anew");

void blkfront_port_wishes(void *owner, struct blkfront_wishes *wishes)
{
	unsigned int cpus = min_t(unsigned int, num_online_cpus(), BLKFRONT_MAX_QUEUES);
	unsigned int queues = max_queues ? min(max_queues, cpus) : cpus;
	unsigned int polled = min3(poll_queues, cpus, BLKFRONT_MAX_QUEUES - queues);

	if (is_kdump_kernel()) { /* blk-mq will not have more */
		queues = 1;
		polled = 0;
	}
	wishes->trusted = trusted;
	wishes->persistent_grants = feature_persistent;
	wishes->queues = queues;
	wishes->polled_queues = polled;
	wishes->ring_page_order = min_t(unsigned int, max_ring_page_order,
					BLKFRONT_MAX_RING_PAGE_ORDER);
	wishes->segments = min_t(unsigned int, max_indirect_segments, BLKFRONT_MAX_SEGMENTS);
}

/* ---- what the core is called for, in a thread ---- */

static unsigned int enter(struct vbd *vbd)
{
	/* To write dirty pages to this very disk is no way to get memory for reconnecting it. */
	mutex_lock(&vbd->control);
	return memalloc_noio_save();
}

static void leave(struct vbd *vbd, unsigned int noio)
{
	memalloc_noio_restore(noio);
	mutex_unlock(&vbd->control);
}

void blkfront_port_wake(void *owner)
{
	struct vbd *vbd = owner;

	mod_delayed_work(vbd_wq, &vbd->work, 0);
}

void blkfront_port_wake_later(void *owner)
{
	struct vbd *vbd = owner;

	queue_delayed_work(vbd_wq, &vbd->work, HZ);
}

static void vbd_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(to_delayed_work(work), struct vbd, work);
	unsigned int noio = enter(vbd);

	blkfront_work(vbd->core);
	leave(vbd, noio);
}

static void vbd_expire_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(work, struct vbd, expire_work);
	unsigned int noio = enter(vbd);
	enum vbd_timeout action = READ_ONCE(vbd_timeout_action);

	/* What was overdue may have ended while this waited, with the connection. */
	if (action != VBD_WAIT && vbd_any_overdue(vbd))
		blkfront_expire(vbd->core, action == VBD_FAIL ? BLKFRONT_ERROR :
								BLKFRONT_INTERRUPTED);
	leave(vbd, noio);
}

static void vbd_age_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(to_delayed_work(work), struct vbd, age_work);

	blkfront_age(vbd->core);
	vbd_start_ageing(vbd);
}

void vbd_start_ageing(struct vbd *vbd)
{
	schedule_delayed_work(&vbd->age_work, AGE_INTERVAL);
}

/* ---- the bus ---- */

/*
 * Reserves the name and the minors. xvda and xvda1, given as disks, exclude each other, and so do a
 * number of the extended scheme and an ordinary one of the same name.
 */
static int vbd_register(struct vbd *vbd)
{
	struct vbd *other;
	int rc = 0;

	mutex_lock(&vbds_lock);
	list_for_each_entry(other, &vbds, list)
		if ((vbd->first_minor < other->first_minor + other->minors &&
		     other->first_minor < vbd->first_minor + vbd->minors) ||
		    !strcmp(vbd->name, other->name))
			rc = -EBUSY;
	if (!rc)
		list_add(&vbd->list, &vbds);
	mutex_unlock(&vbds_lock);
	return rc;
}

static void vbd_unregister(struct vbd *vbd)
{
	mutex_lock(&vbds_lock);
	list_del(&vbd->list);
	mutex_unlock(&vbds_lock);
}

void vbd_free(struct vbd *vbd)
{
	cancel_delayed_work_sync(&vbd->work);
	kvfree(vbd->core);
	kfree(vbd);
}

static int vbd_probe(struct xenbus_device *xdev)
{
	struct vbd *vbd = kzalloc(sizeof(*vbd), GFP_KERNEL);
	int rc = -ENOMEM;

	if (!vbd)
		return -ENOMEM;
	vbd->core = kvzalloc(blkfront_object_size(), GFP_KERNEL);
	if (!vbd->core)
		goto fail;
	vbd->xdev = xdev;
	mutex_init(&vbd->control);
	INIT_DELAYED_WORK(&vbd->work, vbd_work);
	INIT_WORK(&vbd->expire_work, vbd_expire_work);
	INIT_DEFERRABLE_WORK(&vbd->age_work, vbd_age_work);
	INIT_WORK(&vbd->add_work, vbd_add_work);
	init_completion(&vbd->added);
	INIT_WORK(&vbd->split_work, vbd_split_work);
	spin_lock_init(&vbd->split_lock);
	blkfront_init(vbd->core, vbd, xdev->nodename, xdev->otherend, xdev->otherend_id, xdev->id);
	rc = -ENODEV;
	if (!blkfront_name(xdev->id, vbd->name, &vbd->first_minor, &vbd->minors)) {
		dev_err(&xdev->dev, "%u is not the number of a disk\n", xdev->id);
		goto refuse;
	}
	rc = vbd_register(vbd);
	if (rc) {
		dev_err(&xdev->dev, "the name %s is taken\n", vbd->name);
		goto refuse;
	}
	xdev->data = vbd;
	return 0;
refuse:
	blkfront_detach(vbd->core);
fail:
	kvfree(vbd->core);
	kfree(vbd);
	return rc;
}

static void vbd_backend_changed(struct xenbus_device *xdev, unsigned int state)
{
	struct vbd *vbd = xdev->data;
	unsigned int noio = enter(vbd);

	blkfront_backend_changed(vbd->core, state);
	leave(vbd, noio);
}

static void vbd_suspend(struct xenbus_device *xdev)
{
	struct vbd *vbd = xdev->data;

	mutex_lock(&vbd->control);
}

static void vbd_restored(struct xenbus_device *xdev)
{
	struct vbd *vbd = xdev->data;

	blkfront_restored(vbd->core, xdev->otherend, xdev->otherend_id);
}

static void vbd_resume(struct xenbus_device *xdev)
{
	struct vbd *vbd = xdev->data;

	mutex_unlock(&vbd->control);
}

static void vbd_remove(struct xenbus_device *xdev)
{
	struct vbd *vbd = xdev->data;

	/* Every request fails from now on, so that nothing below waits for the backend. */
	mutex_lock(&vbd->control);
	blkfront_detach(vbd->core);
	mutex_unlock(&vbd->control);
	cancel_delayed_work_sync(&vbd->work);
	cancel_delayed_work_sync(&vbd->age_work);
	vbd_debug_remove(vbd);
	if (vbd->gd)
		vbd_remove_disk(vbd);
	vbd_unregister(vbd);
	if (vbd->live)
		put_disk(vbd->gd); /* the last one frees vbd */
	else
		vbd_free(vbd);
}

static struct xenbus_driver vbd_driver = {
	.type = "vbd",
	.probe = vbd_probe,
	.remove = vbd_remove,
	.backend_changed = vbd_backend_changed,
	.suspend = vbd_suspend,
	.restored = vbd_restored,
	.resume = vbd_resume,
	.driver = { .name = "vbd", .owner = THIS_MODULE },
};

static int __init vbd_init(void)
{
	int rc = -ENOMEM;

	if (!xen_domain())
		return -ENODEV;
	vbd_wq = alloc_workqueue("xvd", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	vbd_split_wq = alloc_workqueue("xvd-split", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!vbd_wq || !vbd_split_wq)
		goto no_queue;
	rc = register_blkdev(XENVBD_MAJOR, "xvd");
	if (rc)
		goto no_queue;
	vbd_debug_init();
	rc = xenbus_driver_register(&vbd_driver);
	if (!rc)
		return 0;
	vbd_debug_exit();
	unregister_blkdev(XENVBD_MAJOR, "xvd");
no_queue:
	if (vbd_split_wq)
		destroy_workqueue(vbd_split_wq);
	if (vbd_wq)
		destroy_workqueue(vbd_wq);
	return rc;
}
module_init(vbd_init);

static void __exit vbd_exit(void)
{
	xenbus_driver_unregister(&vbd_driver);
	vbd_debug_exit();
	unregister_blkdev(XENVBD_MAJOR, "xvd");
	destroy_workqueue(vbd_split_wq);
	destroy_workqueue(vbd_wq);
}
module_exit(vbd_exit);

MODULE_DESCRIPTION("Xen block device frontend");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vbd");
