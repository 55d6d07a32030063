// SPDX-License-Identifier: GPL-2.0-only
// Whole address spaces. Linux fills a new one with plain stores; before it first runs, every table
// of its user half becomes read-only and the top ones are pinned, that is validated by Xen once and
// for all (MMUEXT_PIN_*, public/xen.h). Before it is torn down the reverse is done, so that
// neither end pays a hypercall for each entry.
#include "arch.hpp"

namespace xen::pv {

void table_protect(Pfn pfn, unsigned level);
void table_release(Pfn pfn, unsigned level);

namespace {

constexpr unsigned user_entries = 256; // the L4's lower half

Pfn frame_in(uint64_t entry) { return to_pfn(Mfn{(entry & entry_frame_mask) >> page_shift}); }

// An L1's lock keeps reclaim and migration, which find the table through its pages, from storing to
// it natively while it is read-only but not yet known to Xen as a table.
class LockedL1 {
public:
    LockedL1(void *mm, uint64_t *l2_entry) : lock_(glue_lock_table(mm, l2_entry)) {}
    ~LockedL1() { glue_unlock_table(lock_); }
    LockedL1(const LockedL1 &) = delete;

private:
    void *lock_;
};

void set_l1(void *mm, uint64_t *l2_entry, bool pinned)
{
    Pfn pfn = frame_in(*l2_entry);
    if (glue_page_is_table(pfn.value) == pinned)
        return;
    LockedL1 lock(mm, l2_entry);
    pinned ? table_protect(pfn, 1) : table_release(pfn, 1);
}

// Applies to every table below `table` (an L4's user half, an L3, an L2), then to itself.
void set_below(void *mm, uint64_t *table, unsigned level, unsigned entries, bool pinned)
{
    for (unsigned i = 0; i < entries; i++) {
        if (!(table[i] & entry_present))
            continue;
        if (level == 2) {
            set_l1(mm, &table[i], pinned);
            continue;
        }
        Pfn child = frame_in(table[i]);
        set_below(mm, direct_map<uint64_t>(child), level - 1, 512, pinned);
        if (glue_page_is_table(child.value) != pinned)
            pinned ? table_protect(child, level - 1) : table_release(child, level - 1);
    }
}

} // namespace
} // namespace xen::pv

using namespace xen;
using namespace xen::pv;

// activate_mm, dup_mmap: from here on Xen knows these tables.
extern "C" void xen_pin(void *mm, uint64_t l4_pfn, uint64_t user_l4_pfn)
{
    if (glue_page_is_table(l4_pfn))
        return;
    set_below(mm, direct_map<uint64_t>(Pfn{l4_pfn}), 4, user_entries, true);
    BatchScope together;
    for (uint64_t pfn : {l4_pfn, user_l4_pfn}) {
        table_protect(Pfn{pfn}, 4);
        batch_extended(lazy_none, abi::mmuext_pin_l4_table, to_mfn(Pfn{pfn}).value);
    }
}

// exit_mmap, when no CPU uses the tables any more.
extern "C" void xen_unpin(void *mm, uint64_t l4_pfn, uint64_t user_l4_pfn)
{
    if (!glue_page_is_table(l4_pfn))
        return;
    {
        BatchScope together;
        for (uint64_t pfn : {l4_pfn, user_l4_pfn}) {
            batch_extended(lazy_none, abi::mmuext_unpin_table, to_mfn(Pfn{pfn}).value);
            table_release(Pfn{pfn}, 4);
        }
    }
    set_below(mm, direct_map<uint64_t>(Pfn{l4_pfn}), 4, user_entries, false);
}
