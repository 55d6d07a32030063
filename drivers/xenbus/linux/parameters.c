// SPDX-License-Identifier: GPL-2.0-only
/*
 * Upstream's parameters of a Xen guest that change nothing here (Linux's
 * Documentation/admin-guide/kernel-parameters.txt): configurations that have them go on working,
 * and the log says what is so instead. earlyprintk=xen is the console's, xen_blkfront.* and
 * xen_netfront.* are those drivers'.
 */
#define pr_fmt(fmt) "xen: " fmt

#include <linux/errno.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/printk.h>
#include <xen/dispatch.h>

#define CHANGES_NOTHING(name, parameter, why)                                                     \
	static int __init name(char *value)                                                       \
	{                                                                                         \
		pr_notice(parameter "%s changes nothing: " why "\n", value);                      \
		return 1;                                                                         \
	}                                                                                         \
	__setup(parameter, name)

CHANGES_NOTHING(limit, "xen_512gb_limit", "memory has no such limit");
CHANGES_NOTHING(msr_safe, "xen_msr_safe", "an MSR that Xen refuses never ends the guest");
CHANGES_NOTHING(nopvspin, "xen_nopvspin", "there are no paravirtual spinlocks");
CHANGES_NOTHING(scrub, "xen_scrub_pages", "pages that go to Xen are always zeroed");
CHANGES_NOTHING(slop, "xen_timer_slop", "the timer is set for a microsecond ahead at least");
CHANGES_NOTHING(legacy_crash, "xen_legacy_crash", "the log is written before Xen hears of a crash");

/* As upstream takes it, and everything else that says no. */
static int __init fifo_events(char *value)
{
	bool wanted = true;

	if (value && kstrtobool(value, &wanted))
		return -EINVAL;
	if (!wanted)
		xen_events_two_level();
	return 0;
}
early_param("xen.fifo_events", fifo_events);
