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

void blkfront_expire(blkfront *disk, blkfront_result result) { disk->disk.expire(result); }

void blkfront_restored(blkfront *disk, const char *backend, uint16_t backend_domain)
{
    disk->disk.restored(backend, xen::DomId{backend_domain});
}

int blkfront_submit(blkfront *disk, blkfront_request *request)
{
    xen::blk::Queue &queue = disk->disk.queue(request->queue, request->polled);
    return xen::to_errno(queue.submit(*request).error());
}

void blkfront_commit(blkfront *disk, uint16_t queue, bool polled)
{
    disk->disk.queue(queue, polled).commit();
}

unsigned blkfront_poll(blkfront *disk, uint16_t queue, bool polled)
{
    return disk->disk.queue(queue, polled).poll();
}

void blkfront_retry_held(blkfront *disk) { disk->disk.retry_held(); }

void blkfront_age(blkfront *disk) { disk->disk.age(); }

unsigned blkfront_in_flight(const blkfront *disk) { return disk->disk.in_flight(); }

bool blkfront_queue_statistics(const blkfront *disk, uint16_t queue,
                               blkfront_statistics *statistics)
{
    return disk->disk.statistics(queue, *statistics);
}

void blkfront_detach(blkfront *disk) { disk->disk.detach(); }

} // extern "C"
