// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The I/O path of a disk: requests out, responses in, every field of a response checked
// (public/io/blkif.h).
#include "queue.hpp"

#include <xen/format.hpp>

namespace xen::blk {

Queue::Queue(void *owner, const char *node) : owner_(owner), node_(node) {}

Status Queue::open(DomId backend, uint16_t handle, bool trusted)
{
    {
        LockGuard guard(lock_);
        backend_ = backend;
        handle_ = handle;
        open_ = true; // close() undoes whatever part succeeds
        mode_ = Mode::stopped;
        TRY(pool_.reserve(slot_count * max_segments));
    }
    TRY(fill_reserves(trusted));
    broken_.store(0);
    ring_page_ = xen_port_page_alloc();
    if (!ring_page_)
        return Error::no_memory;
    ring_.init(ring_page_);
    ring_grant_ = TRY(Grant::give(backend, ring_page_, GrantAccess::read_write));
    return channel_.listen(backend, on_event, this);
}

// Requests are not accepted yet, so nobody else uses these.
Status Queue::fill_reserves(bool trusted)
{
    trusted_ = trusted;
    while (!trusted && bounce_count_ < bounce_pages) {
        void *page = xen_port_page_alloc();
        if (!page)
            return Error::no_memory;
        bounce_free_[bounce_count_++] = page;
    }
    return {};
}

// Under the lock.
void Queue::release_reserves()
{
    pool_.release();
    while (bounce_count_ > 0)
        xen_port_page_free(bounce_free_[--bounce_count_]);
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
        mode_ = Mode::stopped;
}

void Queue::fail()
{
    LockGuard guard(lock_);
    mode_ = Mode::failed;
    for (Slot &slot : slots_)
        slot.result = BLKFRONT_ERROR;
}

void Queue::close(blkfront_result result)
{
    if (!open_)
        return;
    pause();
    channel_.close();
    Batch batch;
    {
        LockGuard guard(lock_);
        finish_all(result, batch);
        open_ = false;
        release_reserves();
    }
    hand_up(batch);
    if (ring_grant_.active())
        ring_grant_.end_and_free(ring_page_);
    else if (ring_page_)
        xen_port_page_free(ring_page_);
    ring_page_ = nullptr;
}

// A read whose data was copied in part is not reported as done: detach() calls fail() first, so
// every slot's result is an error by now.
void Queue::abandon_held()
{
    Batch batch;
    {
        LockGuard guard(lock_);
        for (Slot &slot : slots_) {
            if (slot.state != SlotState::held)
                continue;
            blkfront_result result = slot.result;
            while (slot.segment_count > 0) {
                Bounce &bounce = slot.bounces[--slot.segment_count];
                pool_.quarantine(slot.grants[slot.segment_count], bounce.page);
                if (!bounce.page)
                    result = BLKFRONT_HELD;
                bounce = {};
            }
            free(slot, result, batch);
            held_.add(-1u);
        }
    }
    hand_up(batch);
}

// ---- requests ----

Status Queue::check(const blkfront_request &request) const
{
    if (request.operation == BLKFRONT_FLUSH) {
        if (!limits_.flush)
            return Error::not_supported;
        return request.segment_count ? Status(Error::invalid) : Status();
    }
    if (request.operation != BLKFRONT_READ && request.operation != BLKFRONT_WRITE)
        return Error::invalid;
    if (request.operation == BLKFRONT_WRITE && limits_.read_only)
        return Error::access;
    if (request.segment_count == 0 || request.segment_count > max_segments)
        return Error::invalid;
    uint64_t sectors = 0;
    for (unsigned i = 0; i < request.segment_count; ++i) {
        const blkfront_segment &segment = request.segments[i];
        if (segment.first_sector > segment.last_sector || segment.last_sector >= sectors_per_page)
            return Error::invalid;
        if (segment.frame > UINT32_MAX) // what an entry of a version 1 grant table can name
            return Error::range;
        sectors += segment.last_sector - segment.first_sector + 1u;
    }
    if (request.sector > limits_.sectors || sectors > limits_.sectors - request.sector)
        return Error::invalid;
    return {};
}

bool Queue::bounced(const blkfront_request &request, unsigned segment) const
{
    const blkfront_segment &memory = request.segments[segment];
    return !trusted_ && (request.operation == BLKFRONT_READ || memory.first_sector != 0 ||
                         memory.last_sector != sectors_per_page - 1);
}

// Takes a page for it; returns the frame to grant.
uint64_t Queue::bounce(Bounce &bounce, const blkfront_segment &segment, bool write)
{
    bounce.page = bounce_free_[--bounce_count_];
    bounce.memory = segment.page;
    bounce.offset = static_cast<uint16_t>(segment.first_sector * 512);
    bounce.length = static_cast<uint16_t>((segment.last_sector + 1) * 512 - bounce.offset);
    // SAFETY: both are whole pages, and the sectors were checked.
    if (write)
        __builtin_memcpy(static_cast<char *>(bounce.page) + bounce.offset,
                         static_cast<char *>(bounce.memory) + bounce.offset, bounce.length);
    return xen_port_frame(bounce.page);
}

// The backend has no access any more.
void Queue::unbounce(Bounce &bounce, bool copy)
{
    if (!bounce.page)
        return;
    // SAFETY: as above.
    if (copy)
        __builtin_memcpy(static_cast<char *>(bounce.memory) + bounce.offset,
                         static_cast<char *>(bounce.page) + bounce.offset, bounce.length);
    bounce_free_[bounce_count_++] = bounce.page;
    bounce = {};
}

Status Queue::submit(const blkfront_request &request)
{
    LockGuard guard(lock_);
    if (mode_ != Mode::running)
        return mode_ == Mode::failed ? Error::io : Error::again;
    TRY(check(request));
    // As many grants as all slots can use were reserved: the second part never decides, and
    // granting in send() cannot fail.
    unsigned bounces = 0;
    for (unsigned i = 0; i < request.segment_count; ++i)
        bounces += bounced(request, i);
    if (!free_slots_ || pool_.available() < request.segment_count || bounce_count_ < bounces)
        return Error::busy;
    const auto index = static_cast<unsigned>(__builtin_ctz(free_slots_));
    free_slots_ &= ~(1u << index);
    busy_.add(1);
    send(index, request);
    return {};
}

void Queue::send(unsigned index, const blkfront_request &request)
{
    Slot &slot = slots_[index];
    slot.state = SlotState::in_flight;
    slot.operation = static_cast<Operation>(request.operation);
    slot.segment_count = static_cast<uint8_t>(request.segment_count);
    slot.cookie = request.cookie;

    Request wire{};
    wire.operation = static_cast<uint8_t>(slot.operation);
    wire.segment_count = slot.segment_count;
    wire.handle = handle_;
    wire.id = index;
    wire.sector = request.sector;
    // A backend only reads what is written to the disk.
    const auto access =
        request.operation == BLKFRONT_WRITE ? GrantAccess::read_only : GrantAccess::read_write;
    for (unsigned i = 0; i < request.segment_count; ++i) {
        const blkfront_segment &segment = request.segments[i];
        const uint64_t frame = bounced(request, i) ? bounce(slot.bounces[i], segment,
                                                            slot.operation == Operation::write)
                                                   : segment.frame;
        slot.grants[i] = pool_.give(backend_, frame, access).value();
        wire.segments[i].grant = slot.grants[i].value;
        wire.segments[i].first_sector = segment.first_sector;
        wire.segments[i].last_sector = segment.last_sector;
    }
    ring_.put(wire);
    if (ring_.push())
        channel_.notify();
}

// ---- responses ----

void Queue::on_event(void *context)
{
    auto &queue = *static_cast<Queue *>(context);
    queue.channel_.arrived();
    uint32_t taken;
    for (bool more = true; more;) {
        Batch batch;
        {
            LockGuard guard(queue.lock_);
            queue.take_responses(batch);
            taken = queue.ring_.taken();
        }
        queue.hand_up(batch);
        more = batch.count > 0;
    }
    if (!queue.broken())
        queue.channel_.done(taken);
}

void Queue::take_responses(Batch &batch)
{
    if (broken())
        return;
    auto count = ring_.poll();
    if (count.ok() && count.value() == 0)
        count = ring_.final_check();
    if (!count.ok())
        return violation("rsp_prod", ring_.producer(), batch);
    for (unsigned i = 0; i < count.value(); ++i)
        if (!take_response(ring_.take(), batch))
            return;
}

// `response` is this guest's own copy. False: the backend broke the protocol.
bool Queue::take_response(const Response &response, Batch &batch)
{
    if (response.id >= slot_count || slots_[response.id].state != SlotState::in_flight) {
        violation("id", response.id, batch);
        return false;
    }
    Slot &slot = slots_[response.id];
    if (response.operation != static_cast<uint8_t>(slot.operation)) {
        violation("operation", response.operation, batch);
        return false;
    }
    blkfront_result result = BLKFRONT_DONE;
    if (response.status == status_error) {
        result = BLKFRONT_ERROR;
    } else if (response.status == status_not_supported && slot.operation == Operation::flush) {
        result = BLKFRONT_UNSUPPORTED;
    } else if (response.status != status_okay) {
        violation("status", static_cast<uint16_t>(response.status), batch);
        return false;
    }
    if (!finish(slot, result, batch)) {
        violation("mapped grant", slot.grants[slot.segment_count - 1u].value, batch);
        return false;
    }
    return true;
}

// Takes a slot's grants back and completes its request. False: the backend has a page mapped; the
// slot is held, its request is not complete.
bool Queue::finish(Slot &slot, blkfront_result result, Batch &batch)
{
    while (slot.segment_count > 0) {
        if (!pool_.end(slot.grants[slot.segment_count - 1u]).ok()) {
            if (slot.state != SlotState::held)
                held_.add(1);
            slot.state = SlotState::held;
            slot.result = result;
            return false;
        }
        --slot.segment_count;
        unbounce(slot.bounces[slot.segment_count],
                 slot.operation == Operation::read && result == BLKFRONT_DONE);
    }
    if (slot.state == SlotState::held)
        held_.add(-1u);
    free(slot, result, batch);
    return true;
}

void Queue::free(Slot &slot, blkfront_result result, Batch &batch)
{
    batch.entries[batch.count++] = {slot.cookie, result};
    slot.state = SlotState::free;
    free_slots_ |= 1u << (&slot - slots_);
    busy_.add(-1u);
}

void Queue::finish_all(blkfront_result result, Batch &batch)
{
    for (Slot &slot : slots_)
        if (slot.state == SlotState::in_flight)
            finish(slot, result, batch);
}

// The backend broke the protocol, for the first time: notes what it did, and fails everything. The
// rest needs to sleep, and is left to the control functions.
void Queue::violation(const char *field, uint64_t value, Batch &batch)
{
    batch.field = field;
    batch.value = value;
    broken_.store(1);
    mode_ = Mode::failed;
    finish_all(BLKFRONT_ERROR, batch);
}

void Queue::retry_held()
{
    if (!held())
        return;
    Batch batch;
    {
        LockGuard guard(lock_);
        for (Slot &slot : slots_)
            if (slot.state == SlotState::held)
                finish(slot, slot.result, batch);
        if (!open_)
            release_reserves();
    }
    hand_up(batch);
    if (!held())
        blkfront_port_wake(owner_); // a new start may wait for it
}

// Not under the lock: the log takes its time, and completions submit.
void Queue::hand_up(const Batch &batch)
{
    if (batch.field) {
        Line line;
        line.text(node_).text(": broken, the backend's ").text(batch.field).text(" is ");
        log_error(line.number(batch.value));
        blkfront_port_wake(owner_);
    }
    for (unsigned i = 0; i < batch.count; ++i)
        blkfront_port_complete(owner_, batch.entries[i].cookie, batch.entries[i].result);
}

} // namespace xen::blk
