// SPDX-License-Identifier: GPL-2.0-only
// What the parts of the PV port share: what Xen told us at start of day, address translation, and
// the few services of Linux that C++ calls (glue/, prefixed glue_).
#pragma once

#include <xen/abi.hpp>
#include <xen/abi_pv.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>

extern "C" {
// ---- services of Linux (glue/) ----

// What paravirt_get_lazy_mode() says.
enum LazyMode : int { lazy_none = 0, lazy_mmu = 1, lazy_cpu = 2 };
int glue_lazy_mode(void);
// The CPU this runs on, and its batch (core/batch.cc), in per-CPU memory. Interrupts are off.
unsigned glue_cpu(void);
void *glue_batch_memory(void);
// Prints what Xen refused and stops the machine: our own page tables no longer are what we think.
[[gnu::cold]] void glue_hypercall_failed(unsigned long op, long result, unsigned long a1,
                                         unsigned long a2);
// The page flag that says "read-only, known to Xen as a table" (PG_pinned).
bool glue_page_is_table(uint64_t pfn);
void glue_page_set_table(uint64_t pfn, bool is_table);
// The page in which mm's user-mode L4 lives, 0 if it has none.
uint64_t glue_user_l4_pfn(uint64_t pfn);
// Locks the L1 table that *l2_entry of `mm` points to; returns what glue_unlock_table() takes.
void *glue_lock_table(void *mm, uint64_t *l2_entry);
void glue_unlock_table(void *lock);
}

namespace xen::pv {

constexpr uint64_t kernel_map_base = 0xffffffff80000000; // __START_KERNEL_map
constexpr uint64_t direct_map_base = 0xffff888000000000; // __PAGE_OFFSET, four levels
constexpr uint64_t m2p_base = 0xffff800000000000;        // public/arch-x86/xen-x86_64.h

constexpr uint64_t entry_present = 1u << 0;
constexpr uint64_t entry_writable = 1u << 1;
constexpr uint64_t entry_frame_mask = 0x000ffffffffff000;
constexpr uint64_t entry_no_execute = 1ull << 63;
// A kernel page of the direct map, read-only: present, accessed, dirty, no-execute.
constexpr uint64_t page_read_only = entry_no_execute | 0x61;
constexpr uint64_t page_read_write = page_read_only | entry_writable;

struct Guest {
    abi::StartInfo *start_info;
    abi::SharedInfo *shared_info;
    uint64_t *p2m;           // the linear list, one machine frame for each of ours
    uint64_t pages;          // for which there are entries
    uint64_t most_pages;     // for which there may be some later
    uint64_t machine_frames; // entries in m2p
    bool frames_translated;  // Xen translates frames itself (PVH): mfn and pfn are one
    bool struct_pages_exist; // false while only memblock knows the memory
};
extern Guest guest;

constexpr uint64_t no_frame = ~0ull;

inline Mfn to_mfn(Pfn pfn)
{
    if (guest.frames_translated)
        return Mfn{pfn.value};
    return Mfn{pfn.value < guest.pages ? guest.p2m[pfn.value] : no_frame};
}

// no_frame: not a frame of this guest.
Pfn to_pfn(Mfn mfn);
void machine_frames_init(); // the size of Xen's table, which is each host's own

// Where the kernel's image or the direct map place an address.
inline uint64_t physical_address(const void *p)
{
    // SAFETY: an address is only taken apart, not dereferenced.
    auto address = reinterpret_cast<uint64_t>(p);
    return address >= kernel_map_base ? address - kernel_map_base : address - direct_map_base;
}
inline Pfn to_pfn(const void *p) { return Pfn{physical_address(p) >> page_shift}; }
inline Mfn to_mfn(const void *p) { return to_mfn(to_pfn(p)); }
inline uint64_t machine_address(const void *p)
{
    return to_mfn(p).value << page_shift | (physical_address(p) & (page_size - 1));
}
template <class T>
inline T *direct_map(Pfn pfn)
{
    // SAFETY: the direct map covers every frame of the guest (the first ones from the start).
    return reinterpret_cast<T *>(direct_map_base + (pfn.value << page_shift));
}

// ---- hypercalls that may wait for more (core/batch.cc) ----

// Queues any hypercall; it goes out at once unless Linux is in lazy mode `lazy`.
void batch_call(LazyMode lazy, abi::Hypercall op, uint64_t a1, uint64_t a2 = 0, uint64_t a3 = 0,
                uint64_t a4 = 0);
// Queues *entry = value, checked by Xen (HYPERVISOR_mmu_update).
void batch_update(uint64_t machine_address_and_command, uint64_t value);
// Queues an extended operation (HYPERVISOR_mmuext_op).
void batch_extended(LazyMode lazy, abi::MmuextCommand command, uint64_t arg1, uint64_t arg2 = 0);
void batch_flush();

// Makes the direct map's page writable or not (HYPERVISOR_update_va_mapping).
void batch_set_access(Pfn pfn, bool writable);

// Several batched operations that must not be torn apart or left waiting.
class BatchScope {
public:
    BatchScope();
    ~BatchScope();
    BatchScope(const BatchScope &) = delete;

private:
    unsigned long flags_;
};

} // namespace xen::pv
