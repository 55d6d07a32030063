// SPDX-License-Identifier: GPL-2.0-only
/*
 * The block frontend's gendisk: made when the backend first connects, and changed when the backend
 * or the disk has.
 */
#include <linux/cdrom.h>
#include <linux/delay.h>
#include <linux/major.h>
#include "vbd.h"

/* How long a backend may take for the partition scan, and to finish what is in flight. */
#define SCAN_TIMEOUT	(10 * HZ)
#define DRAIN_TIMEOUT	(5 * HZ)

/* ---- what a disk is to Linux ---- */

static void vbd_free_disk(struct gendisk *gd)
{
	vbd_free(gd->private_data);
}

/* Who scans a new disk for partitions may wait for the backend for ever: no user. */
static bool is_scan(const struct vbd *vbd)
{
	return current_work() == &vbd->add_work;
}

static int vbd_open(struct block_device *bdev, fmode_t mode)
{
	struct vbd *vbd = bdev->bd_disk->private_data;

	return is_scan(vbd) || atomic_inc_unless_negative(&vbd->users) ? 0 : -ENXIO;
}

static void vbd_release(struct gendisk *gd, fmode_t mode)
{
	struct vbd *vbd = gd->private_data;

	if (!is_scan(vbd) && atomic_dec_and_test(&vbd->users))
		blkfront_port_wake(vbd);
}

/* By this, udev tells a CD-ROM. There is no drive to be asked for more. */
static int vbd_ioctl(struct block_device *bdev, fmode_t mode, unsigned int command,
		     unsigned long argument)
{
	struct vbd *vbd = bdev->bd_disk->private_data;

	return command == CDROM_GET_CAPABILITY && vbd->geometry.cdrom ? 0 : -ENOTTY;
}

static const struct block_device_operations vbd_fops = {
	.owner = THIS_MODULE,
	.open = vbd_open,
	.release = vbd_release,
	.ioctl = vbd_ioctl,
	.compat_ioctl = blkdev_compat_ptr_ioctl,
	.free_disk = vbd_free_disk,
};

static void set_limits(struct request_queue *q, const struct blkfront_geometry *geometry)
{
	const unsigned int most = UINT_MAX >> SECTOR_SHIFT; /* of one bio */

	blk_queue_logical_block_size(q, geometry->sector_size);
	blk_queue_physical_block_size(q, geometry->physical_sector_size);
	/*
	 * A segment is a run of whole sectors in one page: pages that follow each other do not
	 * do so in the machine.
	 */
	blk_queue_dma_alignment(q, SECTOR_SIZE - 1);
	blk_queue_segment_boundary(q, PAGE_SIZE - 1);
	blk_queue_max_segment_size(q, PAGE_SIZE);
	blk_queue_max_segments(q, geometry->segments);
	blk_queue_max_hw_sectors(q, geometry->segments * (PAGE_SIZE / SECTOR_SIZE));

	q->limits.discard_granularity = geometry->discard_granularity;
	q->limits.discard_alignment = geometry->discard_alignment;
	blk_queue_max_discard_sectors(q, geometry->discard_granularity ? most : 0);
	blk_queue_max_secure_erase_sectors(q, geometry->secure_discard ? most : 0);
	/* The protocol has no write that is on stable storage when it is done: a flush follows. */
	blk_queue_write_cache(q, geometry->flush != BLKFRONT_NO_FLUSH, false);
}

/* If not, setting them would undo what somebody wrote to /sys/block/xvda/queue. */
static bool same_limits(const struct blkfront_geometry *a, const struct blkfront_geometry *b)
{
	return a->sector_size == b->sector_size &&
	       a->physical_sector_size == b->physical_sector_size &&
	       a->segments == b->segments && a->discard_granularity == b->discard_granularity &&
	       a->discard_alignment == b->discard_alignment &&
	       a->secure_discard == b->secure_discard && a->flush == b->flush;
}

/* ---- its beginning and end ---- */

