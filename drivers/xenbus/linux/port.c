// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linux's side of <xen/port.h>, all but the event channels, which are the architecture's. Also
 * starts the two services that every Xen device needs: grants and the xenstore client with its
 * thread.
 */
#define pr_fmt(fmt) "xen: " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <asm/xen/arch.h>
#include <xen/port.h>
#include <xen/xen.h>
#include "../core/xenbus_core.h"
#include "port.h"

void *xen_port_pages_alloc(unsigned int count)
{
	/* Not GFP_KERNEL: a disk that reconnects must not wait for its own I/O. */
	return alloc_pages_exact(count * PAGE_SIZE, GFP_NOIO | __GFP_ZERO | __GFP_NOWARN);
}

void xen_port_page_free(void *page)
{
	free_page((unsigned long)page);
}

uint64_t xen_port_frame(const void *page)
{
	return xen_arch_virt_to_frame(page);
}

void xen_port_log(int level, const char *line)
{
	if (level <= XEN_PORT_ERROR)
		pr_err("%s\n", line);
	else if (level == XEN_PORT_WARNING)
		pr_warn("%s\n", line);
	else
		pr_info("%s\n", line);
}

uint64_t xen_port_now(void)
{
	/* This clock works before timekeeping starts, and in a panic. */
	return ktime_get_mono_fast_ns();
}

unsigned long xen_port_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void xen_port_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

/* ---- the xenstore client's waiting ---- */

static DEFINE_MUTEX(store_lock);
static DECLARE_WAIT_QUEUE_HEAD(store_waiters);

void xen_port_xenstore_lock(void)
{
	mutex_lock(&store_lock);
}

void xen_port_xenstore_unlock(void)
{
	mutex_unlock(&store_lock);
}

/* An idle wait is neither load nor a hung task. */
void xen_port_xenstore_wait(const uint32_t *counter, uint32_t seen, uint32_t timeout_ms)
{
	wait_event_idle_timeout(store_waiters, READ_ONCE(*counter) != seen,
				msecs_to_jiffies(timeout_ms));
}

void xen_port_xenstore_wake(void)
{
	wake_up_all(&store_waiters);
}

static int store_loop(void *unused)
{
	while (!kthread_should_stop())
		xenbus_core_store_round();
	return 0;
}

/* ---- start ---- */

static void reclaim(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(reclaim_work, reclaim);

/* Tries to get back what peers had mapped when their devices went away. */
static void reclaim(struct work_struct *work)
{
	xenbus_core_reclaim_grants();
	schedule_delayed_work(&reclaim_work, 5 * HZ);
}

bool xenbus_store_ready __ro_after_init;

static int __init start_services(void)
{
	struct task_struct *thread;
	int rc;

	if (!xen_domain())
		return 0;

	rc = xenbus_core_start_grants();
	if (rc) {
		pr_err("no grant table: %d\n", rc);
		return rc;
	}
	schedule_delayed_work(&reclaim_work, 5 * HZ);

	if (!xen_arch_store_frame() || !xen_arch_store_port()) {
		pr_info("no xenstore, so no devices\n");
		return 0;
	}
	rc = xenbus_core_start_store(xen_arch_frame_to_virt(xen_arch_store_frame()),
				     xen_arch_store_port());
	if (rc) {
		pr_err("cannot talk to xenstore: %d\n", rc);
		return rc;
	}
	thread = kthread_run(store_loop, NULL, "xenstore");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	xenbus_store_ready = true;
	return 0;
}
postcore_initcall(start_services);
