/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The whole contract between the cores and the kernel around them. Whoever brings the cores to
 * another kernel implements these functions, and xen_hypercall() (hypercall.hpp), and nothing
 * else here. Each driver core has one more header like this, for what it hands up.
 *
 * Contexts are explicit pointers. "May sleep" says that the cores call the function only from a
 * thread; everything else may be called with interrupts off and must not sleep.
 */
#ifndef XEN_PORT_H
#define XEN_PORT_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- memory ---- */

/* So many zeroed pages in a row, page-aligned, or NULL. Each is given back by itself. May sleep. */
void *xen_port_pages_alloc(unsigned int count);

static inline void *xen_port_page_alloc(void)
{
	return xen_port_pages_alloc(1);
}

/* Gives a page back. The cores never call it while a peer may still have the page mapped. */
void xen_port_page_free(void *page);

/* The frame that a grant of this page names: the machine frame in a PV guest, the pseudo-physical
 * one where Xen translates. `page` is any address inside a page that the kernel maps linearly. */
uint64_t xen_port_frame(const void *page);

/* ---- log, time ---- */

enum { XEN_PORT_ERROR = 3, XEN_PORT_WARNING = 4, XEN_PORT_INFO = 6 };

/* One line, without a newline. */
void xen_port_log(int level, const char *line);

/* Monotonic nanoseconds. */
uint64_t xen_port_now(void);

/* ---- exclusion ---- */

/* Masks interrupts on this CPU; returns what xen_port_irq_restore() needs. The cores' own short
 * spin locks (lock.hpp) are held only between the two. */
unsigned long xen_port_irq_save(void);
void xen_port_irq_restore(unsigned long flags);

/* ---- event channels ---- */

/* Calls handler(context) for an event on `port`, until unbind. The handler runs with interrupts off
 * and must not sleep; it is not entered twice at once. The port comes up unmasked; it is masked
 * before each call of the handler, and stays so until xen_port_event_done(): events that come
 * meanwhile are one. (Nearly: right after an unmask on another CPU one event may be delivered
 * twice.) Returns 0 or a negative errno. May sleep. */
int xen_port_event_bind(uint32_t port, void (*handler)(void *context), void *context);

/* Unmasks the port after so many nanoseconds; 0: at once. Called once for each call of the handler,
 * by it or by anyone later, but not while the port is being unbound. Ignored for a port that is not
 * bound. */
void xen_port_event_done(uint32_t port, uint64_t delay_ns);

/* Ends that: when it returns no handler runs and none will, and nothing unmasks the port any more.
 * Does not close the port. May sleep. A kernel whose domain was restored elsewhere forgets all
 * bindings by itself, and calls forget_event_ports() (event.hpp) before any other thread runs. */
void xen_port_event_unbind(uint32_t port);

/* ---- the xenstore client's waiting ---- */

/* A sleeping lock around one request on the xenstore ring. May sleep. */
void xen_port_xenstore_lock(void);
void xen_port_xenstore_unlock(void);

/* Sleeps until *counter differs from `seen` or timeout_ms passed; spurious returns are allowed.
 * Several threads may wait at once. The counter only changes right before xen_port_xenstore_wake().
 * A kernel without threads polls the xenstore port here, or just returns. May sleep. */
void xen_port_xenstore_wait(const uint32_t *counter, uint32_t seen, uint32_t timeout_ms);

/* The counter changed: wakes all waiters. */
void xen_port_xenstore_wake(void);

#ifdef __cplusplus
}
#endif

#endif
