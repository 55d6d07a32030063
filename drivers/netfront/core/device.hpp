// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network frontend with one queue (public/io/netif.h): negotiation in xenstore, one ring each
// way, one event channel.
//
// Packets are copied both ways through pages that stay granted for the whole connection. So no
// buffer of the kernel is ever granted; no packet is looked at while the backend can change it; and
// nothing is granted or revoked on the I/O path.
//
// The backend is not trusted. Its first violation of the protocol breaks the device: one line of
// log, no ring access any more, grants revoked, state Closing. When the backend comes back
// (InitWait) the device connects again.
#pragma once

#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/ring.hpp>
#include <xen/xenstore.hpp>

#include "granted_pages.hpp"
#include "mac.hpp"
#include "netfront.h"
#include "netfront_port.h"
#include "netif.hpp"

namespace xen {

// How many packets can be on their way out: 512 KiB of buffers.
constexpr unsigned tx_buffers = 128;
// Every slot of the receive ring has a buffer of its own, for good.
constexpr unsigned rx_buffers = netif::rx_ring_slots;
static_assert(tx_buffers <= netif::tx_ring_slots);
static_assert(netif::tx_ring_slots == ring_slots(page_size, sizeof(netif::TxRequest)));
static_assert(netif::rx_ring_slots == ring_slots(page_size, sizeof(netif::RxRequest)));

// A page of this guest's that the backend maps as a ring.
class RingPage final {
public:
    Status allocate(DomId peer);
    // Revokes and frees. False: the backend holds on to it; to be tried again. Idempotent.
    bool release();
    // The same for the last time: what the backend holds on to goes to quarantine.
    void abandon();

    void *page() { return page_; }
    GrantRef grant() const { return grant_.ref(); }

private:
    void *page_ = nullptr;
    Grant grant_;
};

class NetFront final {
public:
    NetFront() = default;
    NetFront(const NetFront &) = delete;

    Status create(const netfront_config &config, netif::MacAddress &mac);
    void backend_changed(XenbusState state);
    void handle_broken();
    void remove();

    netfront_verdict transmit(const void *packet, size_t length);
    unsigned poll(unsigned budget);
    bool rearm();
    void get_counters(netfront_counters &counters);

private:
    // Who may touch the rings.
    enum class Link {
        down,     // nobody: there may be no rings
        attached, // polls: the rings are published, the backend is not there yet
        up,       // transmits, too
        broken,   // nobody: the backend broke the protocol
    };

    // Holds the port's lock for a scope.
    class Locked {
    public:
        explicit Locked(NetFront &front) : context_(front.context_)
        {
            netfront_port_lock(context_);
        }
        Locked(const Locked &) = delete;
        ~Locked() { netfront_port_unlock(context_); }

    private:
        void *context_;
    };

    // lifecycle (device.cc); threads
    static void on_event(void *self);
    void connect();
    Status allocate();
    Status publish();
    void backend_ready();
    void backend_closed();
    void quiesce();
    void retire();
    bool release();
    void set_closed();
    void give_up(const char *why, Error error);
    Status set_state(XenbusState state);

    // rings (rings.cc); the lock is held
    void start_rings();
    void reap_transmitted();
    unsigned receive(unsigned budget);
    bool check_received(const netif::RxResponse &response, unsigned slot);
    void deliver(const netif::RxResponse &response, unsigned slot);
    void post_receive_buffer();
    void violation(const char *field, uint64_t value);
    bool usable() const { return link_ == Link::attached || link_ == Link::up; }

    void *context_ = nullptr;
    Path nodename_;
    Path backend_;
    DomId backend_id_;

    XenbusState state_ = XenbusState::unknown;         // ours, as last written
    XenbusState backend_state_ = XenbusState::unknown; // as last reported
    bool gave_up_ = false;   // the next connection is for the backend to start
    bool announced_ = false; // the kernel was told that packets pass

    Link link_ = Link::down; // changes under the lock
    EventChannel event_;
    RingPage tx_page_;
    RingPage rx_page_;
    FrontRing<netif::TxRequest, netif::TxResponse> tx_ring_;
    FrontRing<netif::RxRequest, netif::RxResponse> rx_ring_;
    GrantedPages tx_pages_;
    GrantedPages rx_pages_;
    uint16_t tx_length_[tx_buffers]{}; // of the packet in flight in each buffer; 0: it is free
    uint16_t tx_free_[tx_buffers]{};   // stack of free buffers
    unsigned tx_free_count_ = 0;
    netfront_counters counters_{};
};

} // namespace xen
