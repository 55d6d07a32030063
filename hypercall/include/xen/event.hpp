// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels (public/event_channel.h): one object owns one port and closes it; and the defence
// against peers that send events without end.
#pragma once

#include <xen/lock.hpp>
#include <xen/types.hpp>

namespace xen {

// Tells the other end of a port. Never sleeps. EVTCHNOP_send.
void notify(EventPort port);

// The domain was restored: no port that there was exists any more, and its number may be another's.
// What is open stays so, hears nothing, and is to be closed by its owner. Never sleeps.
void forget_event_ports();

// How often that happened.
uint32_t domain_lives();

// When a port's next event is let in. The port is masked from the call of its handler to done(),
// and beyond that for as long as the peer deserves: an honest one sends at most one event for each
// thing that it completes, and never waits here.
class EventThrottle {
public:
    // In the handler: done() will follow.
    void arrived() { due_.store(1); }

    // What the event asked for was looked at, here or elsewhere. `progress` moves by one, at least,
    // with each thing that the peer completed (a ring's taken()); who found it does not matter.
    // Without arrived() it does nothing. A device that its peer broke does not call it: its port
    // stays masked. `pause_ns`: how long the next event has to wait in any case.
    void done(EventPort port, uint32_t progress, uint64_t pause_ns = 0);

private:
    uint64_t next_delay(uint32_t progress, bool &longest);

    Atomic<uint32_t> due_;
    uint32_t progress_ = 0;
    uint32_t credit_ = 1; // events that may still find nothing
    uint32_t idle_ = 0;   // events in a row beyond those
    bool reported_ = false;
};

// Stays where it is while it is open: the handler may use it as soon as there is a port.
class EventChannel {
public:
    using Handler = void (*)(void *context);

    EventChannel() = default;
    EventChannel(const EventChannel &) = delete;
    ~EventChannel() { close(); }

    // Allocates a port that `remote` may bind to, and delivers its events to handler(context),
    // interrupts off, until close(). The handler calls arrived(), and it or somebody else done().
    // busy: it is open. May sleep. EVTCHNOP_alloc_unbound.
    Status listen(DomId remote, Handler handler, void *context);

    // The same with a port that is bound to `remote_port`, on which `remote` listens for this
    // domain. EVTCHNOP_bind_interdomain.
    Status connect(DomId remote, EventPort remote_port, Handler handler, void *context);

    // Takes over a port that somebody else made. May sleep.
    Status adopt(EventPort port, Handler handler, void *context);

    // Nothing, if the domain was restored: the number may be somebody else's. So is done() then.
    void notify() const
    {
        if (is_ours())
            xen::notify(port_);
    }

    // See EventThrottle.
    void arrived() { throttle_.arrived(); }
    void done(uint32_t progress, uint64_t pause_ns = 0)
    {
        if (is_ours())
            throttle_.done(port_, progress, pause_ns);
    }

    // Stops delivery, then closes the port. Idempotent. May sleep; never called by the handler.
    void close();

    bool open() const { return port_.value != 0; }
    EventPort port() const { return port_; }

private:
    bool is_ours() const { return life_ == domain_lives(); }
    Status adopt_or_close(EventPort port, Handler handler, void *context);

    EventPort port_{};  // port 0 is never valid
    uint32_t life_ = 0; // of the domain, that the port belongs to
    EventThrottle throttle_;
};

} // namespace xen
