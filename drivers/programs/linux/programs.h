/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared among the glue of what programs may do with Xen. */
#ifndef PROGRAMS_LINUX_PROGRAMS_H
#define PROGRAMS_LINUX_PROGRAMS_H

#include <linux/rwsem.h>
#include <linux/types.h>

/* Held by who binds ports, grants pages or maps grants, which the domain is not to be suspended amidst.
 * With mmap_lock it is tried, and not waited for: a suspension may wait for who wants mmap_lock. */
extern struct rw_semaphore xen_programs_running;

/* From the first to the second the domain is suspended, and no page of anybody else's is mapped.
 * Sleep. */
void xen_programs_suspend(void);
void xen_programs_resume(bool restored);

/* areas.c */
void xen_areas_suspend(void);

#endif
