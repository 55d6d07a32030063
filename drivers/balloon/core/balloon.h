/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The contract between the balloon's core and the kernel around it: how much memory the toolstack
 * wants the guest to have (docs/misc/xenstore-paths: memory/target), and giving pages to Xen or
 * getting them back. Beside <xen/port.h>.
 */
#ifndef BALLOON_H
#define BALLOON_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#include <xen/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BALLOON_BATCH = XEN_RESERVATION_MAX }; /* pages of a step, at most */

/* Starts watching the target; balloon_port_kick() follows. 0 or a negative errno. Sleeps. */
int balloon_core_start(void);

/* Makes a step towards the target. Returns after how many milliseconds the next one is due; -1:
 * none, before balloon_port_kick(). Never twice at once. Sleeps. */
int balloon_core_step(void);

/* ---- the kernel ---- */

/* Have balloon_core_step() called soon. Never sleeps. */
void balloon_port_kick(void);

/* The pages that the guest has, and those of them or others that Xen has for now. */
uint64_t balloon_port_pages(void);
uint64_t balloon_port_given(void);

/* Gives so many pages, BALLOON_BATCH at most, to Xen, or takes them back; returns how many it were.
 * Less is no error: there is no more to be had at the moment. Sleep. */
unsigned balloon_port_give(unsigned count);
unsigned balloon_port_take(unsigned count);

#ifdef __cplusplus
}
#endif

#endif
