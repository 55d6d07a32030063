// SPDX-License-Identifier: GPL-2.0-only
/* pv_ops.mmu, and the facts about Linux's memory management that core/ asks for. */
#include <linux/mm.h>
#include <linux/memblock.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>
#include <asm/fixmap.h>
#include <asm/mmu_context.h>
#include <asm/paravirt.h>
#include <asm/pgalloc.h>
#include <asm/pgtable.h>
#include <asm/tlb.h>
#include <asm/tlbflush.h>
#include <asm/x86_init.h>
#include <asm/xen/arch.h>

#include "core.h"

/* For core/pagetable.cc: where the fixmap's tables hang. */
const unsigned long xen_fixmap_l2_slot = FIXMAP_PMD_TOP;
const unsigned long xen_fixmap_l1_tables = FIXMAP_PMD_NUM;

/* The tables that Xen has loaded: written after it did, so that exit_tables() can rely on it. */
static DEFINE_PER_CPU(unsigned long, xen_cr3);

/* The domain may have more vCPUs than Linux has bits for. */
bool xen_more_vcpus;

/* ---- asked by core/ ---- */

bool glue_page_is_table(u64 pfn)
{
	return PagePinned(pfn_to_page(pfn));
}

void glue_page_set_table(u64 pfn, bool is_table)
{
	if (is_table)
		SetPagePinned(pfn_to_page(pfn));
	else
		ClearPagePinned(pfn_to_page(pfn));
}

/* The user-mode L4 belongs to a kernel-mode one: its frame is in page->private. */
u64 glue_user_l4_pfn(u64 pfn)
{
	return page_private(pfn_to_page(pfn));
}

void *glue_lock_table(void *mm, u64 *l2_entry)
{
	spinlock_t *lock = pte_lockptr(mm, (pmd_t *)l2_entry);

	spin_lock(lock);
	return lock;
}

void glue_unlock_table(void *lock)
{
	spin_unlock((spinlock_t *)lock);
}

/* ---- address spaces ---- */

static u64 l4_pfn(struct mm_struct *mm)
{
	return virt_to_phys(mm->pgd) >> PAGE_SHIFT;
}

static bool live(struct mm_struct *mm)
{
	return mm == &init_mm || glue_page_is_table(l4_pfn(mm));
}

static int pgd_alloc_user(struct mm_struct *mm)
{
	unsigned long user = get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (!user)
		return -ENOMEM;
	set_page_private(virt_to_page(mm->pgd), virt_to_phys((void *)user) >> PAGE_SHIFT);
	return 0;
}

static void pgd_free_user(struct mm_struct *mm, pgd_t *pgd)
{
	struct page *page = virt_to_page(pgd);

	free_page((unsigned long)__va(page_private(page) << PAGE_SHIFT));
	set_page_private(page, 0);
}

static void pin(struct mm_struct *mm)
{
	xen_pin(mm, l4_pfn(mm), glue_user_l4_pfn(l4_pfn(mm)));
}

static void activate(struct mm_struct *prev, struct mm_struct *next)
{
	pin(next);
}

static void dup(struct mm_struct *oldmm, struct mm_struct *mm)
{
	pin(mm);
}

static void leave(void *mm)
{
	if (this_cpu_read(cpu_tlbstate.loaded_mm) == mm)
		leave_mm(smp_processor_id());
	xen_core_flush();
}

static bool uses_tables(int cpu, void *mm)
{
	return per_cpu(xen_cr3, cpu) == __pa(((struct mm_struct *)mm)->pgd);
}

/* A CPU may still idle on these tables lazily, or be on its way from them with its bit in
 * mm_cpumask() cleared already; Xen unpins them only when none has them loaded. */
static void exit_tables(struct mm_struct *mm)
{
	on_each_cpu_cond_mask(uses_tables, leave, mm, true, cpu_online_mask);
	xen_unpin(mm, l4_pfn(mm), glue_user_l4_pfn(l4_pfn(mm)));
}

static unsigned long read_tables(void)
{
	return this_cpu_read(xen_cr3);
}

static void write_tables(unsigned long cr3)
{
	u64 pfn = (cr3 & CR3_ADDR_MASK) >> PAGE_SHIFT;
	u64 user = cr3 == __pa_symbol(init_top_pgt) ? 0 : glue_user_l4_pfn(pfn);

	xen_load_tables(pfn, user);
	this_cpu_write(xen_cr3, cr3);
}

/* ---- tables ---- */

static void alloc_l1(struct mm_struct *mm, unsigned long pfn)
{
	xen_table_alloc(pfn, 1, live(mm));
}

