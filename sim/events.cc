// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Simulated event channels. A guest's handler runs at once when interrupts are on; a peer's runs in
// step().
#include <cerrno>
#include <map>
#include <optional>

#include <xen/abi.hpp>
#include <xen/port.h>
#include <xen/types.hpp>

#include "internal.hpp"
#include "sim.hpp"

namespace sim {

namespace {

struct PeerEnd {
    uint16_t domid;
    bool bound = false;
    bool pending = false;
    std::function<void()> on_event;
};

struct GuestPort {
    PeerEnd peer;
    bool store = false; // xenstored's
    bool pending = false;
    bool running = false;
    bool masked = false; // from its handler's call to xen_port_event_done()
    std::optional<uint64_t> unmask_at;
    void (*handler)(void *) = nullptr;
    void *context = nullptr;
};

std::map<uint32_t, GuestPort> ports;
uint32_t next_port;
uint32_t store_port;
bool store_event;
unsigned delayed;

GuestPort *find(uint32_t port)
{
    const auto it = ports.find(port);
    return it == ports.end() ? nullptr : &it->second;
}

long send(uint32_t number)
{
    GuestPort *port = find(number);
    if (port == nullptr)
        return -EINVAL;
    if (port->store)
        store_event = true;
    else if (port->peer.bound)
        port->peer.pending = true;
    return 0;
}

} // namespace

namespace internal {

void boot_events()
{
    ports.clear();
    next_port = 3;
    store_event = false;
    delayed = 0;
}

uint32_t open_store_port()
{
    store_port = next_port++;
    ports[store_port].store = true;
    return store_port;
}

void raise_store() { raise_guest(store_port); }

bool take_store_event() { return std::exchange(store_event, false); }

long event_hypercall(unsigned command, void *argument)
{
    switch (command) {
    case xen::abi::evtchnop_alloc_unbound: {
        auto *op = static_cast<xen::abi::EvtchnAllocUnbound *>(argument);
        if (op->dom != xen::domid_self.value)
            return -EPERM;
        ports[next_port].peer.domid = op->remote_dom;
        op->port = next_port++;
        return 0;
    }
    case xen::abi::evtchnop_send:
        return send(static_cast<xen::abi::EvtchnPort *>(argument)->port);
    case xen::abi::evtchnop_close: {
        const uint32_t number = static_cast<xen::abi::EvtchnPort *>(argument)->port;
        const GuestPort *port = find(number);
        if (port == nullptr)
            return -EINVAL;
        if (port->handler != nullptr)
            fatal("event port closed while it has a handler");
        ports.erase(number);
        return 0;
    }
    default:
        return -ENOSYS;
    }
}

void raise_guest(uint32_t number)
{
    GuestPort *port = find(number);
    if (port == nullptr)
        return;
    port->pending = true;
    if (interrupts_on())
        deliver_events();
}

void deliver_events()
{
    for (auto it = ports.begin(); it != ports.end();) {
        GuestPort &port = it->second;
        if (port.unmask_at && *port.unmask_at <= now()) {
            port.unmask_at.reset();
            port.masked = false;
        }
        if (!port.pending || port.masked || port.handler == nullptr) {
            ++it;
            continue;
        }
        note_activity();
        port.pending = false;
        port.running = port.masked = true;
        enter_handler();
        port.handler(port.context);
        leave_handler();
        port.running = false;
        it = ports.begin(); // the handler may have changed anything
    }
}

bool step_events()
{
    bool any = false;
    std::vector<uint32_t> numbers;
    for (const auto &[number, port] : ports)
        numbers.push_back(number);
    for (const uint32_t number : numbers) {
        GuestPort *port = find(number);
        if (port == nullptr || !port->peer.pending || !port->peer.on_event)
            continue;
        note_activity();
        any = true;
        port->peer.pending = false;
        const auto on_event = port->peer.on_event; // it may close its port
        on_event();
    }
    return any;
}

} // namespace internal

using namespace internal;

unsigned delayed_events() { return delayed; }

uint32_t Peer::bind(uint32_t guest_port, std::function<void()> on_event)
{
    GuestPort *port = find(guest_port);
    if (port == nullptr || port->store || port->peer.bound || port->peer.domid != domid_)
        return 0;
    port->peer.bound = true;
    port->peer.pending = true; // Xen marks a fresh channel
    port->peer.on_event = std::move(on_event);
    ports_.push_back(guest_port);
    return guest_port;
}

void Peer::notify(uint32_t port) { raise_guest(port); }

bool Peer::take_event(uint32_t number)
{
    GuestPort *port = find(number);
    return port != nullptr && std::exchange(port->peer.pending, false);
}

void Peer::close(uint32_t number)
{
    std::erase(ports_, number);
    if (GuestPort *port = find(number))
        port->peer = {domid_, false, false, {}};
}

} // namespace sim

extern "C" {

using sim::internal::fatal;
using sim::internal::must_be_able_to_sleep;

int xen_port_event_bind(uint32_t number, void (*handler)(void *), void *context)
{
    must_be_able_to_sleep(__func__);
    sim::GuestPort *port = sim::find(number);
    if (port == nullptr || port->handler != nullptr)
        return -EINVAL;
    port->handler = handler;
    port->context = context;
    sim::internal::deliver_events();
    return 0;
}

void xen_port_event_unbind(uint32_t number)
{
    must_be_able_to_sleep(__func__);
    sim::GuestPort *port = sim::find(number);
    if (port == nullptr)
        return;
    if (port->running)
        fatal("event handler unbinds itself");
    port->handler = nullptr;
    port->masked = false;
    port->unmask_at.reset();
}

void xen_port_event_done(uint32_t number, uint64_t delay_ns)
{
    sim::GuestPort *port = sim::find(number);
    if (port == nullptr || port->handler == nullptr)
        return;
    if (!port->masked || port->unmask_at)
        fatal("event port unmasked that was not masked");
    sim::delayed += delay_ns > 0;
    port->unmask_at = sim::now() + delay_ns;
    if (sim::internal::interrupts_on())
        sim::internal::deliver_events();
}

} // extern "C"
