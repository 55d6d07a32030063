// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disks that another domain serves, as Linux block devices: major 202, xvda and so on. All that
 * concerns the backend is the core's (core/blkfront_port.h); this is blk-mq, gendisk and the bus.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/major.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/xen/arch.h>
#include <xen/xen.h>
#include "../../xenbus/linux/xenbus.h"
#include "../core/blkfront_port.h"

/* How long a backend may take for the partition scan, and to finish what is in flight. */
#define SCAN_TIMEOUT	(10 * HZ)
#define DRAIN_TIMEOUT	(5 * HZ)

struct vbd {
	struct xenbus_device *xdev;
	struct blkfront *core;
	struct mutex control;		/* one control function of the core at a time */
	struct work_struct work;	/* those that other contexts ask for */
	struct work_struct add_work;
	struct completion added;	/* add_work ran */
	struct gendisk *gd;		/* from the first connection on */
	struct blk_mq_tag_set tags;
	bool live;			/* device_add_disk() succeeded */
	bool paused;
	struct list_head list;
	char name[16];
	u32 first_minor;
	u32 minors;
};

struct vbd_request {
	enum blkfront_result result;
	struct scatterlist sg[BLKFRONT_MAX_SEGMENTS];
};

static LIST_HEAD(vbds);
static DEFINE_MUTEX(vbds_lock);
static struct workqueue_struct *vbd_wq;	/* memory may be waiting for a disk that reconnects */

/* ---- requests ---- */

/* How many segments; -EIO if one is not of whole sectors, which the limits exclude. */
static int map_segments(struct request *rq, struct blkfront_segment *segments)
{
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);
	struct scatterlist *sg;
	int i, count;

	sg_init_table(vr->sg, ARRAY_SIZE(vr->sg));
	count = blk_rq_map_sg(rq->q, rq, vr->sg);
	for_each_sg(vr->sg, sg, count, i) {
		if ((sg->offset | sg->length) & (SECTOR_SIZE - 1))
			return -EIO;
		segments[i].page = page_address(sg_page(sg));
		segments[i].frame = xen_arch_page_to_frame(sg_page(sg));
		segments[i].first_sector = sg->offset >> SECTOR_SHIFT;
		segments[i].last_sector = ((sg->offset + sg->length) >> SECTOR_SHIFT) - 1;
	}
	return count;
}

static blk_status_t vbd_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct vbd *vbd = rq->q->queuedata;
	struct blkfront_segment segments[BLKFRONT_MAX_SEGMENTS];
	struct blkfront_request request = { .segments = segments, .cookie = rq };
	int count = 0;

	switch (req_op(rq)) {
	case REQ_OP_FLUSH:
		request.operation = BLKFRONT_FLUSH;
		break;
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		request.operation = rq_data_dir(rq) == WRITE ? BLKFRONT_WRITE : BLKFRONT_READ;
		request.sector = blk_rq_pos(rq);
		count = map_segments(rq, segments);
		break;
	default:
		return BLK_STS_NOTSUPP;
	}

	blk_mq_start_request(rq);
	if (count < 0)
		return BLK_STS_IOERR;
	request.segment_count = count;
	switch (blkfront_submit(vbd->core, &request)) {
	case 0:
		return BLK_STS_OK;
	case -EAGAIN:
	case -EBUSY:
		return BLK_STS_RESOURCE;
	case -EOPNOTSUPP:
		return BLK_STS_NOTSUPP;
	default:
		return BLK_STS_IOERR;
	}
}

void blkfront_port_complete(void *owner, void *cookie, enum blkfront_result result)
{
	struct request *rq = cookie;
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);

	vr->result = result;
	if (likely(!blk_should_fake_timeout(rq->q)))
		blk_mq_complete_request(rq);
}

static void keep_pages(struct request *rq)
{
	struct req_iterator iter;
	struct bio_vec bvec;

	rq_for_each_segment(bvec, rq, iter)
		get_page(bvec.bv_page);
}

static void vbd_complete_rq(struct request *rq)
{
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);

	switch (vr->result) {
	case BLKFRONT_DONE:
		blk_mq_end_request(rq, BLK_STS_OK);
		break;
	case BLKFRONT_UNSUPPORTED:
		blk_mq_end_request(rq, BLK_STS_NOTSUPP);
		break;
	case BLKFRONT_INTERRUPTED:
		blk_mq_requeue_request(rq, true);
		break;
	case BLKFRONT_HELD:
		keep_pages(rq);
		fallthrough;
	default:
		blk_mq_end_request(rq, BLK_STS_IOERR);
	}
}

