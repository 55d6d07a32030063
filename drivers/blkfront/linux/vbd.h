/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Shared among the block frontend's glue: one disk.
 */
#ifndef BLKFRONT_LINUX_VBD_H
#define BLKFRONT_LINUX_VBD_H

#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>
#include "../../xenbus/linux/xenbus.h"
#include "../core/blkfront_port.h"

struct vbd_queue {
	struct vbd *vbd;
	u16 number;
};

enum { VBD_BARRED = -1 }; /* nobody can open the disk */

struct vbd {
	struct xenbus_device *xdev;
	struct blkfront *core;
	struct mutex control;		/* one control function of the core at a time */
	struct delayed_work work;	/* those that other contexts ask for */
	struct work_struct expire_work;
	struct delayed_work age_work;
	struct work_struct add_work;
	struct completion added;	/* add_work ran */

	struct gendisk *gd;		/* from the first connection on */
	struct blk_mq_tag_set tags;
	unsigned int polled_queues;	/* of the tag set, at its end */
	struct blkfront_geometry geometry; /* of the last connection */
	bool live;			/* device_add_disk() succeeded */
	atomic_t users;			/* who have it open, or VBD_BARRED */
	bool paused;

	struct work_struct split_work;
	spinlock_t split_lock;
	struct bio_list split;		/* to be submitted again, for new limits */

	struct dentry *debug;
	unsigned int debug_queues;	/* how many have a file */
	struct vbd_queue queue[BLKFRONT_MAX_QUEUES]; /* behind those files */

	struct list_head list;
	char name[16];
	u32 first_minor;
	u32 minors;
};

/* What belongs to each struct request. */
struct vbd_request {
	enum blkfront_result result;
	bool overdue;			/* its timeout is to be acted on */
};

enum vbd_timeout { VBD_WAIT, VBD_FAIL, VBD_REQUEUE };

/* blkfront.c */
extern struct workqueue_struct *vbd_wq;
extern struct workqueue_struct *vbd_split_wq;
extern enum vbd_timeout vbd_timeout_action;
void vbd_free(struct vbd *vbd);
void vbd_start_ageing(struct vbd *vbd);

/* disk.c */
void vbd_resume_queue(struct vbd *vbd);
void vbd_remove_disk(struct vbd *vbd);
void vbd_add_work(struct work_struct *work);

/* request.c */
extern const struct blk_mq_ops vbd_mq_ops;
void vbd_split_work(struct work_struct *work);
bool vbd_any_overdue(struct vbd *vbd);

/* show.c */
extern const struct attribute_group *vbd_groups[];
void vbd_debug_init(void);
void vbd_debug_exit(void);
void vbd_debug_add(struct vbd *vbd);
void vbd_debug_remove(struct vbd *vbd);

#endif
