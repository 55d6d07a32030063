// SPDX-License-Identifier: MIT OR GPL-2.0-only
// One ring of a disk with its event channel, its slots and their grants: the I/O path. A slot is
// the id of a request on the wire; nothing else of this guest's leaves it. Nothing is allocated and
// nothing sleeps between open() and close().
//
// A backend that is not trusted sees nothing of a granted page that it is not meant to (XSA-403):
// what does not fill a page, and what was in memory before a read, goes through pages of the
// queue's own.
#pragma once

#include <xen/event.hpp>
#include <xen/grant.hpp>
#include <xen/lock.hpp>
#include <xen/types.hpp>

#include "blkfront_port.h"
#include "wire.hpp"

namespace xen::blk {

class Queue {
public:
    // `owner` is told of completions; `node` is named in log lines.
    Queue(void *owner, const char *node);

    // Sets up ring, event channel and grants towards a backend. Not while requests are held.
    // Sleeps.
    Status open(DomId backend, uint16_t handle, bool trusted);
    // Accepts requests within these limits.
    void run(const blkfront_geometry &geometry);
    // Accepts none for now; responses are still taken.
    void pause();
    // Accepts none from now on, for good or until the next open().
    void fail();
    // Takes everything back: what was in flight completes with `result`, as soon as the backend has
    // none of its pages mapped: see held(). The next step is open() or the end. Sleeps.
    void close(blkfront_result result);
    // Completes held requests as such; their grants stay behind in quarantine. After close().
    void abandon_held();

    GrantRef ring_reference() const { return ring_grant_.ref(); }
    EventPort port() const { return channel_.port(); }
    // The backend broke the protocol: the device must be closed.
    bool broken() const { return broken_.load(); }
    // Requests whose pages the backend keeps mapped.
    unsigned held() const { return held_.load(); }

    Status submit(const blkfront_request &request);
    void retry_held();
    unsigned in_flight() const { return busy_.load(); }

private:
    enum class Mode : uint8_t { stopped, running, failed };
    enum class SlotState : uint8_t { free, in_flight, held };
    // A segment that goes through a page of the queue's own.
    struct Bounce {
        void *page = nullptr; // null: it does not
        void *memory = nullptr;
        uint16_t offset = 0; // in both
        uint16_t length = 0;
    };
    static constexpr unsigned bounce_pages = 128;
    struct Slot {
        SlotState state = SlotState::free;
        Operation operation{};
        uint8_t segment_count = 0; // grants in force
        blkfront_result result{};  // of one that is held
        void *cookie = nullptr;
        GrantRef grants[max_segments];
        Bounce bounces[max_segments];
    };
    // Completions, and what broke the device, collected under the lock and handed up without it.
    struct Batch {
        const char *field = nullptr;
        uint64_t value = 0;
        unsigned count = 0;
        struct {
            void *cookie;
            blkfront_result result;
        } entries[slot_count];
    };

    static void on_event(void *context);
    void take_responses(Batch &batch);
    bool take_response(const Response &response, Batch &batch);
    Status check(const blkfront_request &request) const;
    bool bounced(const blkfront_request &request, unsigned segment) const;
    void send(unsigned index, const blkfront_request &request);
    uint64_t bounce(Bounce &bounce, const blkfront_segment &segment, bool write);
    void unbounce(Bounce &bounce, bool copy);
    Status fill_reserves(bool trusted);
    void release_reserves();
    bool finish(Slot &slot, blkfront_result result, Batch &batch);
    void finish_all(blkfront_result result, Batch &batch);
    void free(Slot &slot, blkfront_result result, Batch &batch);
    void violation(const char *field, uint64_t value, Batch &batch);
    void hand_up(const Batch &batch);

    void *owner_;
    const char *node_;
    SpinLock lock_; // everything below, except where only control functions go
    Mode mode_ = Mode::stopped;
    bool open_ = false; // the control functions' own
    bool trusted_ = true;
    Atomic<uint32_t> broken_;
    Atomic<uint32_t> busy_; // slots that are not free
    Atomic<uint32_t> held_;
    uint16_t handle_ = 0;
    DomId backend_;
    blkfront_geometry limits_{};
    uint32_t free_slots_ = UINT32_MAX; // a bit each
    static_assert(slot_count == 32);
    Slot slots_[slot_count];
    Ring ring_;
    GrantPool pool_;
    void *bounce_free_[bounce_pages]{}; // zeroed at first; later with what this backend knows
    unsigned bounce_count_ = 0;
    EventChannel channel_;
    Grant ring_grant_;
    void *ring_page_ = nullptr;
};

} // namespace xen::blk
