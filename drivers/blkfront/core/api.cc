// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The core as the kernel around it sees it: blkfront_port.h over class Disk.
#include <new>

#include "disk.hpp"

struct blkfront {
    xen::blk::Disk disk;
};
static_assert(alignof(blkfront) <= 8);

extern "C" {

size_t blkfront_object_size(void) { return sizeof(blkfront); }

void blkfront_init(blkfront *disk, void *owner, const char *node, const char *backend,
                   uint16_t backend_domain, uint32_t id)
{
    new (disk) blkfront{{owner, node, backend, xen::DomId{backend_domain}, id}};
}

void blkfront_backend_changed(blkfront *disk, unsigned state)
{
    disk->disk.backend_changed(static_cast<xen::XenbusState>(state));
}

void blkfront_work(blkfront *disk) { disk->disk.work(); }

void blkfront_users_left(blkfront *disk) { disk->disk.users_left(); }

int blkfront_submit(blkfront *disk, const blkfront_request *request)
{
    return xen::to_errno(disk->disk.queue().submit(*request).error());
}

void blkfront_retry_held(blkfront *disk) { disk->disk.queue().retry_held(); }

unsigned blkfront_in_flight(const blkfront *disk) { return disk->disk.queue().in_flight(); }

void blkfront_detach(blkfront *disk) { disk->disk.detach(); }

} // extern "C"
