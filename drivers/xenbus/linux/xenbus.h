/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The bus of the devices that other domains serve, as Linux's drivers see it.
 */
#ifndef XENBUS_H
#define XENBUS_H

#include <linux/device.h>
#include <linux/types.h>

struct xenbus_device {
	struct device dev;	/* on bus "xen", named like vbd-51713 */
	char nodename[48];	/* the frontend's directory: device/vbd/51713 */
	const char *type;	/* vbd */
	u32 id;			/* 51713 */
	char otherend[80];	/* the backend's directory */
	u16 otherend_id;	/* the backend's domain */
	void *data;		/* the driver's */
};

struct xenbus_driver {
	const char *type;

	/* May sleep, but not for I/O of the device: other devices are waiting. */
	int (*probe)(struct xenbus_device *dev);

	/* May sleep. backend_changed does not run beside it or later. */
	void (*remove)(struct xenbus_device *dev);

	/*
	 * Called after probe with the backend's XenbusState, then when it changes, and when a
	 * backend writes Connected (4) again, as it does when the device has changed; never twice at
	 * once for a device. May sleep. When it returns from Connected, the device counts as ready,
	 * and the boot goes on.
	 */
	void (*backend_changed)(struct xenbus_device *dev, unsigned int state);

	/*
	 * Around a suspension of the domain; all optional. From suspend to resume the driver makes
	 * no step towards a connection, and its other functions above are not called. restored comes
	 * in between, if the domain is another one now: otherend is new, and what was granted or
	 * bound is so no more. May sleep, but not for I/O.
	 */
	void (*suspend)(struct xenbus_device *dev);
	void (*restored)(struct xenbus_device *dev);
	void (*resume)(struct xenbus_device *dev);

	struct device_driver driver;	/* .name and .owner are enough */
};

/* -ENODEV where there is no xenstore. */
int xenbus_driver_register(struct xenbus_driver *driver);
void xenbus_driver_unregister(struct xenbus_driver *driver);

#endif
