/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The network frontend's core as the kernel around it uses it. What it needs from there is
 * netfront_port.h.
 *
 * Functions marked "thread" may sleep, and the caller lets only one of them run at a time for
 * one device. The others never sleep and may run whenever the device exists.
 */
#ifndef NETFRONT_H
#define NETFRONT_H

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

struct netfront; /* opaque */

struct netfront_config {
	const char *nodename; /* own directory in xenstore: "device/vif/0" */
	const char *backend;  /* the backend's directory */
	uint16_t backend_id;  /* the backend's domain */
	void *context;        /* handed back to every netfront_port_ function */
};

struct netfront_counters {
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t tx_errors;  /* refused by the backend */
	uint64_t tx_dropped; /* no link, or of an impossible length */
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t rx_errors;  /* damaged: no header, failed by the backend */
	uint64_t rx_dropped; /* no memory here */
};

enum netfront_verdict {
	NETFRONT_SENT,    /* copied and queued */
	NETFRONT_FULL,    /* try again after netfront_port_tx_room() */
	NETFRONT_DROPPED, /* will never be sent; counted */
};

/* What netfront_create() needs: zeroed memory, aligned to 16 bytes. */
size_t netfront_object_size(void);

/* Makes a device in `memory`, reads its MAC address into mac[6] and announces the frontend.
 * Returns 0 or a negative errno; then there is nothing to remove. Thread. */
int netfront_create(void *memory, const struct netfront_config *config, uint8_t *mac,
		    struct netfront **device);

/* The state of the backend, as a number of public/io/xenbus.h. Call it once after creation, and
 * on each change. Thread. */
void netfront_backend_changed(struct netfront *device, unsigned int state);

/* Answers netfront_port_broken(). Thread. */
void netfront_handle_broken(struct netfront *device);

/* Ends the device whatever its state, without waiting for the backend. From then on the core calls
 * nothing by itself, and late calls of its functions are harmless until the memory is freed.
 * Thread. */
void netfront_remove(struct netfront *device);

/* Sends one Ethernet packet, which is copied. */
enum netfront_verdict netfront_transmit(struct netfront *device, const void *packet,
					size_t length);

/* Takes what the backend completed: all sent packets and at most `budget` received ones. Returns
 * how many were received. Never entered twice at once. */
unsigned int netfront_poll(struct netfront *device, unsigned int budget);

/* Call when a poll received less than its budget: from now on netfront_port_event() reports the
 * next completion. True: there is one already, poll again. */
bool netfront_rearm(struct netfront *device);

void netfront_get_counters(struct netfront *device, struct netfront_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
