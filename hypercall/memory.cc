// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The domain's memory, as Xen knows it (public/memory.h).
#include <xen/memory.h>

#include <xen/abi.hpp>
#include <xen/hypercall.hpp>
#include <xen/types.hpp>

using namespace xen;

namespace {

unsigned memory_op(abi::MemoryOp op, uint64_t *frames, unsigned count)
{
    abi::XenMemoryReservation args{frames, count, 0, 0, domid_self.value};
    auto done = hypercall(abi::hypercall_memory_op, op, &args);
    return done.ok() ? static_cast<unsigned>(done.value()) : 0;
}

// Calls each(start, size) for what there is below `end`.
template <class Each>
void for_each_range(uint64_t end, Each each)
{
    constexpr uint32_t type_ram = 1;
    abi::E820Entry entries[XEN_MAP_ENTRIES];
    abi::XenMemoryMap args{XEN_MAP_ENTRIES, entries};
    if (!hypercall(abi::hypercall_memory_op, abi::xenmem_memory_map, &args).ok())
        return;
    for (unsigned i = 0; i < args.nr_entries && i < XEN_MAP_ENTRIES; i++) {
        const abi::E820Entry &entry = entries[i];
        if (entry.type == type_ram && entry.address < end)
            each(entry.address,
                 entry.size < end - entry.address ? entry.size : end - entry.address);
    }
}

} // namespace

extern "C" unsigned xen_memory_map(uint64_t end, uint64_t *start, uint64_t *size)
{
    unsigned n = 0;
    for_each_range(end, [&](uint64_t range_start, uint64_t range_size) {
        start[n] = range_start;
        size[n++] = range_size;
    });
    return n;
}

extern "C" uint64_t xen_memory_most(uint64_t pages, uint64_t limit)
{
    uint64_t most = pages;
    for_each_range(limit << page_shift, [&](uint64_t start, uint64_t size) {
        const uint64_t end = (start + size) >> page_shift;
        if (start >> page_shift < pages && end > pages)
            most = end;
    });
    return most;
}

extern "C" unsigned xen_decrease_reservation(const uint64_t *frames, unsigned count)
{
    // SAFETY: Xen only reads them.
    return memory_op(abi::xenmem_decrease_reservation, const_cast<uint64_t *>(frames), count);
}

extern "C" unsigned xen_populate(uint64_t *frames, unsigned count)
{
    return memory_op(abi::xenmem_populate_physmap, frames, count);
}
