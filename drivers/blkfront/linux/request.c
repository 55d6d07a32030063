// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests of the block frontend, between blk-mq and the core.
 */
#include <linux/mm.h>
#include <asm/xen/arch.h>
#include "vbd.h"

/* ---- the memory of a request ---- */

/* A walk over a request's runs of bytes that lie in one page. */
struct walk {
	struct bio *bio;
	struct bvec_iter iter;
	struct bio_vec ahead; /* comes next; empty: nothing does */
};

static void look_ahead(struct walk *walk)
{
	while (walk->bio && !walk->iter.bi_size) {
		walk->bio = walk->bio->bi_next;
		if (walk->bio)
			walk->iter = walk->bio->bi_iter;
	}
	if (!walk->bio) {
		walk->ahead = (struct bio_vec){};
		return;
	}
	walk->ahead = bio_iter_iovec(walk->bio, walk->iter);
	bio_advance_iter_single(walk->bio, &walk->iter, walk->ahead.bv_len);
}

static void start_walk(struct walk *walk, struct request *rq)
{
	walk->bio = rq->bio;
	walk->iter = rq->bio->bi_iter;
	look_ahead(walk);
}

/* Buffers that follow each other in a page, as buffer heads do, are one run. */
static bool next_run(struct walk *walk, struct bio_vec *run)
{
	*run = walk->ahead;
	if (!run->bv_len)
		return false;
	for (;;) {
		look_ahead(walk);
		if (walk->ahead.bv_page != run->bv_page ||
		    walk->ahead.bv_offset != run->bv_offset + run->bv_len)
			return true;
		run->bv_len += walk->ahead.bv_len;
	}
}

/* -EIO if one is not of whole sectors, which the limits exclude. */
static int count_segments(struct request *rq)
{
	struct walk walk;
	struct bio_vec run;
	int count = 0;

	start_walk(&walk, rq);
	while (next_run(&walk, &run)) {
		if ((run.bv_offset | run.bv_len) & (SECTOR_SIZE - 1))
			return -EIO;
		count++;
	}
	return count;
}

struct submission {
	struct blkfront_request request;
	struct walk walk;
};

static void next_segment(struct blkfront_request *request, struct blkfront_segment *segment)
{
	struct submission *submission = container_of(request, struct submission, request);
	struct bio_vec run;

	next_run(&submission->walk, &run);
	segment->frame = xen_arch_page_to_frame(run.bv_page);
	segment->first_sector = run.bv_offset >> SECTOR_SHIFT;
	segment->last_sector = ((run.bv_offset + run.bv_len) >> SECTOR_SHIFT) - 1;
	segment->page = page_address(run.bv_page);
}

/* ---- submission ---- */

static bool is_polled(struct blk_mq_hw_ctx *hctx)
{
	return hctx->type == HCTX_TYPE_POLL;
}

/* Which of the polled queues, or of the others. */
static u16 number_of(struct blk_mq_hw_ctx *hctx)
{
	struct vbd *vbd = hctx->queue->queuedata;

	if (!is_polled(hctx))
		return hctx->queue_num;
	return hctx->queue_num - (vbd->tags.nr_hw_queues - vbd->polled_queues);
}

static void vbd_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	struct vbd *vbd = hctx->queue->queuedata;

	blkfront_commit(vbd->core, number_of(hctx), is_polled(hctx));
}

/*
 * The request was made for a backend that took more segments than the present one: its bios make new
 * ones. A write that has to be flushed afterwards is no exception: the bios still say so.
 */
static void split(struct vbd *vbd, struct request *rq)
{
	unsigned long flags;
	struct bio *bio;

	/* The request that somebody may be polling for is not the one that will come. */
	for (bio = rq->bio; bio; bio = bio->bi_next) {
		bio_clear_polled(bio);
		WRITE_ONCE(bio->bi_cookie, BLK_QC_T_NONE);
	}
	spin_lock_irqsave(&vbd->split_lock, flags);
	blk_steal_bios(&vbd->split, rq);
	spin_unlock_irqrestore(&vbd->split_lock, flags);
	blk_mq_end_request(rq, BLK_STS_OK);
	queue_work(vbd_split_wq, &vbd->split_work);
}

void vbd_split_work(struct work_struct *work)
{
	struct vbd *vbd = container_of(work, struct vbd, split_work);
	struct bio_list bios;
	struct blk_plug plug;
	struct bio *bio;

	spin_lock_irq(&vbd->split_lock);
	bios = vbd->split;
	bio_list_init(&vbd->split);
	spin_unlock_irq(&vbd->split_lock);
	blk_start_plug(&plug);
	while ((bio = bio_list_pop(&bios)))
		submit_bio_noacct(bio);
	blk_finish_plug(&plug);
}

