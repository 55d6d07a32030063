// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Requests out (public/io/blkif.h). A request is looked at as a whole before anything of it is
// granted: what cannot be sent changes nothing.
#include "queue.hpp"

#include <xen/shared.hpp>

namespace xen::blk {

namespace {

// How a flush goes over the wire. An empty barrier waits for the writes before it and flushes.
// There is no writing through the cache: a backend's barrier with data need not put that data on
// stable storage; so the kernel asks for a flush after the write, which always does.
Operation flush_operation(blkfront_flush flush)
{
    return flush == BLKFRONT_BARRIER ? Operation::barrier : Operation::flush;
}

bool is_transfer(const blkfront_request &request)
{
    return request.operation == BLKFRONT_READ || request.operation == BLKFRONT_WRITE;
}

} // namespace

Status Queue::submit(blkfront_request &request)
{
    LockGuard guard(lock_);
    const Status status = start(request);
    statistics_.busy += status.error() == Error::busy;
    if (status.ok() && request.last)
        push();
    return status;
}

void Queue::commit()
{
    LockGuard guard(lock_);
    if (mode_ == Mode::running)
        push();
}

// Under the lock.
void Queue::push()
{
    if (ring_.staged() && ring_.push()) {
        ++statistics_.notifications;
        channel_.notify();
    }
}

Status Queue::start(blkfront_request &request)
{
    if (mode_ != Mode::running)
        return mode_ == Mode::failed ? Error::io : Error::again;
    TRY(check(request));
    if (free_slot_ == none)
        return Error::busy;
    const uint16_t pieces = is_transfer(request) ? TRY(gather(request)) : none;

    const unsigned index = free_slot_;
    Slot &slot = slots_[index];
    free_slot_ = slot.next;
    busy_.add(1);
    slot.cookie = request.cookie;
    slot.started = xen_port_now();
    slot.pieces = pieces;
    slot.state = SlotState::in_flight;
    slot.indirect = request.segment_count > max_segments;
    if (slot.indirect)
        put_indirect(request, slot, index);
    else
        put_wire(request, slot, index);
    return {};
}

Status Queue::check_sectors(uint64_t sector, uint64_t sectors) const
{
    const bool fits = sector <= limits_.sectors && sectors <= limits_.sectors - sector;
    return fits && sectors > 0 ? Status() : Error::invalid;
}

// All but the segments.
Status Queue::check(const blkfront_request &request) const
{
    switch (request.operation) {
    case BLKFRONT_FLUSH:
        if (limits_.flush == BLKFRONT_NO_FLUSH)
            return Error::not_supported;
        return request.segment_count ? Error::invalid : Status();
    case BLKFRONT_DISCARD:
    case BLKFRONT_SECURE_DISCARD:
        if (!limits_.discard_granularity ||
            (request.operation == BLKFRONT_SECURE_DISCARD && !limits_.secure_discard))
            return Error::not_supported;
        if (limits_.read_only)
            return Error::access;
        return request.segment_count ? Error::invalid
                                     : check_sectors(request.sector, request.sectors);
    case BLKFRONT_WRITE:
        if (limits_.read_only)
            return Error::access;
        [[fallthrough]];
    case BLKFRONT_READ:
        if (request.segment_count > limits_.segments)
            return Error::too_big;
        return request.segment_count ? Status() : Error::invalid;
    }
    return Error::invalid;
}

bool Queue::uses_own_page(bool write, const Piece &piece) const
{
    return persistent_ || (!trusted_ && (!write || piece.first_sector != 0 ||
                                         piece.last_sector != sectors_per_page - 1));
}

// Describes all segments, and the page that will list them if there are many, in the first of the
// free pieces, and takes these.
Result<uint16_t> Queue::gather(blkfront_request &request)
{
    const bool indirect = request.segment_count > max_segments;
    const unsigned count = request.segment_count + indirect;
    if (free_pieces_ < count)
        return Error::busy;
    uint16_t next = free_piece_;
    unsigned own_pages = 0;
    uint64_t sectors = 0;
    if (indirect) {
        pieces_[next].memory = nullptr;
        next = pieces_[next].next;
        ++own_pages;
    }
    for (unsigned i = 0; i < request.segment_count; ++i) {
        Piece &piece = pieces_[next];
        TRY(fetch(request, piece));
        sectors += piece.last_sector - piece.first_sector + 1u;
        own_pages += uses_own_page(request.operation == BLKFRONT_WRITE, piece);
        next = piece.next;
    }
    TRY(check_sectors(request.sector, sectors));
    // For each piece, and for each own page that is granted for longer, a grant was reserved:
    // granting cannot fail.
    if (own_.available() < own_pages)
        return Error::busy;
    return take_pieces(count);
}

Status Queue::fetch(blkfront_request &request, Piece &piece) const
{
    blkfront_segment segment{};
    request.next_segment(&request, &segment);
    if (segment.first_sector > segment.last_sector || segment.last_sector >= sectors_per_page)
        return Error::invalid;
    if (segment.frame > UINT32_MAX) // what an entry of a version 1 grant table can name
        return Error::range;
    piece.memory = segment.page;
    piece.frame = static_cast<uint32_t>(segment.frame);
    piece.first_sector = segment.first_sector;
    piece.last_sector = segment.last_sector;
    return {};
}

uint16_t Queue::take_pieces(unsigned count)
{
    const uint16_t first = free_piece_;
    uint16_t *end = &free_piece_;
    for (unsigned i = 0; i < count; ++i)
        end = &pieces_[*end].next;
    free_piece_ = *end;
    *end = none;
    free_pieces_ = static_cast<uint16_t>(free_pieces_ - count);
    return first;
}

// What the wire says of a segment, once the backend has access.
Segment Queue::grant(Piece &piece, bool write)
{
    // A backend only reads what is written to the disk, but where grants persist the next use may
    // be another.
    const auto access = write && !persistent_ ? GrantAccess::read_only : GrantAccess::read_write;
    if (!uses_own_page(write, piece)) {
        piece.own = none;
        piece.grant = pool_.give(device_->backend, piece.frame, access).value();
    } else {
        statistics_.persistent_hits += own_.granted() > 0;
        piece.own = own_.take(pool_, device_->backend, access);
        piece.grant = own_.grant(piece.own);
        const unsigned offset = piece.first_sector * 512u;
        const unsigned length = (piece.last_sector + 1u) * 512 - offset;
        // SAFETY: both are whole pages, and the sectors were checked.
        if (write)
            copy_to_shared(static_cast<char *>(own_.page(piece.own)) + offset,
                           static_cast<const char *>(piece.memory) + offset, length);
    }
    return {piece.grant.value, piece.first_sector, piece.last_sector, {}};
}

void Queue::put_wire(const blkfront_request &request, Slot &slot, unsigned index)
{
    if (request.operation == BLKFRONT_DISCARD || request.operation == BLKFRONT_SECURE_DISCARD) {
        slot.operation = Operation::discard;
        DiscardRequest wire{};
        wire.operation = slot.operation;
        wire.flags = request.operation == BLKFRONT_SECURE_DISCARD ? discard_secure : 0;
        wire.handle = device_->handle;
        wire.id = index;
        wire.sector = request.sector;
        wire.sectors = request.sectors;
        return ring_.put(wire);
    }
    slot.operation = request.operation == BLKFRONT_FLUSH
                         ? flush_operation(limits_.flush)
                         : static_cast<Operation>(request.operation);
    Request wire{};
    wire.operation = static_cast<uint8_t>(slot.operation);
    wire.segment_count = static_cast<uint8_t>(request.segment_count);
    wire.handle = device_->handle;
    wire.id = index;
    wire.sector = is_transfer(request) ? request.sector : 0;
    unsigned i = 0;
    for (uint16_t at = slot.pieces; at != none; at = pieces_[at].next)
        wire.segments[i++] = grant(pieces_[at], slot.operation == Operation::write);
    ring_.put(wire);
}

void Queue::put_indirect(const blkfront_request &request, Slot &slot, unsigned index)
{
    slot.operation = static_cast<Operation>(request.operation);
    Piece &list = pieces_[slot.pieces];
    // Backends that keep grants map this page for writing, too, as they do with all.
    const auto access = persistent_ ? GrantAccess::read_write : GrantAccess::read_only;
    list.own = own_.take(pool_, device_->backend, access);
    list.grant = own_.grant(list.own);
    // SAFETY: a whole page, and no more segments than fit.
    auto *entry = static_cast<Segment *>(own_.page(list.own));
    for (uint16_t at = list.next; at != none; at = pieces_[at].next)
        store_shared_object(entry++, grant(pieces_[at], slot.operation == Operation::write));

    IndirectRequest wire{};
    wire.operation = Operation::indirect;
    wire.inner = slot.operation;
    wire.segment_count = request.segment_count;
    wire.id = index;
    wire.sector = request.sector;
    wire.handle = device_->handle;
    wire.grants[0] = list.grant.value;
    ring_.put(wire);
}

} // namespace xen::blk
