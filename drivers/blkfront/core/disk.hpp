// SPDX-License-Identifier: MIT OR GPL-2.0-only
// One virtual disk: the frontend's side of xenbus's state machine (public/io/blkif.h, state
// diagrams; public/io/xenbus.h). The members that sleep are serialised by the kernel, as
// blkfront_port.h says.
#pragma once

#include <xen/types.hpp>
#include <xen/xenstore.hpp>

#include "blkfront_port.h"
#include "queue.hpp"

namespace xen::blk {

class Disk {
public:
    Disk(void *owner, const char *node, const char *backend, DomId backend_domain, uint32_t id);

    void backend_changed(XenbusState backend);
    void work();
    void users_left();
    void detach();

    Queue &queue() { return queue_; }
    const Queue &queue() const { return queue_; }

private:
    // What the frontend's state in xenstore is, and then some.
    enum class Phase : uint8_t {
        waiting,   // Initialising: for a backend that can be offered a ring
        offered,   // Initialised: for the backend to take the ring
        connected, // Connected
        closed,    // Closed: for the backend to close as well
        broken,    // Closing or Closed: the backend broke the protocol, or nothing works
        detached,
    };

    void handle(XenbusState backend);
    void restart();
    bool start_again();
    void shut();
    void offer();
    Status publish();
    Status publish_once();
    void connect();
    void close(bool backend_answers);
    void reopen();
    void break_off();
    void pause(bool drain);
    bool online() const;
    bool trusted() const;

    void *owner_;
    Path node_;
    Path backend_;
    DomId backend_domain_;
    uint32_t id_;
    Phase phase_ = Phase::waiting;
    XenbusState backend_state_ = XenbusState::unknown;
    bool paused_ = true;        // the kernel submits nothing
    bool start_wanted_ = false; // by the backend, once it has let go of the last ring's pages
    bool close_wanted_ = false; // by the backend, once nobody uses the disk any more
    uint32_t sector_size_ = 0;  // of the first connection: must not change
    Queue queue_;
};

} // namespace xen::blk
