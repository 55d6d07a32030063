// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels (public/event_channel.h): allocating, notifying and closing ports. Delivery is the
// kernel's (xen_port_event_bind); how fast it may be is decided here.
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

// Events beyond an honest peer's: the first of them costs this, each further one twice as much, up
// to about a second.
constexpr uint64_t first_delay = 1'000'000; // nanoseconds
constexpr uint32_t doublings = 10;
// What a peer that completes many things with few events may save up.
constexpr uint32_t credit_max = 32;

// How often the domain was restored.
constinit Atomic<uint32_t> lives;

} // namespace

uint64_t EventThrottle::next_delay(uint32_t progress, bool &longest)
{
    const uint32_t moved = progress - progress_;
    progress_ = progress;
    if (moved > 0 && credit_ == 0)
        credit_ = 1; // the first one is free again
    credit_ = moved < credit_max - credit_ ? credit_ + moved : credit_max;
    if (credit_ > 0) {
        --credit_;
        idle_ = 0;
        return 0;
    }
    const uint64_t delay = first_delay << idle_;
    longest = idle_ == doublings;
    if (!longest)
        ++idle_;
    return delay;
}

void EventThrottle::done(EventPort port, uint32_t progress, uint64_t pause_ns)
{
    if (due_.exchange(0) == 0)
        return;
    bool longest = false;
    const uint64_t needed = next_delay(progress, longest);
    const uint64_t delay = needed > pause_ns ? needed : pause_ns;
    if (longest && !reported_) {
        reported_ = true;
        Line line;
        line.text("event port ").number(port.value);
        log_warning(line.text(" is slowed down: its other end sends events for nothing"));
    }
    xen_port_event_done(port.value, delay); // last: the next event may come at once
}

void notify(EventPort port)
{
    abi::EvtchnPort op{port.value};
    // It fails only for a port whose other end has gone: then there is nobody to tell.
    (void)hypercall(abi::hypercall_event_channel_op, abi::evtchnop_send, &op);
}

Status EventChannel::listen(DomId remote, Handler handler, void *context)
{
    if (open())
        return Error::busy;
    abi::EvtchnAllocUnbound op{domid_self.value, remote.value, 0};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_alloc_unbound, &op));
    return adopt_or_close(EventPort{op.port}, handler, context);
}

Status EventChannel::connect(DomId remote, EventPort remote_port, Handler handler, void *context)
{
    if (open())
        return Error::busy;
    abi::EvtchnBindInterdomain op{remote.value, remote_port.value, 0};
    TRY(hypercall(abi::hypercall_event_channel_op, abi::evtchnop_bind_interdomain, &op));
    return adopt_or_close(EventPort{op.local_port}, handler, context);
}

Status EventChannel::adopt_or_close(EventPort port, Handler handler, void *context)
{
    const Status status = adopt(port, handler, context);
    if (!status.ok())
        close_port(port);
    return status;
}

Status EventChannel::adopt(EventPort port, Handler handler, void *context)
{
    if (open())
        return Error::busy;
    if (port.value == 0 || port.value >= abi::max_event_ports)
        return Error::range;
    port_ = port;
    life_ = lives.load();
    throttle_ = {};
    const int rc = xen_port_event_bind(port.value, handler, context);
    if (rc == 0)
        return {};
    port_ = {};
    return static_cast<Error>(-rc);
}

void EventChannel::close()
{
    if (!open())
        return;
    if (is_ours()) { // or it is somebody else's by now
        xen_port_event_unbind(port_.value);
        close_port(port_);
    }
    port_ = {};
}

void forget_event_ports() { lives.add(1); }
uint32_t domain_lives() { return lives.load(); }

} // namespace xen