static blk_status_t vbd_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);
	struct vbd *vbd = hctx->queue->queuedata;
	struct submission submission;
	struct blkfront_request *request = &submission.request;
	int count = 0;

	*request = (struct blkfront_request){
		.polled = is_polled(hctx),
		.last = bd->last,
		.queue = number_of(hctx),
		.sector = blk_rq_pos(rq),
		.next_segment = next_segment,
		.cookie = rq,
	};
	switch (req_op(rq)) {
	case REQ_OP_FLUSH:
		request->operation = BLKFRONT_FLUSH;
		break;
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		request->operation = rq_data_dir(rq) == WRITE ? BLKFRONT_WRITE : BLKFRONT_READ;
		count = count_segments(rq);
		start_walk(&submission.walk, rq);
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_SECURE_ERASE:
		request->operation = req_op(rq) == REQ_OP_DISCARD ? BLKFRONT_DISCARD :
								    BLKFRONT_SECURE_DISCARD;
		request->sectors = blk_rq_sectors(rq);
		break;
	default:
		return BLK_STS_NOTSUPP;
	}
	if (count < 0)
		return BLK_STS_IOERR;
	request->segment_count = count;

	vr->overdue = false;
	blk_mq_start_request(rq);
	switch (blkfront_submit(vbd->core, request)) {
	case 0:
		return BLK_STS_OK;
	case -EAGAIN:
	case -EBUSY:
		return BLK_STS_RESOURCE; /* run again by a completion, or in a while */
	case -E2BIG:
		split(vbd, rq);
		if (bd->last)
			vbd_commit_rqs(hctx);
		return BLK_STS_OK;
	case -EOPNOTSUPP:
		/* Linux takes "not supported" for a flush that is done. */
		return req_op(rq) == REQ_OP_FLUSH ? BLK_STS_IOERR : BLK_STS_NOTSUPP;
	default:
		return BLK_STS_IOERR;
	}
}

/* ---- completion ---- */

static int vbd_poll(struct blk_mq_hw_ctx *hctx, struct io_comp_batch *batch)
{
	struct vbd *vbd = hctx->queue->queuedata;

	return blkfront_poll(vbd->core, number_of(hctx), true);
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

/* The backend cannot do after all what it offered. */
static blk_status_t unsupported(struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_DISCARD:
		blk_queue_max_discard_sectors(rq->q, 0);
		fallthrough;
	case REQ_OP_SECURE_ERASE:
		blk_queue_max_secure_erase_sectors(rq->q, 0);
		return BLK_STS_NOTSUPP;
	default: /* a flush is done or has failed */
		return BLK_STS_IOERR;
	}
}

static void vbd_complete_rq(struct request *rq)
{
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);

	switch (vr->result) {
	case BLKFRONT_DONE:
		blk_mq_end_request(rq, BLK_STS_OK);
		break;
	case BLKFRONT_UNSUPPORTED:
		blk_mq_end_request(rq, unsupported(rq));
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

/* ---- what takes too long ---- */

static enum blk_eh_timer_return vbd_timeout(struct request *rq)
{
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);
	struct vbd *vbd = rq->q->queuedata;

	/* An event may have been lost, or the pages are all that is missing. */
	blkfront_poll(vbd->core, number_of(rq->mq_hctx), is_polled(rq->mq_hctx));
	blkfront_retry_held(vbd->core);
	if (blk_mq_rq_state(rq) != MQ_RQ_IN_FLIGHT)
		return BLK_EH_DONE;
	if (READ_ONCE(vbd_timeout_action) != VBD_WAIT) {
		WRITE_ONCE(vr->overdue, true);
		queue_work(vbd_wq, &vbd->expire_work);
	}
	return BLK_EH_RESET_TIMER;
}

static bool find_overdue(struct request *rq, void *found)
{
	struct vbd_request *vr = blk_mq_rq_to_pdu(rq);

	if (blk_mq_rq_state(rq) != MQ_RQ_IN_FLIGHT || !READ_ONCE(vr->overdue))
		return true;
	*(bool *)found = true;
	return false;
}

bool vbd_any_overdue(struct vbd *vbd)
{
	bool found = false;

	blk_mq_tagset_busy_iter(&vbd->tags, find_overdue, &found);
	return found;
}

/* The polled queues come last. */
static void vbd_map_queues(struct blk_mq_tag_set *tags)
{
	struct vbd *vbd = container_of(tags, struct vbd, tags);
	struct blk_mq_queue_map *map = &tags->map[HCTX_TYPE_DEFAULT];

	map->nr_queues = tags->nr_hw_queues - vbd->polled_queues;
	blk_mq_map_queues(map);
	if (tags->nr_maps <= HCTX_TYPE_POLL)
		return;
	tags->map[HCTX_TYPE_READ].nr_queues = 0;
	tags->map[HCTX_TYPE_POLL].queue_offset = map->nr_queues;
	tags->map[HCTX_TYPE_POLL].nr_queues = vbd->polled_queues;
	blk_mq_map_queues(&tags->map[HCTX_TYPE_POLL]);
}

const struct blk_mq_ops vbd_mq_ops = {
	.queue_rq = vbd_queue_rq,
	.commit_rqs = vbd_commit_rqs,
	.complete = vbd_complete_rq,
	.poll = vbd_poll,
	.timeout = vbd_timeout,
	.map_queues = vbd_map_queues,
};
