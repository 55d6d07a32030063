// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A queue of a network frontend (public/io/netif.h): one ring each way with its buffers, and one
// event channel or two. Takes the port's locks.
#pragma once

#include <xen/event.hpp>

#include "receiver.hpp"
#include "transmitter.hpp"

namespace xen {

class Queue final {
public:
    Queue() = default;
    Queue(const Queue &) = delete;
    void init(Link &link, unsigned index);

    // ---- lifecycle: of a thread ----
    // Rings with their buffers, and the events: the backend may begin. After an error, too,
    // release() has to follow.
    Status open();
    // Writes the keys of this queue.
    Status publish(const char *directory) const;
    // The backend is there: packets may be sent.
    void start();
    // No packet from now on. The pages stay granted.
    void close();
    void close_events();
    // Takes the pages back. False: the backend has some of them mapped; they stay this queue's.
    bool release();
    void abandon();
    // Writes the grants of the first buffers; returns how many.
    unsigned list_buffers(netif::StaticGrant *list, unsigned most) const;

    // ---- packets ----
    netfront_verdict transmit(const Outgoing &outgoing, bool more);
    netfront_verdict multicast(const uint8_t *mac, bool add);
    void flush();
    unsigned poll(unsigned budget);
    bool rearm();
    void get_statistics(netfront_statistics &statistics);

private:
    // Holds one of the port's locks for a scope.
    class Locked {
    public:
        Locked(Queue &queue, bool transmit) : queue_(queue), transmit_(transmit)
        {
            netfront_port_lock(queue.link_->context, queue.index_, transmit);
        }
        Locked(const Locked &) = delete;
        ~Locked() { netfront_port_unlock(queue_.link_->context, queue_.index_, transmit_); }

    private:
        Queue &queue_;
        bool transmit_;
    };

    static void on_event(void *self);
    static void on_transmit_event(void *self);
    void event(EventChannel &channel);
    void notify_transmit() const { (tx_event_.open() ? tx_event_ : event_).notify(); }

    Link *link_ = nullptr;
    unsigned index_ = 0;
    Transmitter transmitter_;
    Receiver receiver_;
    EventChannel event_;    // for received packets, and those sent if there is no other
    EventChannel tx_event_; // split event channels
    Atomic<uint64_t> events_;
};

} // namespace xen
