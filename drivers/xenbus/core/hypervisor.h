/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What Xen says of itself (public/version.h), as lines of /sys/hypervisor.
 */
#ifndef XENBUS_HYPERVISOR_H
#define XENBUS_HYPERVISOR_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum xenbus_property {
	XENBUS_MAJOR,
	XENBUS_MINOR,
	XENBUS_EXTRA,
	XENBUS_UUID, /* the domain's */
	XENBUS_CAPABILITIES,
	XENBUS_CHANGESET,
	XENBUS_FEATURES,
	XENBUS_PAGESIZE,
};

/* Writes the line, with its newline; `size` is 1100 at least. Its length or a negative errno. */
long xenbus_core_property(enum xenbus_property property, char *line, size_t size);

#ifdef __cplusplus
}
#endif

#endif
