// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Starts what all devices share: the grant table and the xenstore client.

#include <xen/grant.hpp>
#include <xen/xenstore.hpp>

#include "xenbus_core.h"

using namespace xen;

// 16,384 grants: some 24 disks and 8 network interfaces at once.
constexpr unsigned grant_frames = 32;

static Status start_grants()
{
    uint64_t frames[grant_frames];
    const unsigned count = TRY(grant_table_frames(frames, grant_frames));
    void *table = xenbus_port_map_frames(frames, count);
    if (!table)
        return Error::no_memory;
    // SAFETY: the kernel mapped the frames that Xen just named, side by side.
    return grant_table_init(static_cast<abi::GrantEntryV1 *>(table), count);
}

extern "C" int xenbus_core_start_grants() { return to_errno(start_grants().error()); }

extern "C" void xenbus_core_reclaim_grants() { (void)reclaim_grants(); }

extern "C" int xenbus_core_start_store(void *ring, uint32_t port)
{
    return to_errno(xenstore::start(ring, EventPort{port}).error());
}

extern "C" void xenbus_core_store_round() { xenstore::run_once(); }
