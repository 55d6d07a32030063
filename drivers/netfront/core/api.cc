// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The network frontend's core as C functions: netfront.h.
#include <new>

#include "device.hpp"

namespace {

xen::NetFront &core(netfront *device)
{
    // SAFETY: the only netfront pointers there are come from netfront_create().
    return *reinterpret_cast<xen::NetFront *>(device);
}

} // namespace

size_t netfront_object_size(void)
{
    static_assert(alignof(xen::NetFront) <= 16);
    return sizeof(xen::NetFront);
}

int netfront_create(void *memory, const netfront_config *config, uint8_t *mac, netfront **device)
{
    auto *front = new (memory) xen::NetFront;
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

void netfront_handle_broken(netfront *device) { core(device).handle_broken(); }

void netfront_remove(netfront *device) { core(device).remove(); }

netfront_verdict netfront_transmit(netfront *device, const void *packet, size_t length)
{
    return core(device).transmit(packet, length);
}

unsigned netfront_poll(netfront *device, unsigned budget) { return core(device).poll(budget); }

bool netfront_rearm(netfront *device) { return core(device).rearm(); }

void netfront_get_counters(netfront *device, netfront_counters *counters)
{
    core(device).get_counters(*counters);
}
