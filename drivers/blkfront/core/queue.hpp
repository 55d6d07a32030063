// SPDX-License-Identifier: MIT OR GPL-2.0-only
// One ring of a disk with its event channel, its slots and their grants: the I/O path. A slot is
// the id of a request on the wire; nothing else of this guest's leaves it. Nothing is allocated and
// nothing sleeps between run() and close().
//
// A backend that is not trusted sees nothing of a granted page that it is not meant to (XSA-403):
// what does not fill a page, and what was in memory before a read, goes through pages of the
// queue's own. So does everything where grants persist: the backend keeps those pages mapped.
#pragma once

#include <xen/event.hpp>
#include <xen/grant.hpp>
#include <xen/lock.hpp>
#include <xen/types.hpp>

#include "blkfront_port.h"
#include "own_pages.hpp"
#include "table.hpp"
#include "wire.hpp"

namespace xen::blk {

// What the queues of a disk share.
struct Device {
    void *owner;      // is told of completions
    const char *node; // is named in log lines
    DomId backend;
    uint16_t handle;
    Atomic<uint32_t> broken{}; // the backend broke the protocol: the disk must be closed
};

// How much is done under the lock in one go.
constexpr unsigned batch_completions = 32;
constexpr unsigned batch_pieces = 256;

class Queue {
public:
    // Sets up ring and event channel. A polled queue has no use for events. Not while requests are
    // held. Sleeps.
    Status open(Device &device, unsigned ring_pages, bool polled);
    // Reserves what requests need, and lowers `geometry.segments` to what there is. Sleeps.
    Status prepare(blkfront_geometry &geometry);
    // Accepts requests within these limits.
    void run(const blkfront_geometry &geometry);
    // Accepts none for now; responses are still taken.
    void pause();
    // Accepts none from now on, for good or until the next open().
    void fail();
    // Takes everything back: what was in flight completes with `result`, as soon as the backend has
    // none of the kernel's pages mapped: see held(). The next step is open() or the end. Sleeps.
    void close(blkfront_result result);
    // Completes held requests as such; their grants stay behind in quarantine. After close().
    void abandon_held();

    unsigned ring_pages() const { return ring_pages_; }
    GrantRef ring_reference(unsigned page) const { return ring_grants_[page].ref(); }
    EventPort port() const { return channel_.port(); }
    // Requests whose pages the backend keeps mapped.
    unsigned held() const { return held_.load(); }
    unsigned in_flight() const { return busy_.load(); }
    blkfront_statistics statistics() const;

    Status submit(blkfront_request &request);
    void commit();
    unsigned poll();
    void retry_held();
    void age();

private:
    enum class Mode : uint8_t { stopped, running, failed };
    enum class SlotState : uint8_t { free, in_flight, held };
    // A segment in flight, or the page that lists the segments.
    struct Piece {
        void *memory;   // of the segment; null: it is none
        uint32_t frame; // of the segment, until it is granted
        GrantRef grant;
        uint16_t own;  // the page that it goes through, or none
        uint16_t next; // of the same request, or available
        uint8_t first_sector;
        uint8_t last_sector;
    };
    struct Slot {
        void *cookie;
        uint64_t started;
        uint16_t pieces; // whose grants are in force
        uint16_t next;   // free one
        SlotState state;
        Operation operation; // the inner one of an indirect request
        bool indirect;
        blkfront_result result; // of one that is held
    };
    // Completions, and what broke the device, collected under the lock and handed up without it.
    struct Batch {
        const char *field = nullptr;
        uint64_t value = 0;
        uint64_t now = 0;
        unsigned pieces = 0;
        unsigned count = 0;
        struct {
            void *cookie;
            blkfront_result result;
        } entries[batch_completions];
        bool full() const { return count == batch_completions || pieces >= batch_pieces; }
    };

    // queue.cc
    void release();
    void push();
    void finish_all(blkfront_result result, uint32_t connection);
    template <class F>
    void for_slots(SlotState state, uint32_t connection, F each);
    uint32_t connection();

    // requests.cc
    Status start(blkfront_request &request);
    Status check(const blkfront_request &request) const;
    Status check_sectors(uint64_t sector, uint64_t sectors) const;
    Result<uint16_t> gather(blkfront_request &request);
    Status fetch(blkfront_request &request, Piece &piece) const;
    bool uses_own_page(bool write, const Piece &piece) const;
    uint16_t take_pieces(unsigned count);
    void put_wire(const blkfront_request &request, Slot &slot, unsigned index);
    void put_indirect(const blkfront_request &request, Slot &slot, unsigned index);
    Segment grant(Piece &piece, bool write);

    // responses.cc
    static void on_event(void *context);
    unsigned take_all(bool arm);
    void take_responses(Batch &batch, bool arm);
    bool take_response(const Response &response, Batch &batch);
    GrantRef finish(Slot &slot, blkfront_result result, Batch &batch);
    void copy_in(const Piece &piece);
    void put_piece(Slot &slot);
    void complete(Slot &slot, blkfront_result result, Batch &batch);
    void violation(const char *field, uint64_t value, Batch &batch);
    void hand_up(const Batch &batch);

    // The control functions' own.
    Device *device_ = nullptr;
    bool open_ = false;
    unsigned ring_pages_ = 0;
    void *ring_memory_ = nullptr;
    Grant ring_grants_[1 << BLKFRONT_MAX_RING_PAGE_ORDER];
    EventChannel channel_;

    mutable SpinLock lock_; // everything below
    Mode mode_ = Mode::stopped;
    bool attached_ = false;  // the ring may be used
    bool lingering_ = false; // closed, but not released
    bool polled_ = false;
    bool trusted_ = true;
    bool persistent_ = false;
    uint32_t connection_ = 0; // number of it
    Atomic<uint32_t> busy_;   // slots that are not free
    Atomic<uint32_t> held_;
    blkfront_geometry limits_{};
    Ring ring_;
    Table<Slot> slots_;
    Table<Piece> pieces_;
    uint16_t free_slot_ = none;
    uint16_t free_piece_ = none;
    uint16_t free_pieces_ = 0;
    OwnPages own_;
    GrantPool pool_;
    blkfront_statistics statistics_{};
};

} // namespace xen::blk
