/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The contract between the block frontend's core and the kernel around it, beyond <xen/port.h>:
 * what the kernel calls (blkfront_*), and what the core hands up (blkfront_port_*), for one disk.
 *
 * The kernel serialises the control functions (init, backend_changed, work, users_left, detach) of
 * one disk and calls them where it may sleep. blkfront_submit() and blkfront_retry_held() may be
 * called at any time, from anywhere, interrupts off as well, from blkfront_init() until the
 * object's memory is freed, which is possible after blkfront_detach().
 */
#ifndef BLKFRONT_PORT_H
#define BLKFRONT_PORT_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct blkfront; /* the core's object */

enum {
	BLKFRONT_MAX_SEGMENTS = 11, /* of one request */
	BLKFRONT_MAX_REQUESTS = 32, /* in flight at once */
};

enum blkfront_operation {
	BLKFRONT_READ = 0,
	BLKFRONT_WRITE = 1,
	BLKFRONT_FLUSH = 3, /* all completed writes are on stable storage when it is done */
};

/* Sectors of 512 bytes inside one page of memory, which nobody else may write while it is granted
 * for a read, and whose other bytes the backend can see if it is trusted (see
 * blkfront_port_trusts()). */
struct blkfront_segment {
	uint64_t frame; /* as xen_port_frame() names it */
	uint8_t first_sector; /* 0..7, both inclusive */
	uint8_t last_sector;
	void *page; /* where the kernel has it mapped, as long as the request lasts */
};

struct blkfront_request {
	enum blkfront_operation operation;
	unsigned int segment_count; /* 0 for a flush */
	uint64_t sector; /* of 512 bytes */
	const struct blkfront_segment *segments;
	void *cookie; /* comes back with the completion */
};

/* How a request ended. */
enum blkfront_result {
	BLKFRONT_DONE,
	BLKFRONT_ERROR,
	BLKFRONT_UNSUPPORTED, /* a flush, which the backend cannot do after all */
	BLKFRONT_INTERRUPTED, /* the backend closed first: may be submitted again */
	BLKFRONT_HELD, /* error, and the backend keeps pages of it mapped: the kernel must never
			* use its pages for anything else */
};

/* What the backend said of the disk, checked. */
struct blkfront_geometry {
	uint64_t sectors; /* of 512 bytes */
	uint32_t sector_size; /* 512, 1024, 2048 or 4096 */
	uint32_t physical_sector_size; /* a power of two, at least sector_size */
	bool read_only;
	bool flush; /* the backend has a cache and BLKFRONT_FLUSH works */
};

/* ---- the core, called by the kernel ---- */

/* Size of the object, which needs an alignment of 8. */
size_t blkfront_object_size(void);

/* Starts in zeroed memory. `node` is the frontend's directory (device/vbd/51713), `backend` the
 * backend's, which lies in domain `backend_domain`, `id` is the disk's number (51713); `owner`
 * comes back in all blkfront_port_*. */
void blkfront_init(struct blkfront *disk, void *owner, const char *node, const char *backend,
		   uint16_t backend_domain, uint32_t id);

/* The backend is in this xenbus state: once at first, then on every change. */
void blkfront_backend_changed(struct blkfront *disk, unsigned int state);

/* What blkfront_port_wake() asked for. */
void blkfront_work(struct blkfront *disk);

/* The last user has gone (see blkfront_port_in_use()). */
void blkfront_users_left(struct blkfront *disk);

/* Starts a request. 0, or nothing was done and: -EAGAIN, not connected at the moment; -EBUSY,
 * as many are in flight as can be; -EOPNOTSUPP, a flush that the backend does not offer;
 * -EINVAL, outside of the disk or malformed; -ERANGE, a frame beyond 32 bits; -EACCES, write to a
 * read-only disk; -EIO, the device is broken or detached. */
int blkfront_submit(struct blkfront *disk, const struct blkfront_request *request);

/* Tries again to take back pages that the backend kept mapped; their requests complete. To be
 * called every now and then while requests are overdue. */
void blkfront_retry_held(struct blkfront *disk);

/* Requests submitted and not completed. */
unsigned int blkfront_in_flight(const struct blkfront *disk);

/* Ends it all, whatever the backend does: every request has completed when it returns, and nothing
 * is handed up any more. */
void blkfront_detach(struct blkfront *disk);

/* The name of disk number `id` (the last part of node): writes "xvda", "xvda1", ... and sets the
 * first minor and the number of minors that belong to it (1: a partition given as a disk).
 * False: no such disk. `name` holds at least 16 bytes. */
bool blkfront_name(uint32_t id, char *name, uint32_t *first_minor, uint32_t *minors);

/* ---- the kernel, called by the core ---- */

/* A request ended. From the event's handler, or from a control function. Never sleeps; may
 * submit. */
void blkfront_port_complete(void *owner, void *cookie, enum blkfront_result result);

/* Connected: submits work from now on. Called again after each reconnect, where only the capacity,
 * read_only and flush may differ. May sleep, and may do I/O. */
void blkfront_port_ready(void *owner, const struct blkfront_geometry *geometry);

/* Submits get -EAGAIN from now on, until ready or failed. If `drain`, the backend still
 * answers: wait a few seconds at most for what is in flight. May sleep. */
void blkfront_port_pause(void *owner, bool drain);

/* Submits get -EIO from now on, until ready (which may never come): let go what waits. May
 * sleep. */
void blkfront_port_failed(void *owner);

/* The backend wants to close for good: is the disk in use (open)? If so, it goes on
 * working, and blkfront_users_left() is to be called when that ends. May sleep. */
bool blkfront_port_in_use(void *owner);

/* Are backends trusted with the memory around what they are given, if the toolstack does not say
 * otherwise (key "trusted" in the frontend's directory)? */
bool blkfront_port_trusts(void *owner);

/* Call blkfront_work() soon. Never sleeps. */
void blkfront_port_wake(void *owner);

#ifdef __cplusplus
}
#endif

#endif
