// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The disk's properties as its backend publishes them in xenstore (public/io/blkif.h: sectors,
// sector-size, physical-sector-size, info, feature-flush-cache), checked before anyone uses them.
#pragma once

#include <xen/types.hpp>

#include "blkfront_port.h"

namespace xen::blk {

// Reads and checks them all in the backend's directory. Any error was logged, with the name and the
// value of the key, on behalf of `node`. Sleeps.
Result<blkfront_geometry> read_properties(const char *node, const char *backend);

} // namespace xen::blk
