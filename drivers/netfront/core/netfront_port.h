/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the network frontend's core needs from the kernel around it, besides <xen/port.h>: the
 * second half of its contract; the first, which it offers, is netfront.h. `context` is the
 * pointer that was given to netfront_create().
 */
#ifndef NETFRONT_PORT_H
#define NETFRONT_PORT_H

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

/* A lock around the rings, for the core: held during a transmit or a poll, never while sleeping,
 * never taken where events are handled. */
void netfront_port_lock(void *context);
void netfront_port_unlock(void *context);

/* The backend sent an event: call netfront_poll() soon. Interrupts are off; the lock may be held. There
 * is no further event before netfront_rearm() was told to wait for one. */
void netfront_port_event(void *context);

/* Packets pass (true), or do not any more (false). When they begin to pass there is room for some.
 * May sleep. */
void netfront_port_link(void *context, bool up);

/* No packet can be queued for now: do not call netfront_transmit() until tx_room. Lock held. */
void netfront_port_tx_full(void *context);

/* Packets can be queued; also called when they always could. Lock held. */
void netfront_port_tx_room(void *context);

/* Memory for a received packet of `length` bytes, or NULL to drop it. Lock held. The packet is
 * copied there out of the page that the backend can write, before anything looks at it... */
void *netfront_port_rx_buffer(void *context, size_t length);

/* ...and is then complete: to be passed on when netfront_poll() has returned. Lock held. */
void netfront_port_rx_packet(void *context);

/* The backend broke the protocol: call netfront_handle_broken() soon, from a thread. Lock held. */
void netfront_port_broken(void *context);

#ifdef __cplusplus
}
#endif

#endif
