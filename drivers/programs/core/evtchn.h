/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Event channels for programs of the guest's: each that opens /dev/xen/evtchn binds ports, is told
 * which of them had an event, and lets the next one in when it has looked (Linux's uapi/xen/evtchn.h,
 * as libxenevtchn uses it). What it leaves behind when it closes the file is undone.
 *
 * A file is of the life of the domain in which it was opened: of a restored domain's, all that is left
 * is to close it, and everything else is -EIO.
 */
#ifndef PROGRAMS_EVTCHN_H
#define PROGRAMS_EVTCHN_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { XEN_EVTCHN_PORTS = 64 }; /* of a file, at most */

struct xen_evtchn;

/* Bytes of one, to be aligned to 8 and zeroed. What follows is called by one thread at a time for each
 * file, where it does not say otherwise. */
size_t xen_evtchn_size(void);
struct xen_evtchn *xen_evtchn_open(void *memory, void *context);

/* A port for `domain` to bind to, or if `remote_port` is not 0 one that is bound to that; or a negative
 * errno. Sleeps, and the domain is not to be suspended meanwhile; nor in unbind and close. */
int xen_evtchn_bind(struct xen_evtchn *file, uint32_t domain, uint32_t remote_port);
int xen_evtchn_unbind(struct xen_evtchn *file, uint32_t port);

/* 0, or -ENOENT: the file has no such port. */
int xen_evtchn_notify(struct xen_evtchn *file, uint32_t port);

/* Ports whose next event is to come: those that are not the file's are left out. 0, or -EIO. */
int xen_evtchn_unmask(struct xen_evtchn *file, const uint32_t *ports, unsigned int count);

/* Ports that had an event, each once until it is unmasked: how many, 0 for none, or -EIO. */
int xen_evtchn_read(struct xen_evtchn *file, uint32_t *ports, unsigned int most);

/* Would that be other than 0? 1 or 0 or -EIO. Anybody may ask, at any time. */
int xen_evtchn_readable(const struct xen_evtchn *file);

/* No other call is going on, and none follows; the memory is the caller's again. */
void xen_evtchn_close(struct xen_evtchn *file);

/* The file of whatever program that has this port, which is not closed before it is let go of, or NULL.
 * Never sleeps, nor does the other. */
struct xen_evtchn *xen_evtchn_hold(uint32_t port);
/* Sends an event to the port before, if it is the file's, and not 0. */
void xen_evtchn_let_go(struct xen_evtchn *file, uint32_t port);

/* The domain was restored: wakes whoever waits. */
void xen_evtchn_restored(void);

/* ---- the kernel ---- */

/* There is something to read. Never sleeps. */
void xen_evtchn_port_wake(void *context);

/* The file stays open until as many put as there were hold. 0: it is being closed. Never sleep. */
int xen_evtchn_port_hold(void *context);
void xen_evtchn_port_put(void *context);

#ifdef __cplusplus
}
#endif

#endif
