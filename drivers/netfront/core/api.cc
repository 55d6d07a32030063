// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The network frontend's core as C functions: netfront.h.
#include <new>

#include "device.hpp"

namespace {

// The device comes first, its queues behind it.
constexpr size_t queues_at = (sizeof(xen::NetFront) + 15) & ~size_t{15};
static_assert(alignof(xen::NetFront) <= 16 && alignof(xen::Queue) <= 16);

xen::NetFront &core(netfront *device)
{
    // SAFETY: the only netfront pointers there are come from netfront_create().
    return *reinterpret_cast<xen::NetFront *>(device);
}

} // namespace

size_t netfront_object_size(unsigned queues_max)
{
    return queues_at + queues_max * sizeof(xen::Queue);
}

int netfront_create(void *memory, const netfront_config *config, uint8_t *mac, netfront **device)
{
    // SAFETY: netfront_object_size() has room for so many.
    auto *queues = reinterpret_cast<xen::Queue *>(static_cast<char *>(memory) + queues_at);
    for (unsigned i = 0; i < config->queues_max; i++)
        new (&queues[i]) xen::Queue;
    auto *front = new (memory) xen::NetFront(queues, config->queues_max);
    xen::netif::MacAddress address;
    if (auto status = front->create(*config, address); !status.ok())
        return xen::to_errno(status.error());
    __builtin_memcpy(mac, address.bytes, sizeof address.bytes);
    // SAFETY: `netfront` is never defined; core() undoes this.
    *device = reinterpret_cast<netfront *>(front);
    return 0;
}

void netfront_backend_changed(netfront *device, unsigned state)
{
    // read_state() of the library let only known states through, but the number came by way of C.
    constexpr auto last = static_cast<unsigned>(xen::XenbusState::reconfigured);
    core(device).backend_changed(state <= last ? static_cast<xen::XenbusState>(state)
                                               : xen::XenbusState::unknown);
}

void netfront_work(netfront *device) { core(device).work(); }

void netfront_retry(netfront *device) { core(device).retry(); }

void netfront_reconnect(netfront *device) { core(device).reconnect(); }

void netfront_hash_changed(netfront *device) { core(device).hash_changed(); }

int netfront_filter_multicast(netfront *device, bool on)
{
    return xen::to_errno(core(device).filter_multicast(on).error());
}

void netfront_restored(netfront *device, const char *backend, uint16_t backend_id)
{
    core(device).restored(backend, xen::DomId{backend_id});
}

void netfront_remove(netfront *device) { core(device).remove(); }

netfront_verdict netfront_transmit(netfront *device, unsigned queue, const netfront_packet *packet,
                                   void (*copy)(void *cookie, size_t offset, void *to, size_t size),
                                   void *cookie, bool more)
{
    xen::Queue *to = core(device).queue(queue);
    return to ? to->transmit({*packet, copy, cookie}, more) : NETFRONT_DROPPED;
}

void netfront_flush(netfront *device, unsigned queue)
{
    if (xen::Queue *to = core(device).queue(queue))
        to->flush();
}

netfront_verdict netfront_multicast(netfront *device, const uint8_t *mac, bool add)
{
    return core(device).queue(0)->multicast(mac, add);
}

unsigned netfront_poll(netfront *device, unsigned queue, unsigned budget)
{
    xen::Queue *from = core(device).queue(queue);
    return from ? from->poll(budget) : 0;
}

bool netfront_rearm(netfront *device, unsigned queue)
{
    xen::Queue *from = core(device).queue(queue);
    return from && from->rearm();
}

void netfront_set_coalesce(netfront *device, unsigned tx_frames, uint32_t pause_ns)
{
    core(device).set_coalesce(tx_frames, pause_ns);
}

bool netfront_get_statistics(netfront *device, unsigned queue, netfront_statistics *statistics)
{
    xen::Queue *of = core(device).queue(queue);
    if (of)
        of->get_statistics(*statistics);
    return of;
}
