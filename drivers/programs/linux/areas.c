// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/xen/gntalloc and /dev/xen/gntdev: memory that programs share with other domains, as libxengnttab
 * uses them. One set of operations serves both.
 *
 * A granted page is the kernel's, and mapped like any. A page of somebody else's has no struct page: Xen
 * writes the program's page-table entry, marked special, and has to take it back itself. So whatever
 * Linux is about to do to these entries, all of the area is unmapped before (an MMU notifier); from
 * then on there is nothing, and a fault finds no page.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/xen/arch.h>
#include <xen/xen.h>
#include "../core/areas.h"
#include "programs.h"

/* uapi/xen/gntdev.h, gntalloc.h */
struct create {
	union {
		u32 borrowed; /* pages of others' */
		struct {
			u16 domain, flags; /* 1: writable */
		};
	};
	u32 shared; /* pages of the guest's */
	u64 index; /* out */
	u32 list[2]; /* in: domain and reference of each that is borrowed; out: reference of each shared */
};
struct extent {
	u64 index;
	u32 count, pad;
};
struct place {
	u64 address;
	u64 index; /* out */
	u32 count, pad; /* out */
};
struct notify {
	u64 index;
	u32 action, port;
};
#define IOCTL(number, type) _IOC(_IOC_NONE, 'G', number, sizeof(type))
#define BORROW IOCTL(0, struct create)
#define UNBORROW IOCTL(1, struct extent)
#define FIND IOCTL(2, struct place)
#define SHARE IOCTL(5, struct create)
#define UNSHARE IOCTL(6, struct extent)
#define NOTIFY IOCTL(7, struct notify)
static_assert(sizeof(struct create) == 24 && offsetof(struct create, list) == 16);
static_assert(sizeof(struct extent) == 16 && sizeof(struct notify) == 16);

/* Around the core, but for what is mapped of others', which reclaim may want to unmap: with the second,
 * nobody allocates. Both after mmap_lock and xen_programs_running. */
static DEFINE_MUTEX(lock);
static DEFINE_MUTEX(mapping);

/* ---- pages of the guest's ---- */

static void share_opened(struct vm_area_struct *vma)
{
	xen_area_hold(vma->vm_private_data);
}

static void share_closed(struct vm_area_struct *vma)
{
	xen_area_put(vma->vm_private_data);
}

static const struct vm_operations_struct share_operations = {
	.open = share_opened,
	.close = share_closed,
};

static int map_share(struct vm_area_struct *vma, struct xen_area *area)
{
	unsigned int i;
	int rc = 0;

	vma->vm_flags |= VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_ops = &share_operations;
	vma->vm_private_data = area;
	for (i = 0; i < vma_pages(vma) && !rc; i++)
		rc = vm_insert_page(vma, vma->vm_start + i * PAGE_SIZE,
				    virt_to_page(xen_area_page(area, i)));
	return rc;
}

/* ---- pages of others' ---- */

struct loan {
	struct mmu_interval_notifier notifier;
	struct xen_area *area;
	unsigned int users; /* vmas; under mmap_lock */
	unsigned int found;
	u64 entries[XEN_AREA_PAGES];
};

static void end_loan(struct loan *loan)
{
	mutex_lock(&mapping);
	xen_area_unmap(loan->area);
	mutex_unlock(&mapping);
}

static bool loan_lost(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range,
		      unsigned long sequence)
{
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&mapping);
	else if (!mutex_trylock(&mapping))
		return false;
	mmu_interval_set_seq(notifier, sequence);
	xen_area_unmap(container_of(notifier, struct loan, notifier)->area);
	mutex_unlock(&mapping);
	return true;
}

static const struct mmu_interval_notifier_ops loan_notifier = {
	.invalidate = loan_lost,
};

static void loan_opened(struct vm_area_struct *vma)
{
	struct loan *loan = vma->vm_private_data;

	loan->users++;
}

static void loan_closed(struct vm_area_struct *vma)
{
	struct loan *loan = vma->vm_private_data;

	if (--loan->users)
		return;
	end_loan(loan); /* if it never came to be in use */
	mmu_interval_notifier_remove(&loan->notifier);
	xen_area_put(loan->area);
	kvfree(loan);
}

