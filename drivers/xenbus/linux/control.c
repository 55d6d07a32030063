// SPDX-License-Identifier: GPL-2.0-only
/*
 * Carries out what the toolstack asks for through control/shutdown and control/sysrq.
 */
#include <linux/init.h>
#include <linux/reboot.h>
#include <linux/sysrq.h>
#include <linux/workqueue.h>
#include "../core/xenbus_core.h"
#include "port.h"

static void control(struct work_struct *work)
{
	char key;

	switch (xenbus_core_take_command(&key)) {
	case XENBUS_POWEROFF:
		orderly_poweroff(true);
		break;
	case XENBUS_REBOOT:
		orderly_reboot();
		break;
	case XENBUS_SUSPEND:
		xenbus_suspend();
		break;
	case XENBUS_NONE:
		break;
	}
	if (key)
		handle_sysrq(key);
}
static DECLARE_WORK(control_work, control);

void xenbus_port_kick_control(void)
{
	schedule_work(&control_work);
}

static int __init start_control(void)
{
	return xenbus_store_ready ? xenbus_core_start_control() : 0;
}
/* Late: there is nobody to shut down earlier. */
late_initcall(start_control);
