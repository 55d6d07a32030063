// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The transmit ring of a network frontend's queue (public/io/netif.h). Each packet is copied into
// pages that stay granted, as many as its length takes and no more: a backend that was told of
// neither 18 slots nor 65535 bytes never sees either exceeded.
//
// The transmit lock of the queue is held wherever nothing else is said.
#pragma once

#include <xen/ring.hpp>

#include "direction.hpp"
#include "netif.hpp"

namespace xen {

constexpr uint16_t no_buffer = 0xffff;

struct Outgoing {
    const netfront_packet &packet;
    void (*copy)(void *cookie, size_t offset, void *to, size_t size);
    void *cookie;
};

class Transmitter final : public Direction {
public:
    // Of a thread, and no lock is needed yet or any more.
    Status allocate();

    void start() { sending_ = true; }
    // Packets on their way are lost.
    void close();

    // True in `notify`: the backend has to be told.
    netfront_verdict transmit(const Outgoing &outgoing, bool more, bool &notify);
    netfront_verdict multicast(const uint8_t *mac, bool add, bool &notify);
    bool flush();

    void reap();
    // There is something to reap; or an event will come, and `progress` is as taken() of a ring.
    bool more(uint32_t &progress);

    void get_statistics(netfront_statistics &statistics) const;

private:
    struct Buffer {
        uint16_t head = no_buffer; // the buffer that its packet begins in; no_buffer: it is free
        uint16_t next = no_buffer; // where the packet goes on
        bool in_flight = false;
        // Of the packet that begins here. Its buffers become free when all have a response.
        bool failed = false;
        uint8_t left = 0;   // buffers without a response
        uint32_t bytes = 0; // 0: it is no packet, but an address for the multicast filter
    };

    bool room(unsigned buffers, unsigned extras) const;
    bool room_for_largest() const;
    bool possible(const netfront_packet &packet) const;
    netfront_verdict full();
    bool waits() const;
    void listen();
    uint16_t take_buffer(uint16_t head, uint16_t last);
    void put_packet(const Outgoing &outgoing);
    bool take_response(unsigned &packets, unsigned &bytes);
    void complete(uint16_t head, unsigned &packets, unsigned &bytes);

    bool sending_ = false; // packets may be put on the ring
    bool full_ = false;    // the kernel was told so
    FrontRing<netif::TxRequest, netif::TxResponse> ring_;
    Buffer buffer_[granted_pages_max];
    uint16_t free_[granted_pages_max]{}; // stack of free buffers
    unsigned free_count_ = 0;
    unsigned extras_ = 0;  // extra-info slots in flight, which get null responses
    unsigned packets_ = 0; // in flight
    netfront_statistics statistics_{};
};

} // namespace xen
