// SPDX-License-Identifier: GPL-2.0-only
// Memory that Xen takes from the domain and gives it (public/memory.h). The pages belong to whoever
// calls, and nothing is in them.
#include <xen/memory.h>

#include "arch.hpp"

using namespace xen;
using namespace xen::pv;

static void put(const uint64_t *pfns, const uint64_t *frames, unsigned begin, unsigned end)
{
    BatchScope scope;
    for (unsigned i = begin; i < end; i++) {
        guest.p2m[pfns[i]] = frames[i];
        batch_set_access(Pfn{pfns[i]}, true);
    }
}

// No mapping may be left: Xen would keep the frame for it, and nobody could save the domain.
extern "C" unsigned xen_arch_give_pages(const uint64_t *pfns, unsigned count)
{
    uint64_t frames[XEN_RESERVATION_MAX];
    {
        BatchScope scope;
        for (unsigned i = 0; i < count; i++) {
            frames[i] = to_mfn(Pfn{pfns[i]}).value;
            batch_call(lazy_mmu, abi::hypercall_update_va_mapping,
                       hypercall_argument(direct_map<void>(Pfn{pfns[i]})), 0, abi::uvmf_none);
            guest.p2m[pfns[i]] = no_frame;
        }
    }
    unsigned done = xen_decrease_reservation(frames, count);
    put(pfns, frames, done, count); // what Xen did not take is ours as before
    return done;
}

extern "C" unsigned xen_arch_take_pages(const uint64_t *pfns, unsigned count)
{
    uint64_t frames[XEN_RESERVATION_MAX]; // ours on the way in, the machine's on the way out
    for (unsigned i = 0; i < count; i++)
        frames[i] = pfns[i];
    unsigned done = xen_populate(frames, count);
    put(pfns, frames, 0, done);
    return done;
}
