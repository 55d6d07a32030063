// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Responses in, every field of them checked (public/io/blkif.h), and completions up.
#include "queue.hpp"

#include <xen/format.hpp>
#include <xen/shared.hpp>

namespace xen::blk {

// Nobody waits for events of a polled queue; those that come all the same cost no more than they
// have to.
void Queue::on_event(void *context)
{
    auto &queue = *static_cast<Queue *>(context);
    queue.channel_.arrived();
    if (!queue.polled_)
        queue.take_all(true);
    uint32_t taken;
    {
        LockGuard guard(queue.lock_);
        ++queue.statistics_.events;
        taken = queue.ring_.taken();
    }
    if (!queue.device_->broken.load())
        queue.channel_.done(taken);
}

unsigned Queue::poll() { return take_all(false); }

// Takes all responses; returns how many requests completed. `arm`: the next one sends an event.
unsigned Queue::take_all(bool arm)
{
    unsigned total = 0;
    for (bool more = true; more;) {
        Batch batch;
        uint32_t connection;
        {
            LockGuard guard(lock_);
            connection = connection_;
            if (attached_)
                take_responses(batch, arm);
        }
        hand_up(batch);
        if (batch.field)
            finish_all(BLKFRONT_ERROR, connection);
        more = batch.count > 0;
        total += batch.count;
    }
    return total;
}

void Queue::take_responses(Batch &batch, bool arm)
{
    if (device_->broken.load())
        return;
    auto count = ring_.poll();
    if (arm && count.ok() && count.value() == 0)
        count = ring_.final_check();
    if (!count.ok())
        return violation("rsp_prod", ring_.producer(), batch);
    if (count.value() > 0)
        batch.now = xen_port_now();
    for (unsigned i = 0; i < count.value() && !batch.full(); ++i)
        if (!take_response(ring_.take(), batch))
            return;
}

// `response` is this guest's own copy. False: the backend broke the protocol.
bool Queue::take_response(const Response &response, Batch &batch)
{
    if (response.id >= slots_.count() || slots_[response.id].state != SlotState::in_flight) {
        violation("id", response.id, batch);
        return false;
    }
    Slot &slot = slots_[response.id];
    // Linux's backend answers an indirect request with the inner operation, others with what the
    // header says: the one of the request.
    const auto operation = static_cast<Operation>(response.operation);
    if (operation != slot.operation && !(slot.indirect && operation == Operation::indirect)) {
        violation("operation", response.operation, batch);
        return false;
    }
    const bool optional = slot.operation != Operation::read && slot.operation != Operation::write;
    blkfront_result result = BLKFRONT_DONE;
    if (response.status == status_error) {
        result = BLKFRONT_ERROR;
    } else if (response.status == status_not_supported && optional) {
        result = BLKFRONT_UNSUPPORTED;
    } else if (response.status != status_okay) {
        violation("status", static_cast<uint16_t>(response.status), batch);
        return false;
    }
    const GrantRef mapped = finish(slot, result, batch);
    if (mapped.value != 0) {
        violation("mapped grant", mapped.value, batch);
        return false;
    }
    return true;
}

// Takes a slot's grants back and completes its request, unless the backend has one of the kernel's
// pages mapped: then the slot is held, its request is not complete. Returns a grant that the
// backend should not have kept, or none.
GrantRef Queue::finish(Slot &slot, blkfront_result result, Batch &batch)
{
    GrantRef mapped{};
    while (slot.pieces != none) {
        const Piece &piece = pieces_[slot.pieces];
        if (piece.own == none) {
            if (!pool_.end(piece.grant).ok()) {
                if (slot.state != SlotState::held)
                    held_.add(1);
                slot.state = SlotState::held;
                slot.result = result;
                return piece.grant;
            }
        } else {
            if (!own_.end(piece.own, pool_) && !persistent_) {
                mapped = piece.grant;
                if (result == BLKFRONT_DONE)
                    result = BLKFRONT_ERROR; // what is read changes while it is copied
            }
            if (result == BLKFRONT_DONE && slot.operation == Operation::read)
                copy_in(piece);
            own_.put(piece.own);
        }
        put_piece(slot);
        ++batch.pieces;
    }
    complete(slot, result, batch);
    return mapped;
}

void Queue::copy_in(const Piece &piece)
{
    if (!piece.memory)
        return;
    const unsigned offset = piece.first_sector * 512u;
    const unsigned length = (piece.last_sector + 1u) * 512 - offset;
    // SAFETY: both are whole pages, and the sectors were checked.
    copy_from_shared(static_cast<char *>(piece.memory) + offset,
                     static_cast<const char *>(own_.page(piece.own)) + offset, length);
}

void Queue::put_piece(Slot &slot)
{
    Piece &piece = pieces_[slot.pieces];
    const uint16_t next = std::exchange(piece.next, free_piece_);
    free_piece_ = std::exchange(slot.pieces, next);
    ++free_pieces_;
}

void Queue::complete(Slot &slot, blkfront_result result, Batch &batch)
{
    batch.entries[batch.count++] = {slot.cookie, result};
    ++statistics_.requests;
    statistics_.errors += result != BLKFRONT_DONE && result != BLKFRONT_INTERRUPTED;
    if (result == BLKFRONT_DONE) {
        const uint64_t latency = batch.now - slot.started;
        const uint64_t microseconds = latency / 1000;
        const unsigned bits =
            microseconds ? 64 - static_cast<unsigned>(__builtin_clzll(microseconds)) : 0;
        ++statistics_
              .latency[bits < BLKFRONT_LATENCY_BUCKETS ? bits : BLKFRONT_LATENCY_BUCKETS - 1];
        if (latency > statistics_.latency_max_ns)
            statistics_.latency_max_ns = latency;
    }
    if (slot.state == SlotState::held)
        held_.add(-1u);
    slot.state = SlotState::free;
    slot.next = free_slot_;
    free_slot_ = static_cast<uint16_t>(&slot - &slots_[0]);
    busy_.add(-1u);
}

// The backend broke the protocol, for the first time: notes what it did. The rest needs to sleep,
// and is left to the control functions.
void Queue::violation(const char *field, uint64_t value, Batch &batch)
{
    mode_ = Mode::failed;
    if (device_->broken.exchange(1) != 0)
        return;
    batch.field = field;
    batch.value = value;
}

// Not under the lock: the log takes its time, and completions submit.
void Queue::hand_up(const Batch &batch)
{
    if (batch.field) {
        Line line;
        line.text(device_->node).text(": broken, the backend's ").text(batch.field).text(" is ");
        log_error(line.number(batch.value));
        blkfront_port_wake(device_->owner);
    }
    for (unsigned i = 0; i < batch.count; ++i)
        blkfront_port_complete(device_->owner, batch.entries[i].cookie, batch.entries[i].result);
}

} // namespace xen::blk