static void alloc_l2(struct mm_struct *mm, unsigned long pfn)
{
	xen_table_alloc(pfn, 2, live(mm));
}

static void alloc_l3(struct mm_struct *mm, unsigned long pfn)
{
	xen_table_alloc(pfn, 3, live(mm));
}

static void free_l1(unsigned long pfn)
{
	xen_table_free(pfn, 1);
}

static void free_l2_l3(unsigned long pfn)
{
	xen_table_free(pfn, 2);
}

static void no_table(struct mm_struct *mm, unsigned long pfn)
{
}

static void no_table_free(unsigned long pfn)
{
}

/*
 * The tables of a task that starts or ends, which Xen does not know (yet, any more), hold machine
 * frames all the same. While the domain is suspended it has to know all. Nothing else runs.
 */
void xen_pin_all(void)
{
	struct page *page;

	list_for_each_entry(page, &pgd_list, lru) {
		if (PagePinned(page))
			continue;
		SetPageSavePinned(page);
		pin(pgd_page_get_mm(page));
	}
}

void xen_unpin_all(void)
{
	struct page *page;

	list_for_each_entry(page, &pgd_list, lru) {
		struct mm_struct *mm = pgd_page_get_mm(page);

		if (!PageSavePinned(page))
			continue;
		ClearPageSavePinned(page);
		xen_unpin(mm, l4_pfn(mm), glue_user_l4_pfn(l4_pfn(mm)));
	}
}

/* ---- entries ---- */

static pte_t modify_start(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep)
{
	return *ptep;
}

static void modify_commit(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, pte_t pte)
{
	xen_modify_entry(ptep, pte.pte);
}

PV_CALLEE_SAVE_REGS_THUNK(xen_make_entry);
PV_CALLEE_SAVE_REGS_THUNK(xen_entry_value);
#define MAKE ((struct paravirt_callee_save){ __raw_callee_save_xen_make_entry })
#define VALUE ((struct paravirt_callee_save){ __raw_callee_save_xen_entry_value })

/* ---- TLB, fixmap ---- */

static void flush_multi(const struct cpumask *cpus, const struct flush_tlb_info *info)
{
	cpumask_t online;

	cpumask_and(&online, cpus, cpu_online_mask);
	if (!cpumask_empty(&online))
		xen_flush_tlb_mask(xen_more_vcpus ? NULL : &online, info->end != TLB_FLUSH_ALL &&
				   info->end - info->start <= PAGE_SIZE, info->start);
}

static void set_fixmap_entry(unsigned int idx, phys_addr_t phys, pgprot_t prot)
{
	__native_set_fixmap(idx, pfn_pte(phys >> PAGE_SHIFT, prot));
}

static void leave_lazy(void)
{
	preempt_disable();
	xen_core_flush();
	paravirt_leave_lazy_mmu();
	preempt_enable();
}

asmlinkage unsigned long xen_read_cr2(void);

/* cr2 lives in the vCPU's info page, which only Xen writes. */
static void no_write_cr2(unsigned long cr2)
{
}

static void __init pagetable_init(void)
{
	paging_init();
	xen_tables_have_struct_pages();
}

static const struct pv_mmu_ops xen_mmu_ops __initconst = {
	.flush_tlb_user = xen_flush_tlb_local,
	.flush_tlb_kernel = xen_flush_tlb_local,
	.flush_tlb_one_user = xen_flush_tlb_page,
	.flush_tlb_multi = flush_multi,
	.tlb_remove_table = tlb_remove_table,
	.exit_mmap = exit_tables,
	.notify_page_enc_status_changed = paravirt_nop,
	.read_cr2 = __PV_IS_CALLEE_SAVE(xen_read_cr2),
	.write_cr2 = no_write_cr2,
	.read_cr3 = read_tables,
	.write_cr3 = write_tables,
	.activate_mm = activate,
	.dup_mmap = dup,
	.pgd_alloc = pgd_alloc_user,
	.pgd_free = pgd_free_user,
	.alloc_pte = alloc_l1,
	.alloc_pmd = alloc_l2,
	.alloc_pud = alloc_l3,
	.alloc_p4d = no_table,
	.release_pte = free_l1,
	.release_pmd = free_l2_l3,
	.release_pud = free_l2_l3,
	.release_p4d = no_table_free,
	.set_pte = (void (*)(pte_t *, pte_t))xen_set_entry,
	.set_pmd = (void (*)(pmd_t *, pmd_t))xen_set_entry,
	.set_pud = (void (*)(pud_t *, pud_t))xen_set_entry,
	.set_p4d = (void (*)(p4d_t *, p4d_t))xen_set_top_entry,
	.ptep_modify_prot_start = modify_start,
	.ptep_modify_prot_commit = modify_commit,
	.pte_val = VALUE,
	.pmd_val = VALUE,
	.pud_val = VALUE,
	.pgd_val = VALUE,
	.make_pte = MAKE,
	.make_pmd = MAKE,
	.make_pud = MAKE,
	.make_pgd = MAKE,
	.lazy_mode = {
		.enter = paravirt_enter_lazy_mmu,
		.leave = leave_lazy,
		.flush = paravirt_flush_lazy_mmu,
	},
	.set_fixmap = set_fixmap_entry,
};

