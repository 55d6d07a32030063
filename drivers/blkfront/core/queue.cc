// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Setting a queue up, stopping it, and taking everything back (public/io/blkif.h).
#include "queue.hpp"

namespace xen::blk {

namespace {

// Of a queue, at most; and of a disk, where its queues share it.
constexpr unsigned max_data_grants = 1024;
constexpr unsigned max_own_pages = 512;
constexpr unsigned max_disk_own_pages = 1024;
// A disk leaves this part of the grants to others.
constexpr unsigned disk_share = 8;
// Indirect requests in flight.
constexpr unsigned max_indirect_pages = 32;

constexpr unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }
constexpr unsigned most(unsigned a, unsigned b) { return a > b ? a : b; }

} // namespace

// Calls each(slot, batch) for those of a connection that are in a state, some at a time.
template <class F>
void Queue::for_slots(SlotState state, uint32_t connection, F each)
{
    unsigned index = 0;
    for (bool more = true; more;) {
        Batch batch;
        {
            LockGuard guard(lock_);
            if (connection != connection_)
                return;
            batch.now = xen_port_now();
            for (; index < slots_.count() && !batch.full(); ++index)
                if (slots_[index].state == state)
                    each(slots_[index], batch);
            more = index < slots_.count();
        }
        hand_up(batch);
    }
}

Status Queue::open(Device &device, unsigned ring_pages, bool polled)
{
    {
        LockGuard guard(lock_);
        ++connection_; // whoever is late with the last one stops
        if (lingering_)
            release();
    }
    device_ = &device;
    open_ = true; // close() undoes whatever part succeeds
    polled_ = polled;
    ring_pages_ = ring_pages;
    ring_memory_ = xen_port_pages_alloc(ring_pages);
    if (!ring_memory_)
        return Error::no_memory;
    for (unsigned i = 0; i < ring_pages; ++i)
        ring_grants_[i] =
            TRY(Grant::give(device.backend, static_cast<char *>(ring_memory_) + i * page_size,
                            GrantAccess::read_write));
    const size_t bytes = ring_pages * page_size;
    const unsigned slots = ring_slots(bytes, sizeof(Ring::Slot));
    Table<Slot> table;
    TRY(table.allocate(slots));
    {
        LockGuard guard(lock_);
        slots_ = table;
        mode_ = Mode::stopped;
        free_slot_ = none;
        for (unsigned i = slots; i-- > 0;) {
            slots_[i].next = free_slot_;
            free_slot_ = static_cast<uint16_t>(i);
        }
        ring_.init(ring_memory_, bytes, !polled);
        attached_ = true;
    }
    return channel_.listen(device.backend, on_event, this);
}

// Requests are not accepted yet, so nobody else uses these.
Status Queue::prepare(blkfront_geometry &geometry)
{
    trusted_ = geometry.trusted;
    persistent_ = geometry.persistent_grants;
    const unsigned queues = geometry.queues + geometry.polled_queues;
    const unsigned indirect =
        geometry.segments > max_segments ? least(slots_.count(), max_indirect_pages) : 0;
    const unsigned own = most(least(max_own_pages, max_disk_own_pages / queues), max_segments);
    const unsigned share = most(free_grants() / disk_share / queues, max_segments);
    unsigned data = least(slots_.count() * geometry.segments, least(max_data_grants, share));
    if (persistent_)
        data = least(data, own);
    TRY(pool_.reserve(data + indirect));
    TRY(pieces_.allocate(data + indirect));
    for (unsigned i = 0; i < pieces_.count(); ++i) {
        pieces_[i].next = free_piece_;
        free_piece_ = static_cast<uint16_t>(i);
    }
    free_pieces_ = static_cast<uint16_t>(pieces_.count());

    unsigned segments = least(geometry.segments, data);
    const bool through_own = persistent_ || !trusted_;
    const unsigned least_own = indirect + (through_own ? max_segments : 0);
    if (least_own > 0) {
        TRY(own_.allocate(indirect + (through_own ? least(data, own) : 0)));
        if (own_.available() < least_own)
            return Error::no_memory;
    }
    if (through_own)
        segments = least(segments, own_.available() - indirect);
    geometry.segments = static_cast<uint16_t>(segments);
    return {};
}

// Under the lock.
void Queue::release()
{
    own_.release(pool_);
    pool_.release();
    pieces_.free();
    free_piece_ = none;
    free_pieces_ = 0;
    slots_.free();
    free_slot_ = none;
    lingering_ = false;
}

void Queue::run(const blkfront_geometry &geometry)
{
    LockGuard guard(lock_);
    limits_ = geometry;
    if (mode_ == Mode::stopped)
        mode_ = Mode::running;
}

void Queue::pause()
{
    LockGuard guard(lock_);
    if (mode_ == Mode::running)
        push(); // what was to be committed is in flight
    mode_ = Mode::stopped;
}

void Queue::fail()
{
    LockGuard guard(lock_);
    mode_ = Mode::failed;
    for (unsigned i = 0; i < slots_.count(); ++i)
        slots_[i].result = BLKFRONT_ERROR;
}

void Queue::close(blkfront_result result)
{
    if (!open_)
        return;
    open_ = false;
    {
        LockGuard guard(lock_);
        if (mode_ == Mode::running)
            mode_ = Mode::stopped;
    }
    channel_.close();
    {
        LockGuard guard(lock_);
        attached_ = false;
    }
    finish_all(result, connection());
    {
        LockGuard guard(lock_);
        lingering_ = true;
        if (!held())
            release();
    }
    for (unsigned i = 0; i < ring_pages_ && ring_memory_; ++i) {
        void *page = static_cast<char *>(ring_memory_) + i * page_size;
        if (ring_grants_[i].active())
            ring_grants_[i].end_and_free(page);
        else
            xen_port_page_free(page);
    }
    ring_memory_ = nullptr;
}

uint32_t Queue::connection()
{
    LockGuard guard(lock_);
    return connection_;
}

// Of this connection: somebody who polls may come late.
void Queue::finish_all(blkfront_result result, uint32_t connection)
{
    for_slots(SlotState::in_flight, connection,
              [&](Slot &slot, Batch &batch) { finish(slot, result, batch); });
}

void Queue::retry_held()
{
    if (!held())
        return;
    for_slots(SlotState::held, connection(),
              [&](Slot &slot, Batch &batch) { finish(slot, slot.result, batch); });
    LockGuard guard(lock_);
    if (lingering_ && !held())
        release();
}

// All that the backend holds on to is the kernel's.
void Queue::abandon_held()
{
    for_slots(SlotState::held, connection(), [&](Slot &slot, Batch &batch) {
        while (slot.pieces != none) {
            Piece &piece = pieces_[slot.pieces];
            if (piece.own == none)
                pool_.quarantine(piece.grant, nullptr);
            else
                own_.put(piece.own);
            put_piece(slot);
        }
        complete(slot, BLKFRONT_HELD, batch);
    });
    LockGuard guard(lock_);
    release();
}

void Queue::age()
{
    LockGuard guard(lock_);
    if (mode_ == Mode::running)
        own_.age(pool_);
}

blkfront_statistics Queue::statistics() const
{
    LockGuard guard(lock_);
    blkfront_statistics statistics = statistics_;
    statistics.in_flight = busy_.load();
    statistics.held = held_.load();
    statistics.persistent = own_.granted();
    return statistics;
}

} // namespace xen::blk
