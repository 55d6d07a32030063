// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Memory of a PV guest as Xen built it ("start-of-day memory layout", public/xen.h): pages behind
// the boot stack, p2m and m2p, mapping of foreign frames (update_va_mapping), the grant table.
// Implements the memory part of port.h.
#include <xen/grant.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "guest.hpp"
#include "internal.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

constexpr uint64_t virt_base = 0xffffffff80000000;
constexpr uint64_t m2p_base = 0xffff800000000000;
constexpr uint64_t pte_rw = 0x63; // present, writable, accessed, dirty

constexpr unsigned windows = 32;
alignas(page_size) constinit uint8_t window_pages[windows][page_size];
constinit unsigned windows_used;

struct FreePage {
    FreePage *next;
};
constinit FreePage *free_pages;
constinit const uint64_t *p2m;

constexpr unsigned grant_frames = 4;
constinit abi::GrantEntryV1 *grant_table;

} // namespace

void guest::memory_init(const abi::StartInfo &info, uint64_t free_start)
{
    // SAFETY: start info's address of the p2m, which the domain builder mapped.
    p2m = reinterpret_cast<const uint64_t *>(info.mfn_list);
    // Xen promises 512 KiB behind the boot stack, up to a multiple of 4 MiB.
    uint64_t end = (free_start + (512 << 10) + (4 << 20) - 1) & ~((4ull << 20) - 1);
    uint64_t memory_end = virt_base + info.nr_pages * page_size;
    if (end > memory_end)
        end = memory_end;
    for (uint64_t page = free_start; page < end; page += page_size) {
        // SAFETY: mapped read-write by the domain builder, and nothing lives there.
        xen_port_page_free(reinterpret_cast<void *>(page));
    }
}

void *xen_port_pages_alloc(unsigned count)
{
    FreePage *page = free_pages;
    if (!page || count != 1) // nobody here needs several in a row
        return nullptr;
    free_pages = page->next;
    __builtin_memset(page, 0, page_size);
    return page;
}

void xen_port_page_free(void *page)
{
    // SAFETY: the caller gives the page up, so it may hold the list.
    FreePage *entry = static_cast<FreePage *>(page);
    entry->next = free_pages;
    free_pages = entry;
}

uint64_t xen_port_frame(const void *page)
{
    return p2m[(reinterpret_cast<uint64_t>(page) - virt_base) >> page_shift];
}

uint64_t guest::machine_to_phys(uint64_t mfn)
{
    // SAFETY: Xen maps its m2p read-only for every guest; mfn is a frame of ours.
    return load_shared(reinterpret_cast<const uint64_t *>(m2p_base)[mfn]);
}

void *guest::frame_to_virt(uint64_t mfn)
{
    // SAFETY: boot allocations are mapped at virt_base in the order of their pfn.
    return reinterpret_cast<void *>(virt_base + (machine_to_phys(mfn) << page_shift));
}

void *guest::window() { return windows_used < windows ? window_pages[windows_used++] : nullptr; }

Status guest::map_frame(void *address, uint64_t mfn)
{
    TRY(hypercall(abi::hypercall_update_va_mapping, address, mfn << page_shift | pte_rw,
                  abi::uvmf_invlpg_local));
    return {};
}

void guest::grants_init()
{
    uint64_t frames[grant_frames];
    auto count = grant_table_frames(frames, grant_frames);
    if (!count.ok())
        tap::bail_out("no grant table");
    void *table = nullptr;
    for (unsigned i = 0; i < count.value(); ++i) {
        void *page = window(); // the first windows: contiguous
        if (!table)
            table = page;
        if (!map_frame(page, frames[i]).ok())
            tap::bail_out("the grant table cannot be mapped");
    }
    // SAFETY: the frames are contiguously mapped now, and stay so.
    grant_table = static_cast<abi::GrantEntryV1 *>(table);
    if (!grant_table_init(grant_table, count.value()).ok())
        tap::bail_out("the grant table is refused");
}

abi::GrantEntryV1 &guest::grant_entry(GrantRef ref) { return grant_table[ref.value]; }

// What the compiler calls for large assignments.
extern "C" void *memset(void *to, int value, size_t size)
{
    void *at = to;
    // SAFETY: the caller's buffer.
    asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

extern "C" void *memcpy(void *to, const void *from, size_t size)
{
    void *at = to;
    // SAFETY: the caller's buffers.
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
    return to;
}

extern "C" int memcmp(const void *left, const void *right, size_t size)
{
    const uint8_t *a = static_cast<const uint8_t *>(left), *b = static_cast<const uint8_t *>(right);
    for (; size; --size, ++a, ++b) {
        if (*a != *b)
            return *a - *b;
    }
    return 0;
}
