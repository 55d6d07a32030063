// SPDX-License-Identifier: GPL-2.0-only
/*
 * The balloon: pages that Linux has allocated and Xen has instead, while the toolstack wants the
 * guest to be smaller (xl mem-set). How many, the core says.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/workqueue.h>
#include <asm/xen/arch.h>
#include "../../xenbus/linux/port.h"
#include "../core/balloon.h"

static LIST_HEAD(given);
static u64 given_count;
static u64 most;

/* What the rest of the guest is left, so that it does not kill programs for the toolstack's wish. */
#define LEAST_AVAILABLE (16 << (20 - PAGE_SHIFT))

u64 balloon_port_pages(void)
{
	return most - given_count;
}

u64 balloon_port_given(void)
{
	return given_count;
}

/* They are the guest's again. */
static void release(const u64 *pfns, unsigned int begin, unsigned int end)
{
	for (; begin < end; begin++) {
		struct page *page = pfn_to_page(pfns[begin]);

		list_del(&page->lru);
		__ClearPageOffline(page);
		adjust_managed_page_count(page, 1);
		__free_page(page);
	}
}

unsigned int balloon_port_give(unsigned int count)
{
	u64 pfns[BALLOON_BATCH];
	unsigned int done, i;

	for (i = 0; i < count && si_mem_available() > LEAST_AVAILABLE; i++) {
		/* Zeroed: the next owner is not to see what was in it. */
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY |
					       __GFP_NOWARN | __GFP_NOMEMALLOC);

		if (!page)
			break;
		__SetPageOffline(page);
		adjust_managed_page_count(page, -1);
		list_add(&page->lru, &given);
		pfns[i] = page_to_pfn(page);
	}
	done = xen_arch_give_pages(pfns, i);
	release(pfns, done, i);
	given_count += done;
	return done;
}

unsigned int balloon_port_take(unsigned int count)
{
	u64 pfns[BALLOON_BATCH];
	struct page *page;
	unsigned int taken, i = 0;

	list_for_each_entry(page, &given, lru) {
		if (i == count)
			break;
		pfns[i++] = page_to_pfn(page);
	}
	taken = xen_arch_take_pages(pfns, i);
	release(pfns, 0, taken);
	given_count -= taken;
	return taken;
}

static void step(struct work_struct *work);
static DECLARE_DELAYED_WORK(step_work, step);

static void step(struct work_struct *work)
{
	int delay = balloon_core_step();

	if (delay >= 0)
		queue_delayed_work(system_wq, &step_work, msecs_to_jiffies(delay));
}

void balloon_port_kick(void)
{
	mod_delayed_work(system_wq, &step_work, 0);
}

/* What the guest may grow to is like what it gave. */
static void __init add_room(void)
{
	u64 end = xen_arch_grow();

	for (most = xen_arch_boot_pages(); most < end; most++, given_count++) {
		struct page *page = pfn_to_page(most);

		ClearPageReserved(page);
		__SetPageOffline(page);
		list_add_tail(&page->lru, &given);
	}
}

static int __init start_balloon(void)
{
	if (!xenbus_store_ready) /* nobody to ask for it; or this is no Xen guest at all */
		return 0;
	add_room();
	return balloon_core_start();
}
late_initcall(start_balloon);