void __init xen_mmu_ops_init(void)
{
	pv_ops.mmu = xen_mmu_ops;
	x86_init.paging.pagetable_init = pagetable_init;
	this_cpu_write(xen_cr3, __pa_symbol(init_top_pgt));

	/* Xen alone may make entries global. */
	__supported_pte_mask &= ~_PAGE_GLOBAL;
	__default_kernel_pte_mask &= ~_PAGE_GLOBAL;
}

/* A new vCPU starts on the kernel's tables. */
void xen_mmu_secondary(unsigned int cpu)
{
	per_cpu(xen_cr3, cpu) = __pa_symbol(init_top_pgt);
}

/* ---- Xen's own pages in our address space ---- */

void *xen_arch_map_page(unsigned int fixmap, u64 frame)
{
	unsigned long address = __fix_to_virt(fixmap);

	xen_set_mapping(address, frame << PAGE_SHIFT | pgprot_val(PAGE_KERNEL));
	return (void *)address;
}

void xen_arch_unmap_page(unsigned int fixmap)
{
	xen_set_mapping(__fix_to_virt(fixmap), 0);
}

static int map_frame(pte_t *pte, unsigned long address, void *data)
{
	const u64 **frames = data;

	xen_set_entry(pte, *(*frames)++ << PAGE_SHIFT | pgprot_val(PAGE_KERNEL));
	return 0;
}

void *xen_arch_map_frames(const u64 *frames, unsigned int count)
{
	unsigned long size = (unsigned long)count << PAGE_SHIFT;
	struct vm_struct *area = get_vm_area(size, VM_IOREMAP);

	if (!area)
		return NULL;
	if (apply_to_page_range(&init_mm, (unsigned long)area->addr, size, map_frame, &frames)) {
		free_vm_area(area);
		return NULL;
	}
	return area->addr;
}

void xen_arch_remap_frames(void *area, const u64 *frames, unsigned int count)
{
	unsigned long address = (unsigned long)area;
	unsigned int i;

	for (i = 0; i < count; i++, address += PAGE_SIZE)
		xen_set_mapping(address, frames ? frames[i] << PAGE_SHIFT |
						  pgprot_val(PAGE_KERNEL) : 0);
}

static int __init add_p2m_page(pte_t *pte, unsigned long address, void *unused)
{
	unsigned long page = get_zeroed_page(GFP_KERNEL);

	if (page)
		set_pte(pte, pfn_pte(__pa(page) >> PAGE_SHIFT, PAGE_KERNEL));
	return page ? 0 : -ENOMEM;
}

u64 __init xen_arch_grow(void)
{
	u64 start = xen_p2m_end(), pages = xen_arch_most_pages();
	u64 missing = (pages - xen_arch_boot_pages()) * sizeof(u64);

	if (!missing ||
	    apply_to_page_range(&init_mm, start, PAGE_ALIGN(missing), add_p2m_page, NULL))
		return xen_arch_boot_pages();
	xen_p2m_grown(pages);
	xen_show_p2m();
	return pages;
}

/* Of a descriptor table: the frame, after every mapping of it that we know became read-only. */
u64 xen_frame_read_only(unsigned long address)
{
	unsigned int level;
	pte_t *pte = lookup_address(address, &level);
	unsigned long pfn = pte_pfn(*pte);

	if (pte_write(*pte))
		xen_set_mapping(address, pte->pte & ~_PAGE_RW);
	xen_set_page_access(pfn, false);
	return xen_pfn_to_frame(pfn);
}

/* Two pages side by side may be merged in one request only if the machine has them so, too. */
bool xen_biovec_phys_mergeable(const struct bio_vec *vec, const struct page *page)
{
	u64 last = xen_pfn_to_frame(page_to_pfn(vec->bv_page) +
				    ((vec->bv_offset + vec->bv_len - 1) >> PAGE_SHIFT));
	u64 next = xen_pfn_to_frame(page_to_pfn(page));

	return (vec->bv_offset + vec->bv_len) % PAGE_SIZE ? last == next : last + 1 == next;
}
