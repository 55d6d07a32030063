// SPDX-License-Identifier: GPL-2.0-only
// Frames: the linear p2m list of start info, Xen's machine-to-physical table, and page-table
// entries, which hold machine frames in memory and pseudo-physical ones in Linux's hands
// (public/arch-x86/xen-x86_64.h, XENMEM_machphys_mapping).
#include <xen/memory.h>

#include "arch.hpp"

namespace xen::pv {

constinit Guest guest{};

namespace {

constexpr unsigned xenmem_machphys_mapping = 12;
struct MachphysMapping {
    uint64_t v_start, v_end, max_mfn;
};

// What Linux sees as the frame of an entry that maps memory of somebody else: no valid pfn.
constexpr uint64_t foreign_frame = entry_frame_mask >> page_shift;

uint64_t with_frame(uint64_t entry, uint64_t frame)
{
    return (entry & ~entry_frame_mask) | frame << page_shift;
}

uint64_t frame_of(uint64_t entry) { return (entry & entry_frame_mask) >> page_shift; }

bool in_boot_p2m(uint64_t pfn)
{
    return pfn - guest.start_info->first_p2m_pfn < guest.start_info->nr_p2m_frames;
}

} // namespace

Pfn to_pfn(Mfn mfn)
{
    if (guest.frames_translated)
        return Pfn{mfn.value};
    if (mfn.value >= guest.machine_frames)
        return Pfn{no_frame};
    // SAFETY: Xen maps its table, read-only, at a fixed address, for machine_frames entries.
    uint64_t pfn = reinterpret_cast<const uint64_t *>(m2p_base)[mfn.value];
    if (pfn >= guest.pages || guest.p2m[pfn] != mfn.value)
        return Pfn{no_frame}; // not ours: the table covers every domain's memory
    return Pfn{pfn};
}

void translation_init(abi::StartInfo *start_info)
{
    guest.start_info = start_info;
    guest.pages = start_info->nr_pages;
    // SAFETY: Xen built the list at this address, one entry for each page.
    guest.p2m = reinterpret_cast<uint64_t *>(start_info->mfn_list);

    abi::FeatureInfo features{};
    if (hypercall(abi::hypercall_version, abi::xenver_get_features, &features).ok())
        guest.frames_translated = features.submap >> abi::feature_auto_translated_physmap & 1;

    // Linux describes each page that there may be, in memory that there is.
    guest.most_pages = start_info->flags & abi::sif_initdomain
                           ? guest.pages
                           : xen_memory_most(guest.pages, 8 * guest.pages);
    machine_frames_init();
}

// The first page behind those of the list.
extern "C" uint64_t xen_p2m_end(void)
{
    return (hypercall_argument(guest.p2m + guest.pages) + page_size - 1) & ~(page_size - 1);
}

// The list is mapped for so many pages.
extern "C" void xen_p2m_grown(uint64_t pages)
{
    for (uint64_t pfn = guest.pages; pfn < pages; pfn++)
        guest.p2m[pfn] = no_frame;
    guest.pages = pages;
}

void machine_frames_init()
{
    MachphysMapping mapping{};
    guest.machine_frames = (1ull << 52) >> page_shift;
    if (hypercall(abi::hypercall_memory_op, xenmem_machphys_mapping, &mapping).ok())
        guest.machine_frames = mapping.max_mfn + 1;
}

} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// make_pte, make_pmd, make_pud, make_pgd: what Linux wants mapped, as Xen wants it written.
extern "C" uint64_t xen_make_entry(uint64_t entry)
{
    if (!(entry & entry_present) || frame_of(entry) == foreign_frame)
        return entry & entry_present ? 0 : entry;
    uint64_t pfn = frame_of(entry);
    uint64_t mfn = to_mfn(Pfn{pfn}).value;
    if (mfn == no_frame)
        return 0; // no memory there, and a PV guest has no devices: nothing to map
    // The pages of the boot p2m include its page tables, which nobody may map writable.
    if (in_boot_p2m(pfn))
        entry &= ~entry_writable;
    return with_frame(entry, mfn);
}

// pte_val and the like: the reverse.
extern "C" uint64_t xen_entry_value(uint64_t entry)
{
    if (!(entry & entry_present))
        return entry;
    Pfn pfn = to_pfn(Mfn{frame_of(entry)});
    return with_frame(entry, pfn.value == no_frame ? foreign_frame : pfn.value);
}

extern "C" uint64_t xen_pfn_to_frame(uint64_t pfn) { return to_mfn(Pfn{pfn}).value; }
