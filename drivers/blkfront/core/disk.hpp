// SPDX-License-Identifier: MIT OR GPL-2.0-only
// One virtual disk: the frontend's side of xenbus's state machine (public/io/blkif.h, state
// diagrams; public/io/xenbus.h). The members that sleep are serialised by the kernel, as
// blkfront_port.h says.
#pragma once

#include <xen/types.hpp>
#include <xen/xenstore.hpp>

#include "blkfront_port.h"
#include "properties.hpp"
#include "queue.hpp"

namespace xen::blk {

class Disk {
public:
    Disk(void *owner, const char *node, const char *backend, DomId backend_domain, uint32_t id);

    void backend_changed(XenbusState backend);
    void work();
    void expire(blkfront_result result);
    void restored(const char *backend, DomId backend_domain);
    void detach();

    // The queue that stands for this number of the kernel's.
    Queue &queue(unsigned number, bool polled);
    void retry_held();
    void age();
    unsigned in_flight() const;
    bool statistics(unsigned queue, blkfront_statistics &statistics) const;

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

    // disk.cc
    void handle(XenbusState backend);
    void restart();
    bool start_again();
    void shut();
    void close(bool backend_answers);
    void reopen();
    void break_off();
    void pause(bool drain);
    bool online() const;
    unsigned held() const;

    // connect.cc
    void offer();
    Status open_queues(const Layout &layout);
    void close_queues(blkfront_result result);
    Status publish();
    Status publish_once();
    Status publish_queue(Transaction t, unsigned index);
    void connect();
    Result<blkfront_geometry> agree();
    bool sectors_fit(const blkfront_geometry &geometry);
    void ready(const blkfront_geometry &geometry, const char *now);
    void changed();

    Path node_;
    Path backend_;
    Device device_;
    Phase phase_ = Phase::waiting;
    XenbusState backend_state_ = XenbusState::unknown;
    bool paused_ = true;        // the kernel submits nothing
    bool start_wanted_ = false; // by the backend, once it has let go of the last ring's pages
    bool refused_ = false;      // the backend closed instead of connecting
    bool close_wanted_ = false; // by the backend, once nobody uses the disk any more
    blkfront_wishes wishes_{};
    Layout layout_;
    blkfront_geometry geometry_{}; // of the last connection
    // How many queues there are, with interrupts in the lower half and then polled ones: in one
    // word, because the kernel may submit meanwhile.
    Atomic<uint32_t> counts_ = 1;
    Queue queues_[BLKFRONT_MAX_QUEUES];
};

} // namespace xen::blk
