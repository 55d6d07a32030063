// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The receive ring of a network frontend's queue (public/io/netif.h). Every slot has a buffer of
// its own, or shares it with the slot that comes so many buffers later: that is posted when the
// earlier one was taken. A packet is looked at when it was copied out.
//
// The receive lock of the queue is held wherever nothing else is said.
#pragma once

#include <xen/ring.hpp>

#include "direction.hpp"
#include "netif.hpp"

namespace xen {

class Receiver final : public Direction {
public:
    // Of a thread, and no lock is needed yet or any more.
    Status allocate();

    // Returns the number of packets. True in `notify`: the backend has to be told.
    unsigned receive(unsigned budget, bool &notify);
    // There is something to receive; or an event will come, and `progress` is as taken() of a ring.
    bool more(uint32_t &progress);

    void get_statistics(netfront_statistics &statistics) const;

private:
    // A packet as the backend describes it, copied from the ring and checked.
    struct Chain {
        struct Piece {
            const char *data;
            uint32_t size;
        };
        Piece pieces[NETFRONT_RECEIVE_SLOTS];
        unsigned count = 0; // of them
        unsigned slots = 0; // with extra-info
        bool damaged = false;
        netfront_packet packet{};
    };

    bool take_chain(Chain &chain, uint32_t available);
    bool take_slot(Chain &chain, uint32_t available, uint16_t &flags);
    bool take_extras(Chain &chain, uint32_t available);
    bool take_extra(Chain &chain, const netif::ExtraInfo &extra);
    void deliver(const Chain &chain);
    bool copy_out(const Chain &chain);
    void post_buffer();

    FrontRing<netif::RxRequest, netif::RxResponse> ring_;
    netfront_statistics statistics_{};
};

} // namespace xen
