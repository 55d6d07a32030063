/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The contract between the block frontend's core and the kernel around it, beyond <xen/port.h>:
 * what the kernel calls (blkfront_*), and what the core hands up (blkfront_port_*), for one disk.
 *
 * The kernel serialises the control functions (init, backend_changed, work, expire, restored,
 * detach) of one disk and calls them where it may sleep. All others may be called at any
 * time, from anywhere, interrupts off as well, from blkfront_init() until the object's memory is
 * freed, which is possible after blkfront_detach().
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
	BLKFRONT_MAX_SEGMENTS = 512, /* of one request: what one indirect page names */
	BLKFRONT_MAX_RING_PAGE_ORDER = 4,
	BLKFRONT_MAX_QUEUES = 32, /* of a disk, polled ones included */
	BLKFRONT_LATENCY_BUCKETS = 32,
};

enum blkfront_operation {
	BLKFRONT_READ = 0,
	BLKFRONT_WRITE = 1,
	BLKFRONT_FLUSH = 3, /* all completed writes are on stable storage when it is done */
	BLKFRONT_DISCARD = 5, /* these sectors' content is not needed any more */
	BLKFRONT_SECURE_DISCARD = 0x85, /* nor may anyone find it again */
};

/* Sectors of 512 bytes inside one page of memory, which nobody else may write while it is granted
 * for a read, and whose other bytes the backend can see if it is trusted (see struct
 * blkfront_wishes). */
struct blkfront_segment {
	uint64_t frame; /* as xen_port_frame() names it */
	uint8_t first_sector; /* 0..7, both inclusive */
	uint8_t last_sector;
	void *page; /* where the kernel has it mapped, as long as the request lasts */
};

struct blkfront_request {
	enum blkfront_operation operation;
	bool polled; /* goes to a polled queue, if there is one */
	bool last; /* false: more follow at once, then one that is last or blkfront_commit() */
	uint16_t queue; /* any number: those of the kernel's side, which may have more */
	uint16_t segment_count; /* of a read or write */
	uint64_t sector; /* of 512 bytes; not of a flush */
	uint64_t sectors; /* of a discard */
	/* Fills in the next segment of a read or write. Called segment_count times at most, before
	 * blkfront_submit() returns; may not sleep nor call the core. */
	void (*next_segment)(struct blkfront_request *request, struct blkfront_segment *segment);
	void *cookie; /* comes back with the completion */
};

/* How a request ended. */
enum blkfront_result {
	BLKFRONT_DONE,
	BLKFRONT_ERROR,
	BLKFRONT_UNSUPPORTED, /* a flush or discard, which the backend cannot do after all */
	BLKFRONT_INTERRUPTED, /* the backend closed first: may be submitted again */
	BLKFRONT_HELD, /* error, and the backend keeps pages of it mapped: the kernel must never
			* use its pages for anything else */
};

/* What the kernel would like, of what a backend may offer. */
struct blkfront_wishes {
	bool trusted; /* backends may see the memory around what they are given, if the toolstack
		       * does not say otherwise (key "trusted" in the frontend's directory) */
	bool persistent_grants;
	uint16_t queues; /* with interrupts, 1 at least */
	uint16_t polled_queues; /* without, besides */
	uint16_t ring_page_order; /* pages of a ring: 1 << this, at most */
	uint16_t segments; /* of one request, at most */
};

/* How a flush is asked for. */
enum blkfront_flush {
	BLKFRONT_NO_FLUSH, /* the backend has no cache: what is completed is on stable storage */
	BLKFRONT_FLUSH_CACHE, /* feature-flush-cache */
	BLKFRONT_BARRIER, /* feature-barrier alone: an empty write barrier */
};

/* What the backend said of the disk, checked, and what was agreed on. */
struct blkfront_geometry {
	uint64_t sectors; /* of 512 bytes */
	uint32_t sector_size; /* 512, 1024, 2048 or 4096 */
	uint32_t physical_sector_size; /* a power of two, at least sector_size */
	uint32_t discard_granularity; /* bytes, a power of two times sector_size; 0: no discard */
	uint32_t discard_alignment; /* bytes, less than the granularity */
	enum blkfront_flush flush;
	bool read_only;
	bool removable;
	bool cdrom;
	bool secure_discard;
	bool trusted; /* false: data goes through pages that hold nothing else */
	bool persistent_grants; /* data goes through pages that stay granted */
	uint16_t queues; /* with interrupts, 1 at least */
	uint16_t polled_queues;
	uint16_t ring_pages; /* of each queue */
	uint16_t requests; /* in flight at once, of each queue: 32 at least */
	uint16_t segments; /* of one request, at most: 11 at least */
};

/* Of one queue, since blkfront_init(). */
struct blkfront_statistics {
	uint64_t requests; /* completed, errors included */
	uint64_t errors; /* completed as anything but done or interrupted */
	uint64_t busy; /* submits that got -EBUSY */
	uint64_t notifications; /* sent to the backend */
	uint64_t events; /* that came from it */
	uint64_t persistent_hits; /* segments whose page was granted already */
	uint64_t latency_max_ns;
	uint64_t latency[BLKFRONT_LATENCY_BUCKETS]; /* done: [n] below 1 << n microseconds, and not
						     * below half of that; the last one has the
						     * rest */
	uint32_t in_flight;
	uint32_t held; /* whose pages the backend keeps mapped */
	uint32_t persistent; /* pages that are granted and not in use */
};