static int create_disk(struct vbd *vbd, const struct blkfront_geometry *geometry)
{
	struct gendisk *gd;
	int rc;

	vbd->polled_queues = geometry->polled_queues;
	vbd->tags = (struct blk_mq_tag_set){
		.ops = &vbd_mq_ops,
		.nr_hw_queues = geometry->queues + geometry->polled_queues,
		.nr_maps = geometry->polled_queues ? HCTX_MAX_TYPES : 1,
		.queue_depth = geometry->requests,
		.numa_node = NUMA_NO_NODE,
		.cmd_size = sizeof(struct vbd_request),
		.flags = BLK_MQ_F_SHOULD_MERGE,
	};
	rc = blk_mq_alloc_tag_set(&vbd->tags);
	if (rc)
		return rc;
	gd = blk_mq_alloc_disk(&vbd->tags, vbd);
	if (IS_ERR(gd)) {
		blk_mq_free_tag_set(&vbd->tags);
		return PTR_ERR(gd);
	}
	gd->major = XENVBD_MAJOR;
	gd->first_minor = vbd->first_minor;
	gd->minors = vbd->minors;
	gd->fops = &vbd_fops;
	gd->private_data = vbd;
	if (vbd->minors == 1) /* a partition given as a disk has no partitions */
		gd->flags |= GENHD_FL_NO_PART;
	if (geometry->removable || geometry->cdrom)
		gd->flags |= GENHD_FL_REMOVABLE;
	strscpy(gd->disk_name, vbd->name, sizeof(gd->disk_name));
	blk_queue_flag_set(QUEUE_FLAG_NONROT, gd->queue);
	set_limits(gd->queue, geometry);
	vbd->geometry = *geometry;
	vbd->gd = gd;
	return 0;
}

void vbd_add_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(work, struct vbd, add_work);
	int rc = device_add_disk(&vbd->xdev->dev, vbd->gd, vbd_groups);

	if (rc)
		dev_err(&vbd->xdev->dev, "cannot add %s: error %d\n", vbd->name, rc);
	WRITE_ONCE(vbd->live, !rc);
	complete(&vbd->added);
}

/* The core is detached. If the disk was added, one reference to it is left. */
void vbd_remove_disk(struct vbd *vbd)
{
	vbd_resume_queue(vbd);
	flush_work(&vbd->add_work);
	if (vbd->live) {
		blk_mark_disk_dead(vbd->gd);
		del_gendisk(vbd->gd);
	} else {
		put_disk(vbd->gd);
	}
	cancel_work_sync(&vbd->expire_work);
	flush_work(&vbd->split_work);
	blk_mq_free_tag_set(&vbd->tags);
}

/* ---- for the core ---- */

void vbd_resume_queue(struct vbd *vbd)
{
	if (!vbd->paused)
		return;
	vbd->paused = false;
	blk_mq_unquiesce_queue(vbd->gd->queue);
}

/* Says whether it is another disk for those who open it from now on. */
static bool change_disk(struct vbd *vbd, const struct blkfront_geometry *geometry)
{
	struct gendisk *gd = vbd->gd;
	bool live = READ_ONCE(vbd->live);
	bool reformatted = geometry->sector_size != vbd->geometry.sector_size;

	if (!same_limits(geometry, &vbd->geometry))
		set_limits(gd->queue, geometry);
	vbd->geometry = *geometry;
	if (reformatted && live) /* nobody has it open */
		set_bit(GD_NEED_PART_SCAN, &gd->state);
	return reformatted && live;
}

void blkfront_port_ready(void *owner, const struct blkfront_geometry *geometry)
{
	struct vbd *vbd = owner;
	bool first = !vbd->gd, other = false;

	if (first) {
		int rc = create_disk(vbd, geometry);

		if (rc) {
			dev_err(&vbd->xdev->dev, "no disk: error %d\n", rc);
			return;
		}
	} else {
		other = change_disk(vbd, geometry);
	}
	set_disk_ro(vbd->gd, geometry->read_only);
	set_capacity_and_notify(vbd->gd, geometry->sectors);
	vbd_debug_add(vbd);
	atomic_cmpxchg(&vbd->users, VBD_BARRED, 0);
	vbd_resume_queue(vbd);
	if (other) /* whoever is told can open it, and finds its partitions */
		kobject_uevent(&disk_to_dev(vbd->gd)->kobj, KOBJ_CHANGE);
	if (first) {
		vbd_start_ageing(vbd);
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
	unsigned int i;

	if (!vbd->gd)
		return;
	if (!vbd->paused)
		blk_mq_quiesce_queue(vbd->gd->queue);
	vbd->paused = true;
	while (drain && blkfront_in_flight(vbd->core) && time_before(jiffies, end)) {
		for (i = 0; i < vbd->polled_queues; i++)
			blkfront_poll(vbd->core, i, true);
		msleep(10);
	}
}

void blkfront_port_failed(void *owner)
{
	struct vbd *vbd = owner;

	atomic_cmpxchg(&vbd->users, VBD_BARRED, 0); /* they find out */
	vbd_resume_queue(vbd);
}

bool blkfront_port_bar_users(void *owner)
{
	struct vbd *vbd = owner;

	return atomic_cmpxchg(&vbd->users, 0, VBD_BARRED) <= 0;
}
