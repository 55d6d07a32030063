// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The control ring of a network frontend (public/io/netif.h): how the backend spreads packets over
// the queues (Toeplitz hash), and which buffers it keeps mapped (static grants). One request at a
// time, each made when the one before is answered; nobody waits for any of them, and what the
// backend cannot do is left out.
//
// All of it runs in the device's thread.
#pragma once

#include <xen/event.hpp>
#include <xen/ring.hpp>

#include "queue.hpp"

namespace xen {

class Control final {
public:
    Control() = default;
    Control(const Control &) = delete;

    // Ring, argument page and event channel. After an error, too, release() has to follow.
    Status open(Link &link);
    Status publish() const;
    // The backend is there: asks for what it can do, and has it done. The queues stay until
    // close().
    void start(Queue *queues, bool static_grants);
    // The kernel wants packets spread in another way.
    void rehash();
    // Takes responses. True: the features have changed.
    bool work();
    void close();
    bool release();
    void abandon();

private:
    // What the request on the ring asks for.
    enum class Step {
        idle,
        grant_room,
        grant_add,
        mapping_room,
        hash_algorithm,
        hash_flags_room,
        hash_key,
        mapping_size,
        mapping,
        hash_flags,
        hash_off,
    };

    static void on_event(void *self);
    void send(Step step, uint16_t type, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0);
    void advance(bool done, uint32_t data);
    void advance_grants(bool done, uint32_t data);
    void advance_hash(bool done, uint32_t data);
    void next_queue();
    void begin_hash();
    void end_hash(uint32_t types);

    Link *link_ = nullptr;
    Queue *queues_ = nullptr;
    GrantedPage page_;
    GrantedPage argument_; // of the request on the ring
    FrontRing<netif::ControlRequest, netif::ControlResponse> ring_;
    EventChannel event_;
    Step step_ = Step::idle;
    netif::ControlRequest request_{};
    unsigned queue_ = 0;   // whose buffers are listed
    bool rehash_ = false;  // when the request on the ring is answered
    bool changed_ = false; // the features
    netfront_hash hash_{}; // being set
};

} // namespace xen
