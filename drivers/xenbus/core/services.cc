// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Starts what all devices share: the grant table and the xenstore client.

#include <xen/event.hpp>
#include <xen/grant.hpp>
#include <xen/xenstore.hpp>

#include "xenbus_core.h"

using namespace xen;

// 16,384 grants: some 24 disks and 8 network interfaces at once.
constexpr unsigned grant_frames = 32;

static constinit void *table = nullptr;
static constinit unsigned table_frames = 0;

static Status start_grants()
{
    uint64_t frames[grant_frames];
    table_frames = TRY(grant_table_frames(frames, grant_frames));
    table = xenbus_port_map_frames(frames, table_frames);
    if (!table)
        return Error::no_memory;
    // SAFETY: the kernel mapped the frames that Xen just named, side by side.
    return grant_table_init(static_cast<abi::GrantEntryV1 *>(table), table_frames);
}

// The table of a domain that was restored is empty: what was granted is so no more, and its owners,
// who do not know yet, will find that the other side has let go of it.
static Status resume_grants()
{
    uint64_t frames[grant_frames];
    const unsigned count = TRY(grant_table_frames(frames, table_frames));
    if (count < table_frames)
        TRY(grant_table_shrink(count));
    table_frames = count;
    xenbus_port_remap_frames(table, frames, table_frames);
    return {};
}

extern "C" int xenbus_core_start_grants() { return to_errno(start_grants().error()); }

extern "C" void xenbus_core_suspend_shared()
{
    xenbus_port_remap_frames(table, nullptr, table_frames);
}

extern "C" int xenbus_core_resume_shared(bool restored)
{
    if (restored)
        forget_event_ports();
    return to_errno(resume_grants().error());
}

extern "C" void xenbus_core_reclaim_grants() { (void)reclaim_grants(); }

extern "C" int xenbus_core_start_store(void *ring, uint32_t port)
{
    return to_errno(xenstore::start(ring, EventPort{port}).error());
}

extern "C" int xenbus_core_suspend_store() { return to_errno(xenstore::suspend().error()); }

extern "C" void xenbus_core_resume_store() { xenstore::resume(); }

extern "C" int xenbus_core_restore_store(void *ring, uint32_t port)
{
    return to_errno(xenstore::resume_restored(ring, EventPort{port}).error());
}

extern "C" void xenbus_core_store_round() { xenstore::run_once(); }
