// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the backend publishes in xenstore (public/io/blkif.h), checked before anyone uses it: how it
// is talked to, and the disk's properties. Any error was logged, with the name and the value of the
// key, on behalf of `node`. Sleeps.
#pragma once

#include <xen/types.hpp>

#include "blkfront_port.h"

namespace xen::blk {

// How many queues of which size there will be.
struct Layout {
    unsigned queues = 1; // with interrupts
    unsigned polled_queues = 0;
    unsigned ring_pages = 1;
    unsigned count() const { return queues + polled_queues; }
};

// As much of what is wished as the backend can do.
Result<Layout> read_layout(const char *node, const char *backend, const blkfront_wishes &wishes);

// All of blkfront_geometry but what the layout and the kernel decide.
Result<blkfront_geometry> read_properties(const char *node, const char *backend);

} // namespace xen::blk
