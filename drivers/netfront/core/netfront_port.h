/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the network frontend's core needs from the kernel around it, besides <xen/port.h>: the
 * second half of its contract; the first, which it offers, is netfront.h. `context` is the
 * pointer that was given to netfront_create(), `queue` counts from 0.
 */
#ifndef NETFRONT_PORT_H
#define NETFRONT_PORT_H

#include "netfront.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a queue's locks ---- */

/* Two for each queue, around each of its rings: never held while sleeping, never taken where events
 * are handled. The one for transmitting is taken while the one for receiving is held, where
 * netfront_port_rx_packet() transmits; never the other way round. */
void netfront_port_lock(void *context, unsigned int queue, bool transmit);
void netfront_port_unlock(void *context, unsigned int queue, bool transmit);

/* ---- the connection ---- */

/* What the kernel would like. Asked before each connection. May sleep. */
void netfront_port_wishes(void *context, struct netfront_wishes *wishes);

/* How packets are to be spread. Asked when the backend can do it, after each
 * netfront_port_connected(), and after netfront_hash_changed(). May sleep. */
void netfront_port_hash(void *context, struct netfront_hash *hash);

/* Packets pass. Then there is room for some in every queue, and the backend's multicast filter is
 * empty and off. Called again while connected when something from hash_types on has changed. May
 * sleep. */
void netfront_port_connected(void *context, const struct netfront_features *features);

/* No packets pass any more, and what was on its way is lost. May sleep. */
void netfront_port_disconnected(void *context);

/* The filter has no room for an address that it was given. A transmit lock is held. */
void netfront_port_multicast_refused(void *context);

/* A zeroed page, which xen_port_page_free() gives back, or NULL: rather than that others have to do
 * without. May sleep. */
void *netfront_port_page_alloc(void);

/* Call netfront_work() soon, from a thread. Interrupts may be off; locks may be held. */
void netfront_port_wake(void *context);

/* Call netfront_retry() in about a second, from a thread; calls are merged. May sleep. */
void netfront_port_retry_later(void *context);

/* ---- a queue ---- */

/* The backend sent an event: call netfront_poll() soon. Interrupts are off; the lock may be held.
 * There is no further event before netfront_rearm() was told to wait for one. */
void netfront_port_event(void *context, unsigned int queue);

/* No packet can be queued for now: do not call netfront_transmit() until tx_room. Transmit lock
 * held. */
void netfront_port_tx_full(void *context, unsigned int queue);

/* Packets can be queued; also called when they always could. Transmit lock held. */
void netfront_port_tx_room(void *context, unsigned int queue);

/* A packet was queued. True: none will follow at once, whatever the sender said. Transmit lock
 * held. */
bool netfront_port_tx_queued(void *context, unsigned int queue, uint32_t bytes, bool more);

/* Whether no packet comes before one completes, by what the two above said or for a reason of the
 * kernel's. Transmit lock held. */
bool netfront_port_tx_waits(void *context, unsigned int queue);

/* The backend is through with packets, sent or not. Those of an ended connection are never
 * reported. Transmit lock held. */
void netfront_port_tx_completed(void *context, unsigned int queue, unsigned int packets,
				unsigned int bytes);

/* Memory for `*size` more bytes of a received packet, or fewer: then *size is set to their number.
 * NULL drops the packet, and what of it was received before. Receive lock held. The packet is
 * copied there, once, out of pages that the backend can write, before anything looks at it... */
void *netfront_port_rx_memory(void *context, unsigned int queue,
			      const struct netfront_packet *packet, uint32_t offset,
			      uint32_t *size);

/* ...and is then complete. Receive lock held; may transmit. */
void netfront_port_rx_packet(void *context, unsigned int queue,
			     const struct netfront_packet *packet);

#ifdef __cplusplus
}
#endif

#endif
