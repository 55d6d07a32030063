/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The domain's memory, as Xen knows it (public/memory.h). No call sleeps.
 */
#ifndef XEN_MEMORY_H
#define XEN_MEMORY_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { XEN_MAP_ENTRIES = 64 }; /* Xen leaves out further ones */
enum { XEN_RESERVATION_MAX = 64 }; /* frames that a kernel gives or takes at once */

/* Where there may be memory below `end`, as the toolstack describes it (XENMEM_memory_map); in bytes.
 * Returns the number of ranges, 0: it does not. How much Xen allows at the moment
 * (XENMEM_maximum_reservation) is another thing, and grows with what the toolstack wants. */
unsigned int xen_memory_map(uint64_t end, uint64_t start[XEN_MAP_ENTRIES],
			    uint64_t size[XEN_MAP_ENTRIES]);

/* How many pages, up to `limit`, a guest that booted with `pages` may have later: to the next hole. */
uint64_t xen_memory_most(uint64_t pages, uint64_t limit);

/* Machine frames go back to Xen; or some come, for the frames of the domain's in `frames`, which are
 * replaced by them. Return for how many of them it was done, from the first on. */
unsigned int xen_decrease_reservation(const uint64_t *frames, unsigned int count);
unsigned int xen_populate(uint64_t *frames, unsigned int count);

#ifdef __cplusplus
}
#endif

#endif