static int loan_is_whole(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static const struct vm_operations_struct loan_operations = {
	.open = loan_opened,
	.close = loan_closed,
	.may_split = loan_is_whole,
};

static int find_entry(pte_t *pte, unsigned long address, void *data)
{
	struct loan *loan = data;

	loan->entries[loan->found++] = xen_arch_virt_to_frame(pte) << PAGE_SHIFT | offset_in_page(pte);
	return 0;
}

static int map_entries(struct vm_area_struct *vma, struct loan *loan)
{
	unsigned long size = vma->vm_end - vma->vm_start;
	int rc = apply_to_page_range(vma->vm_mm, vma->vm_start, size, find_entry, loan);

	if (!rc)
		rc = mmu_interval_notifier_insert_locked(&loan->notifier, vma->vm_mm, vma->vm_start,
							 size, &loan_notifier);
	if (rc)
		return rc;
	/* As long as somebody invalidates another part, an insertion may be put off. */
	mmu_interval_read_begin(&loan->notifier);
	mutex_lock(&mapping);
	rc = xen_area_map(loan->area, loan->entries, vma->vm_flags & VM_WRITE);
	mutex_unlock(&mapping);
	if (rc)
		mmu_interval_notifier_remove(&loan->notifier);
	return rc;
}

static int map_new_loan(struct vm_area_struct *vma, struct xen_area *area)
{
	struct loan *loan = kvzalloc(sizeof(*loan), GFP_KERNEL_ACCOUNT);
	int rc;

	if (!loan)
		return -ENOMEM;
	loan->area = area;
	loan->users = 1;
	vma->vm_flags |= VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY;
	vma->vm_ops = &loan_operations;
	vma->vm_private_data = loan;
	rc = map_entries(vma, loan);
	if (rc)
		kvfree(loan);
	return rc;
}

/* An entry's machine address must be no other meanwhile. Nobody waits for the end of a suspension here,
 * which may need what somebody holds who waits for mmap_lock: libxengnttab tries again. */
static int map_loan(struct vm_area_struct *vma, struct xen_area *area)
{
	int rc;

	if (!down_read_trylock(&xen_programs_running))
		return -EAGAIN;
	rc = map_new_loan(vma, area);
	up_read(&xen_programs_running);
	return rc;
}

void xen_areas_suspend(void)
{
	mutex_lock(&mapping);
	xen_areas_unmap_all();
	mutex_unlock(&mapping);
}

/* ---- files ---- */

static int areas_open(struct inode *inode, struct file *file)
{
	void *memory = kzalloc(xen_areas_size(), GFP_KERNEL_ACCOUNT);

	if (!memory)
		return -ENOMEM;
	file->private_data = xen_areas_open(memory);
	return nonseekable_open(inode, file);
}

static int areas_release(struct inode *inode, struct file *file)
{
	mutex_lock(&lock);
	xen_areas_close(file->private_data);
	mutex_unlock(&lock);
	kfree(file->private_data);
	return 0;
}

static int areas_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct xen_area *area;
	int rc;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	mutex_lock(&lock);
	area = xen_area_get(file->private_data, vma->vm_pgoff, vma_pages(vma));
	mutex_unlock(&lock);
	if (!area)
		return -EINVAL;
	rc = xen_area_page(area, 0) ? map_share(vma, area) : map_loan(vma, area);
	if (rc)
		xen_area_put(area);
	return rc;
}

/* ---- ioctl ---- */

static int forget(struct xen_areas *core, u64 index, u32 count)
{
	int rc;

	mutex_lock(&lock);
	rc = xen_area_forget(core, index, count);
	mutex_unlock(&lock);
	return rc;
}

static int create(struct xen_areas *core, struct create __user *argument, bool share)
{
	struct create request;
	u32 count, *list;
	size_t size;
	int rc;

	if (copy_from_user(&request, argument, sizeof(request)))
		return -EFAULT;
	count = share ? request.shared : request.borrowed;
	if (!count || count > XEN_AREA_PAGES || (share && request.flags > 1))
		return -EINVAL;
	size = count * (share ? sizeof(u32) : 2 * sizeof(u32));
	list = share ? kmalloc(size, GFP_KERNEL) : memdup_user(argument->list, size);
	if (IS_ERR_OR_NULL(list))
		return list ? PTR_ERR(list) : -ENOMEM;
	down_read(&xen_programs_running);
	mutex_lock(&lock);
	rc = share ? xen_area_share(core, request.domain, request.flags, count, list, &request.index) :
		     xen_area_borrow(core, count, list, &request.index);
	mutex_unlock(&lock);
	up_read(&xen_programs_running);
	if (!rc && (put_user(request.index, &argument->index) ||
		    (share && copy_to_user(argument->list, list, size)))) {
		forget(core, request.index, count);
		rc = -EFAULT;
	}
	kfree(list);
	return rc;
}

/* Which area is mapped there? */
static int find(struct file *file, struct place __user *argument)
{
	struct vm_area_struct *vma;
	struct place place = {};

	if (get_user(place.address, &argument->address))
		return -EFAULT;
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, place.address);
	if (vma && vma->vm_file == file && vma->vm_start == place.address) {
		place.index = (u64)vma->vm_pgoff << PAGE_SHIFT;
		place.count = vma_pages(vma);
	}
	mmap_read_unlock(current->mm);
	if (!place.count)
		return -EINVAL;
	return copy_to_user(argument, &place, sizeof(place)) ? -EFAULT : 0;
}

static long areas_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct xen_areas *core = file->private_data;
	void __user *user = (void __user *)argument;
	struct extent extent;
	struct notify notify;
	int rc;

	switch (command) {
	case BORROW:
	case SHARE:
		return create(core, user, command == SHARE);
	case UNBORROW:
	case UNSHARE:
		if (copy_from_user(&extent, user, sizeof(extent)))
			return -EFAULT;
		return forget(core, extent.index, extent.count);
	case FIND:
		return find(file, user);
	case NOTIFY:
		if (copy_from_user(&notify, user, sizeof(notify)))
			return -EFAULT;
		mutex_lock(&lock);
		mutex_lock(&mapping);
		rc = xen_area_notify(core, notify.index, notify.action, notify.port);
		mutex_unlock(&mapping);
		mutex_unlock(&lock);
		return rc;
	default:
		return -ENOTTY;
	}
}

static const struct file_operations areas_operations = {
	.owner = THIS_MODULE,
	.open = areas_open,
	.release = areas_release,
	.mmap = areas_mmap,
	.unlocked_ioctl = areas_ioctl,
	.llseek = no_llseek,
};

static struct miscdevice devices[] = {
	{ .minor = MISC_DYNAMIC_MINOR, .name = "xen/gntalloc", .fops = &areas_operations },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "xen/gntdev", .fops = &areas_operations },
};

static int __init start_areas(void)
{
	int rc;

	if (!xen_domain())
		return 0;
	rc = misc_register(&devices[0]);
	return rc ?: misc_register(&devices[1]);
}
device_initcall(start_areas);