static enum blk_eh_timer_return vbd_timeout(struct request *rq)
{
	struct vbd *vbd = rq->q->queuedata;

	blkfront_retry_held(vbd->core);
	return blk_mq_request_completed(rq) ? BLK_EH_DONE : BLK_EH_RESET_TIMER;
}

static const struct blk_mq_ops vbd_mq_ops = {
	.queue_rq = vbd_queue_rq,
	.complete = vbd_complete_rq,
	.timeout = vbd_timeout,
};

/* ---- the disk ---- */

static void vbd_free(struct vbd *vbd)
{
	cancel_work_sync(&vbd->work);
	kfree(vbd->core);
	kfree(vbd);
}

static void vbd_free_disk(struct gendisk *gd)
{
	vbd_free(gd->private_data);
}

static void vbd_release(struct gendisk *gd, fmode_t mode)
{
	struct vbd *vbd = gd->private_data;

	if (!disk_openers(gd))
		queue_work(vbd_wq, &vbd->work);
}

static const struct block_device_operations vbd_fops = {
	.owner = THIS_MODULE,
	.release = vbd_release,
	.free_disk = vbd_free_disk,
};

static void set_limits(struct request_queue *q, const struct blkfront_geometry *geometry)
{
	blk_queue_logical_block_size(q, geometry->sector_size);
	blk_queue_physical_block_size(q, geometry->physical_sector_size);
	/*
	 * A segment is a run of whole sectors in one page: pages that follow each other do not
	 * do so in the machine.
	 */
	blk_queue_dma_alignment(q, SECTOR_SIZE - 1);
	blk_queue_segment_boundary(q, PAGE_SIZE - 1);
	blk_queue_max_segment_size(q, PAGE_SIZE);
	blk_queue_max_segments(q, BLKFRONT_MAX_SEGMENTS);
	blk_queue_max_hw_sectors(q, BLKFRONT_MAX_SEGMENTS * (PAGE_SIZE / SECTOR_SIZE));
	blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
}

static struct gendisk *create_disk(struct vbd *vbd, const struct blkfront_geometry *geometry)
{
	struct gendisk *gd;
	int rc;

	vbd->tags.ops = &vbd_mq_ops;
	vbd->tags.nr_hw_queues = 1;
	vbd->tags.queue_depth = BLKFRONT_MAX_REQUESTS;
	vbd->tags.numa_node = NUMA_NO_NODE;
	vbd->tags.cmd_size = sizeof(struct vbd_request);
	vbd->tags.flags = BLK_MQ_F_SHOULD_MERGE;
	rc = blk_mq_alloc_tag_set(&vbd->tags);
	if (rc)
		return ERR_PTR(rc);
	gd = blk_mq_alloc_disk(&vbd->tags, vbd);
	if (IS_ERR(gd)) {
		blk_mq_free_tag_set(&vbd->tags);
		return gd;
	}
	gd->major = XENVBD_MAJOR;
	gd->first_minor = vbd->first_minor;
	gd->minors = vbd->minors;
	gd->fops = &vbd_fops;
	gd->private_data = vbd;
	if (vbd->minors == 1) /* a partition given as a disk has no partitions */
		gd->flags |= GENHD_FL_NO_PART;
	strscpy(gd->disk_name, vbd->name, sizeof(gd->disk_name));
	set_limits(gd->queue, geometry);
	return gd;
}

static void add_disk_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(work, struct vbd, add_work);
	int rc = device_add_disk(&vbd->xdev->dev, vbd->gd, NULL);

	if (rc)
		dev_err(&vbd->xdev->dev, "cannot add %s: error %d\n", vbd->name, rc);
	vbd->live = !rc;
	complete(&vbd->added);
}

static void resume_queue(struct vbd *vbd)
{
	if (!vbd->paused)
		return;
	vbd->paused = false;
	blk_mq_unquiesce_queue(vbd->gd->queue);
}

void blkfront_port_ready(void *owner, const struct blkfront_geometry *geometry)
{
	struct vbd *vbd = owner;
	bool first = !vbd->gd;

	if (first) {
		struct gendisk *gd = create_disk(vbd, geometry);

		if (IS_ERR(gd)) {
			dev_err(&vbd->xdev->dev, "no disk: error %ld\n", PTR_ERR(gd));
			return;
		}
		vbd->gd = gd;
	}
	blk_queue_write_cache(vbd->gd->queue, geometry->flush, false);
	set_disk_ro(vbd->gd, geometry->read_only);
	set_capacity_and_notify(vbd->gd, geometry->sectors);
	resume_queue(vbd);
	if (first) {
		/*
		 * The partition scan waits for the backend, which may never answer. Removing
		 * the device ends that, so it must not wait here for ever.
		 */
		queue_work(system_long_wq, &vbd->add_work);
		wait_for_completion_timeout(&vbd->added, SCAN_TIMEOUT);
	}
}

