// SPDX-License-Identifier: GPL-2.0-only
// Page tables, one entry and one page at a time: updates, the access rights of table pages, the
// kernel's own tables at start of day, TLB flushes (public/xen.h: mmu_update, mmuext_op,
// update_va_mapping). Whole address spaces are pin.cc's.
#include "arch.hpp"

extern "C" {
// Linux's static tables (head_64.S), and what is common to all user-mode L4s.
extern uint64_t init_top_pgt[512], level3_ident_pgt[512], level3_kernel_pgt[512];
extern uint64_t level2_ident_pgt[512], level2_kernel_pgt[512], level2_fixmap_pgt[512];
extern uint64_t level1_fixmap_pgt[][512];
extern const unsigned long xen_fixmap_l2_slot, xen_fixmap_l1_tables;
}

namespace xen::pv {
namespace {

constexpr uint64_t table_flags = 0x67; // present, writable, user, accessed, dirty

unsigned index(uint64_t address, unsigned level) { return address >> (3 + 9 * level) & 511; }

uint64_t *table_of(uint64_t entry)
{
    return direct_map<uint64_t>(to_pfn(Mfn{(entry & entry_frame_mask) >> page_shift}));
}

uint64_t entry_for(const void *table) { return to_mfn(table).value << page_shift | table_flags; }

// Before the direct map is there: an address in the kernel's image becomes read-only.
void image_page_read_only(const void *page)
{
    batch_call(lazy_none, abi::hypercall_update_va_mapping, hypercall_argument(page),
               to_mfn(page).value << page_shift | page_read_only, abi::uvmf_none);
}

// The same for an address that Xen's boot tables map in the kernel's image.
template <class T>
T *in_image(uint64_t entry)
{
    Pfn pfn = to_pfn(Mfn{(entry & entry_frame_mask) >> page_shift});
    // SAFETY: the boot tables map all boot frames, tables included, at the kernel's base.
    return reinterpret_cast<T *>(kernel_map_base + (pfn.value << page_shift));
}

} // namespace

// Puts the kernel's static tables in place of those Xen booted it on. The boot L1 tables stay:
// the kernel's image and the start of the direct map share them, so that a page which is
// read-only in one is in the other.
void build_kernel_tables()
{
    // SAFETY: Xen maps its boot tables, read-only, from this address on.
    auto *boot_l4 = reinterpret_cast<uint64_t *>(guest.start_info->pt_base);
    auto *boot_l2 = in_image<uint64_t>(
        in_image<uint64_t>(boot_l4[index(kernel_map_base, 4)])[index(kernel_map_base, 3)]);
    unsigned p2m_slot = index(hypercall_argument(guest.p2m), 4);

    for (unsigned i = 0; i < 512; i++)
        level2_ident_pgt[i] = level2_kernel_pgt[i] = boot_l2[i];
    for (unsigned i = 0; i < xen_fixmap_l1_tables; i++)
        level2_fixmap_pgt[xen_fixmap_l2_slot - i] =
            entry_for(level1_fixmap_pgt[xen_fixmap_l1_tables - 1 - i]);
    level3_kernel_pgt[510] = entry_for(level2_kernel_pgt);
    level3_kernel_pgt[511] = entry_for(level2_fixmap_pgt);
    level3_ident_pgt[0] = entry_for(level2_ident_pgt);
    init_top_pgt[0] = 0;
    init_top_pgt[index(direct_map_base, 4)] = entry_for(level3_ident_pgt);
    init_top_pgt[511] = entry_for(level3_kernel_pgt);
    init_top_pgt[p2m_slot] = boot_l4[p2m_slot];

    for (const void *table :
         {static_cast<const void *>(init_top_pgt), static_cast<const void *>(level3_ident_pgt),
          static_cast<const void *>(level3_kernel_pgt), static_cast<const void *>(level2_ident_pgt),
          static_cast<const void *>(level2_kernel_pgt),
          static_cast<const void *>(level2_fixmap_pgt)})
        image_page_read_only(table);
    for (unsigned i = 0; i < xen_fixmap_l1_tables; i++)
        image_page_read_only(level1_fixmap_pgt[i]);

    batch_extended(lazy_none, abi::mmuext_pin_l4_table, to_mfn(init_top_pgt).value);
    batch_extended(lazy_none, abi::mmuext_new_baseptr, to_mfn(init_top_pgt).value);
    batch_extended(lazy_none, abi::mmuext_unpin_table, to_mfn(boot_l4).value);
}

// The table page itself may be read by all, written by Xen alone.
void table_protect(Pfn pfn, unsigned level)
{
    BatchScope together;
    batch_set_access(pfn, false);
    if (level == 1)
        batch_extended(lazy_mmu, abi::mmuext_pin_l1_table, to_mfn(pfn).value);
    if (guest.struct_pages_exist)
        glue_page_set_table(pfn.value, true);
}

void table_release(Pfn pfn, unsigned level)
{
    BatchScope together;
    if (level == 1)
        batch_extended(lazy_mmu, abi::mmuext_unpin_table, to_mfn(pfn).value);
    batch_set_access(pfn, true);
    glue_page_set_table(pfn.value, false);
}

} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// set_pte, set_pmd, set_pud: mmu_update takes any frame, live table or not yet.
extern "C" void xen_set_entry(uint64_t *entry, uint64_t value)
{
    batch_update(machine_address(entry) | abi::mmu_normal_pt_update, value);
}