/* ---- the core, called by the kernel ---- */

/* Size of the object, which needs an alignment of 8. */
size_t blkfront_object_size(void);

/* Starts in zeroed memory. `node` is the frontend's directory (device/vbd/51713), `backend` the
 * backend's, which lies in domain `backend_domain`, `id` is the disk's number (51713); `owner`
 * comes back in all blkfront_port_*. */
void blkfront_init(struct blkfront *disk, void *owner, const char *node, const char *backend,
		   uint16_t backend_domain, uint32_t id);

/* The backend is in this xenbus state: once at first, then on every change, and whenever a backend
 * that stays connected writes it again, because the disk has changed. */
void blkfront_backend_changed(struct blkfront *disk, unsigned int state);

/* What blkfront_port_wake() or blkfront_port_wake_later() asked for; and whenever the last user of
 * the disk has gone (see blkfront_port_bar_users()). */
void blkfront_work(struct blkfront *disk);

/* A request takes too long. BLKFRONT_ERROR: breaks the device off, as if the backend had broken
 * the protocol; it works again when the backend starts again. BLKFRONT_INTERRUPTED: leaves the
 * backend and connects anew; the requests complete as such. */
void blkfront_expire(struct blkfront *disk, enum blkfront_result result);

/* The domain was restored, and has another backend. Connects anew, to the same disk; what was in
 * flight completes as interrupted. An empty `backend` is not known yet: waits for the next call. */
void blkfront_restored(struct blkfront *disk, const char *backend, uint16_t backend_domain);

/* Starts a request. 0, or nothing was done and: -EAGAIN, not connected at the moment; -EBUSY,
 * as many are in flight as can be; -EOPNOTSUPP, a flush or discard that the backend does not offer;
 * -EINVAL, outside of the disk or malformed; -E2BIG, more segments than the backend takes now;
 * -ERANGE, a frame beyond 32 bits; -EACCES, change of a read-only disk; -EIO, the device is broken
 * or detached. */
int blkfront_submit(struct blkfront *disk, struct blkfront_request *request);

/* Shows the backend what was submitted to a queue as not the last. */
void blkfront_commit(struct blkfront *disk, uint16_t queue, bool polled);

/* Looks for responses on a queue; completes their requests; returns their number. */
unsigned int blkfront_poll(struct blkfront *disk, uint16_t queue, bool polled);

/* Tries again to take back pages that the backend kept mapped; their requests complete. To be
 * called every now and then while requests are overdue. */
void blkfront_retry_held(struct blkfront *disk);

/* Takes back pages whose grants persist without having been used for long, as far as the backend
 * has let go of them. To be called about once in 30 seconds. */
void blkfront_age(struct blkfront *disk);

/* Requests submitted and not completed. */
unsigned int blkfront_in_flight(const struct blkfront *disk);

/* Of queue `queue`, polled ones last; false: there is none of this number. */
bool blkfront_queue_statistics(const struct blkfront *disk, uint16_t queue,
			       struct blkfront_statistics *statistics);

/* Ends it all, whatever the backend does: every request has completed when it returns, and nothing
 * is handed up any more, but what a blkfront_poll() or blkfront_retry_held() that runs at the same
 * time has in hand. */
void blkfront_detach(struct blkfront *disk);

/* The name of disk number `id` (the last part of node): writes "xvda", "xvda1", ... and sets the
 * first minor and the number of minors that belong to it (1: a partition given as a disk).
 * False: no such disk. `name` holds at least 16 bytes. */
bool blkfront_name(uint32_t id, char *name, uint32_t *first_minor, uint32_t *minors);

/* ---- the kernel, called by the core ---- */

/* A request ended. From the event's handler, blkfront_poll(), or a control function. Never sleeps;
 * may submit. */
void blkfront_port_complete(void *owner, void *cookie, enum blkfront_result result);

/* Connected: submits work from now on. Called again after each reconnect, and when a connected
 * disk changes, where anything may differ. May sleep, and may do I/O. */
void blkfront_port_ready(void *owner, const struct blkfront_geometry *geometry);

/* Submits get -EAGAIN from now on, until ready or failed. If `drain`, the backend still
 * answers: wait a few seconds at most for what is in flight. May sleep. */
void blkfront_port_pause(void *owner, bool drain);

/* Submits get -EIO from now on, until ready (which may never come): let go what waits. May
 * sleep. */
void blkfront_port_failed(void *owner);

/* The backend wants to close for good, or has become a disk with other sectors. If nobody has the
 * disk open, nobody can open it from now until ready or failed (which may never come), and it
 * closes, or changes. False if it is in use: it goes on working in the first case, until
 * blkfront_work() finds that this has ended; in the second one the other disk is refused. Never
 * sleeps. */
bool blkfront_port_bar_users(void *owner);

/* What the kernel would like. Asked before each connection. */
void blkfront_port_wishes(void *owner, struct blkfront_wishes *wishes);

/* Call blkfront_work() soon. Never sleeps. */
void blkfront_port_wake(void *owner);

/* Call it in a second or so. From a control function; the calls may be merged, with those for soon as
 * well. */
void blkfront_port_wake_later(void *owner);

#ifdef __cplusplus
}
#endif

#endif
