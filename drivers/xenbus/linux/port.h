/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared among the bus's glue. */
#ifndef XENBUS_LINUX_PORT_H
#define XENBUS_LINUX_PORT_H

#include <linux/types.h>

/* There is a xenstore, and requests to it are answered. */
extern bool xenbus_store_ready;

#endif
