// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels (public/event_channel.h): allocating, notifying and closing ports. Delivery is the
// kernel's (xen_port_event_bind).
#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>

namespace xen {

namespace {

void close_port(EventPort port)
{
    abi::EvtchnPort op{port.value};
    const auto closed = hypercall(abi::hypercall_event_channel_op, abi::evtchnop_close, &op);
    if (!closed.ok()) {
        Line line;
        log_warning(line.text("event port ").number(port.value).text(" does not close"));
    }
}

} // namespace

void notify(EventPort port)
{
    abi::EvtchnPort op{port.value};
    // It fails only for a port whose other end has gone: then there is nobody to tell.
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_send, &op);
}

EventChannel::EventChannel(EventChannel &&other) : port_(std::exchange(other.port_, {})) {}

EventChannel &EventChannel::operator=(EventChannel &&other)
{
    if (this != &other) {
        close();
        port_ = std::exchange(other.port_, {});
    }
    return *this;
}

Result<EventChannel> EventChannel::listen(DomId remote, Handler handler, void *context)
{
    abi::EvtchnAllocUnbound op{domid_self.value, remote.value, 0};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_alloc_unbound, &op));
    const EventPort port{op.port};
    auto channel = adopt(port, handler, context);
    if (!channel.ok())
        close_port(port);
    return channel;
}

Result<EventChannel> EventChannel::adopt(EventPort port, Handler handler, void *context)
{
    if (port.value == 0 || port.value >= abi::max_event_ports)
        return Error::range;
    const int rc = xen_port_event_bind(port.value, handler, context);
    if (rc < 0)
        return static_cast<Error>(-rc);
    EventChannel channel;
    channel.port_ = port;
    return channel;
}

void EventChannel::close()
{
    if (!open())
        return;
    const EventPort port = std::exchange(port_, {});
    xen_port_event_unbind(port.value);
    close_port(port);
}

} // namespace xen