// ptep_modify_prot_commit: accessed and dirty bits that were set meanwhile survive.
extern "C" void xen_modify_entry(uint64_t *entry, uint64_t value)
{
    batch_update(machine_address(entry) | abi::mmu_pt_update_preserve_ad, value);
}

// set_p4d, which is the L4 entry: the user half is mirrored to the L4 that user mode runs on.
extern "C" void xen_set_top_entry(uint64_t *entry, uint64_t value)
{
    batch_update(machine_address(entry) | abi::mmu_normal_pt_update, value);
    uint64_t offset = physical_address(entry) & (page_size - 1);
    if (!guest.struct_pages_exist || offset >= page_size / 2)
        return;
    uint64_t user = glue_user_l4_pfn(to_pfn(entry).value);
    if (user)
        batch_update(machine_address(direct_map<uint8_t>(Pfn{user}) + offset) |
                         abi::mmu_normal_pt_update,
                     value);
}

// A page becomes a table of an address space that Xen knows already (live).
extern "C" void xen_table_alloc(uint64_t pfn, unsigned level, bool live)
{
    if (live)
        table_protect(Pfn{pfn}, level);
}

extern "C" void xen_table_free(uint64_t pfn, unsigned level)
{
    if (!glue_page_is_table(pfn))
        return;
    table_release(Pfn{pfn}, level);
    batch_flush(); // the page goes back to the allocator now, lazy mode or not
}

// Any mapping of one of our pages (a descriptor table's alias): its access right.
extern "C" void xen_set_mapping(unsigned long address, uint64_t entry)
{
    batch_call(lazy_none, abi::hypercall_update_va_mapping, address, entry, abi::uvmf_none);
}

extern "C" void xen_set_page_access(uint64_t pfn, bool writable)
{
    batch_set_access(Pfn{pfn}, writable);
    batch_flush();
}

extern "C" void xen_load_tables(uint64_t l4_pfn, uint64_t user_l4_pfn)
{
    BatchScope together;
    batch_extended(lazy_cpu, abi::mmuext_new_baseptr, to_mfn(Pfn{l4_pfn}).value);
    batch_extended(lazy_cpu, abi::mmuext_new_user_baseptr,
                   user_l4_pfn ? to_mfn(Pfn{user_l4_pfn}).value : 0);
}

extern "C" void xen_flush_tlb_local(void)
{
    batch_extended(lazy_mmu, abi::mmuext_tlb_flush_local, 0);
}

extern "C" void xen_flush_tlb_page(unsigned long address)
{
    batch_extended(lazy_mmu, abi::mmuext_invlpg_local, address);
}

// `mask`: one bit for each vCPU, null: all; one_page: only the page at `address`.
extern "C" void xen_flush_tlb_mask(const void *mask, bool one_page, unsigned long address)
{
    if (!mask) {
        batch_extended(lazy_none, abi::mmuext_tlb_flush_all, 0);
        return;
    }
    batch_extended(lazy_none, one_page ? abi::mmuext_invlpg_multi : abi::mmuext_tlb_flush_multi,
                   one_page ? address : 0, hypercall_argument(mask));
}

extern "C" void xen_tables_have_struct_pages(void) { guest.struct_pages_exist = true; }
