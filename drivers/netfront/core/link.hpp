// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the parts of a network frontend (public/io/netif.h) know of the device that they belong to.
#pragma once

#include <xen/lock.hpp>
#include <xen/xenstore.hpp>

#include "netfront.h"
#include "netfront_port.h"

namespace xen {

struct Link {
    void *context = nullptr;
    DomId backend_id;
    Path nodename;
    netfront_features features{}; // of this connection
    bool hashes = false;     // may come: a backend goes on as it was told before this connection
    Atomic<uint32_t> broken; // the backend broke the protocol: nobody touches a ring any more
    Atomic<uint32_t> tx_frames{1}; // netfront_set_coalesce()
    Atomic<uint32_t> pause_ns;

    // The first one gets the one line of log, and ends this connection. Always false.
    bool violation(const char *field, uint64_t value);
};

} // namespace xen
