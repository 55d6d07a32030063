// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Event channels (public/event_channel.h): one object owns one port and closes it.
#pragma once

#include <xen/types.hpp>

namespace xen {

// Tells the other end of a port. Never sleeps. EVTCHNOP_send.
void notify(EventPort port);

class EventChannel {
public:
    using Handler = void (*)(void *context);

    EventChannel() = default;
    EventChannel(EventChannel &&other);
    EventChannel &operator=(EventChannel &&other);
    EventChannel(const EventChannel &) = delete;
    ~EventChannel() { close(); }

    // Allocates a port that `remote` may bind to, and delivers its events to handler(context),
    // interrupts off, until close(). May sleep. EVTCHNOP_alloc_unbound.
    static Result<EventChannel> listen(DomId remote, Handler handler, void *context);

    // Takes over a port that Xen or the toolstack made (xenstore, console). May sleep.
    static Result<EventChannel> adopt(EventPort port, Handler handler, void *context);

    void notify() const { xen::notify(port_); }

    // Stops delivery, then closes the port. Idempotent. May sleep; never called by the handler.
    void close();

    bool open() const { return port_.value != 0; }
    EventPort port() const { return port_; }

private:
    EventPort port_{}; // port 0 is never valid
};

} // namespace xen
