/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared among the bus's glue. */
#ifndef XENBUS_LINUX_PORT_H
#define XENBUS_LINUX_PORT_H

#include <linux/types.h>

/* There is a xenstore, and requests to it are answered. */
extern bool xenbus_store_ready;

/* bus.c: nothing is done for or by a device from the first of them to the second. */
void xenbus_suspend_devices(void);
void xenbus_resume_devices(void);

/* suspend.c */
void xenbus_suspend(void);

#endif