void blkfront_port_pause(void *owner, bool drain)
{
	struct vbd *vbd = owner;
	unsigned long end = jiffies + DRAIN_TIMEOUT;

	if (!vbd->gd)
		return;
	if (!vbd->paused)
		blk_mq_quiesce_queue(vbd->gd->queue);
	vbd->paused = true;
	while (drain && blkfront_in_flight(vbd->core) && time_before(jiffies, end))
		msleep(10);
}

void blkfront_port_failed(void *owner)
{
	resume_queue(owner);
}

/* By the name that it has in upstream's driver. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xen_blkfront."
static bool trusted = true;
module_param(trusted, bool, 0444);
MODULE_PARM_DESC(trusted, "Is the backend trusted");

bool blkfront_port_trusts(void *owner)
{
	return trusted;
}

bool blkfront_port_in_use(void *owner)
{
	struct vbd *vbd = owner;

	return vbd->gd && disk_openers(vbd->gd);
}

void blkfront_port_wake(void *owner)
{
	struct vbd *vbd = owner;

	queue_work(vbd_wq, &vbd->work);
}

static void vbd_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(work, struct vbd, work);
	unsigned int noio;

	mutex_lock(&vbd->control);
	noio = memalloc_noio_save();
	blkfront_work(vbd->core);
	if (!blkfront_port_in_use(vbd))
		blkfront_users_left(vbd->core);
	memalloc_noio_restore(noio);
	mutex_unlock(&vbd->control);
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

static int vbd_probe(struct xenbus_device *xdev)
{
	struct vbd *vbd = kzalloc(sizeof(*vbd), GFP_KERNEL);
	int rc = -ENOMEM;

	if (!vbd)
		return -ENOMEM;
	vbd->core = kzalloc(blkfront_object_size(), GFP_KERNEL);
	if (!vbd->core)
		goto fail;
	vbd->xdev = xdev;
	mutex_init(&vbd->control);
	INIT_WORK(&vbd->work, vbd_work);
	INIT_WORK(&vbd->add_work, add_disk_work);
	init_completion(&vbd->added);
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
	kfree(vbd->core);
	kfree(vbd);
	return rc;
}

static void vbd_backend_changed(struct xenbus_device *xdev, unsigned int state)
{
	struct vbd *vbd = xdev->data;
	unsigned int noio;

	/* To write dirty pages to this very disk is no way to get memory for reconnecting it. */
	mutex_lock(&vbd->control);
	noio = memalloc_noio_save();
	blkfront_backend_changed(vbd->core, state);
	memalloc_noio_restore(noio);
	mutex_unlock(&vbd->control);
}

static void vbd_remove(struct xenbus_device *xdev)
{
	struct vbd *vbd = xdev->data;
	struct gendisk *gd = vbd->gd;

	/* Every request fails from now on, so that nothing below waits for the backend. */
	mutex_lock(&vbd->control);
	blkfront_detach(vbd->core);
	mutex_unlock(&vbd->control);
	cancel_work_sync(&vbd->work);
	if (!gd) {
		vbd_unregister(vbd);
		vbd_free(vbd);
		return;
	}

	resume_queue(vbd);
	flush_work(&vbd->add_work);
	if (vbd->live) {
		blk_mark_disk_dead(gd);
		del_gendisk(gd);
		blk_mq_free_tag_set(&vbd->tags);
		vbd_unregister(vbd);
		put_disk(gd); /* the last one frees vbd */
	} else {
		put_disk(gd);
		blk_mq_free_tag_set(&vbd->tags);
		vbd_unregister(vbd);
		vbd_free(vbd);
	}
}

static struct xenbus_driver vbd_driver = {
	.type = "vbd",
	.probe = vbd_probe,
	.remove = vbd_remove,
	.backend_changed = vbd_backend_changed,
	.driver.name = "vbd",
};

static int __init vbd_init(void)
{
	int rc;

	if (!xen_domain())
		return 0;
	vbd_wq = alloc_workqueue("xvd", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!vbd_wq)
		return -ENOMEM;
	rc = register_blkdev(XENVBD_MAJOR, "xvd");
	if (rc)
		goto no_major;
	rc = xenbus_driver_register(&vbd_driver);
	if (rc)
		goto no_bus;
	return 0;
no_bus:
	unregister_blkdev(XENVBD_MAJOR, "xvd");
no_major:
	destroy_workqueue(vbd_wq);
	return rc;
}
device_initcall(vbd_init);
