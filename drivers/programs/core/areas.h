/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Memory that programs of the guest's share with other domains: pages of the guest's that they grant
 * (/dev/xen/gntalloc), and pages of others' whose grants they map (/dev/xen/gntdev), as libxengnttab
 * uses them (Linux's uapi/xen/gntalloc.h and gntdev.h). Both come in areas, each at an offset of the file
 * that it belongs to, which are mapped as a whole. An area lives until its file has let go of it and
 * nobody has it mapped; then, what was asked for happens: a byte of it is cleared, an event is sent.
 *
 * A granted page that its peer holds on to at the end is quarantined. Mapped pages of others' are lost
 * when the domain is suspended: whoever touches them then gets a signal.
 */
#ifndef PROGRAMS_AREAS_H
#define PROGRAMS_AREAS_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { XEN_AREA_PAGES = 256 }; /* of one, at most */

struct xen_areas; /* of a file */
struct xen_area;

/* Bytes of one, to be aligned to 8 and zeroed. close() is the last call for it, when none of its areas
 * is mapped any more. What follows, but hold and put, is for one thread at a time, whatever the file; map,
 * unmap and unmap_all are, too, but only among themselves and notify. */
size_t xen_areas_size(void);
struct xen_areas *xen_areas_open(void *memory);
void xen_areas_close(struct xen_areas *file);

/* Pages that `domain` may map; their grant references go to `references`. 0 or a negative errno, and
 * where the area begins, in bytes. Sleeps, and the domain is not to be suspended meanwhile: some of them
 * would be of the one before. */
int xen_area_share(struct xen_areas *file, uint32_t domain, int writable, uint32_t count,
		   uint32_t *references, uint64_t *index);

/* A place for pages of others': pairs of domain and reference. */
int xen_area_borrow(struct xen_areas *file, uint32_t count, const uint32_t *pairs, uint64_t *index);

/* The file lets go of the area. */
int xen_area_forget(struct xen_areas *file, uint64_t index, uint32_t count);

/* What is to happen at its end (1: the byte at this index is cleared, 2: an event is sent to a port of
 * a program's, which stays open until then) in place of what was said before. */
int xen_area_notify(struct xen_areas *file, uint64_t index, uint32_t action, uint32_t port);

/* The area that begins at that page and has so many, with one more user, or NULL. */
struct xen_area *xen_area_get(struct xen_areas *file, uint64_t page, uint64_t count);
void xen_area_hold(struct xen_area *area); /* and one more */
void xen_area_put(struct xen_area *area);

/* A page of the guest's that it grants; NULL: they are others'. */
void *xen_area_page(const struct xen_area *area, uint32_t number);

/* Those are mapped by entries of page tables, which Xen writes: `entries` are their machine addresses.
 * 0 or a negative errno; -EBUSY: they are mapped, or were; -EIO: they are of before the domain was
 * restored. To be unmapped before the area's end, and before the domain is suspended. Nothing is
 * allocated: reclaim may wait for it. */
int xen_area_map(struct xen_area *area, const uint64_t *entries, int writable);
void xen_area_unmap(struct xen_area *area); /* nothing, if it is not mapped */
void xen_areas_unmap_all(void);

#ifdef __cplusplus
}
#endif

#endif
