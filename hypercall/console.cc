// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The guest's side of the console ring (public/io/console.h).
#include <xen/console.hpp>

#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

namespace xen {

namespace {

// How long writers wait, together, for a daemon to make room for patience_bytes. A daemon that
// frees a byte now and then gets no more. Early in a boot the clock stands still.
constexpr uint32_t patience_bytes = sizeof(ConsoleRing::out) / 2;
constexpr uint64_t patience = 1'000'000'000; // nanoseconds
constexpr unsigned yields_max = 500'000;

// Bytes from `index` to the end of a ring of `size`, at most `wanted`.
uint32_t contiguous(uint32_t index, uint32_t size, size_t wanted)
{
    const uint32_t until_end = size - (index & (size - 1));
    return wanted < until_end ? static_cast<uint32_t>(wanted) : until_end;
}

} // namespace

void Console::attach(void *page, EventPort port)
{
    LockGuard guard(lock_);
    // SAFETY: the page of start info, which the toolstack laid out as this structure.
    ring_ = static_cast<ConsoleRing *>(page);
    port_ = port;
    in_prod_ = in_cons_ = load_shared(ring_->in_cons);
    out_prod_ = load_shared(ring_->out_prod);
    out_cons_ = load_shared(ring_->out_cons);
    renew_patience();
    throttle_ = {};
    stalled_.store(0);
    broken_.store(0);
}

void Console::notify() const { xen::notify(port_); }

// Called without the lock: the line may come back through write().
void Console::fail(const char *index, uint32_t value)
{
    if (broken_.exchange(1) != 0)
        return;
    Line line;
    log_error(line.text("console: ").text(index).text(" is ").hex(value).text(": given up"));
}

// Under the lock. protocol: out_cons makes no sense.
Result<uint32_t> Console::room()
{
    const uint32_t used_before = out_prod_ - out_cons_;
    out_cons_ = load_shared(ring_->out_cons);
    full_barrier(); // out_cons before the bytes; pairs with the daemon reading before moving
    const uint32_t used = out_prod_ - out_cons_;
    if (used > sizeof(ring_->out) || used > used_before)
        return Error::protocol;
    return static_cast<uint32_t>(sizeof(ring_->out)) - used;
}

// Under the lock: bytes to read. protocol: in_prod makes no sense.
Result<uint32_t> Console::ready()
{
    const uint32_t ready_before = in_prod_ - in_cons_;
    in_prod_ = load_shared(ring_->in_prod);
    read_barrier(); // in_prod before the bytes; pairs with the daemon's writing them first
    const uint32_t ready = in_prod_ - in_cons_;
    if (ready > sizeof(ring_->in) || ready < ready_before)
        return Error::protocol;
    return ready;
}

// Under the lock.
void Console::renew_patience()
{
    waits_start_ = out_prod_;
    waited_ = 0;
    yields_ = 0;
}

size_t Console::push(const char *data, size_t length)
{
    if (!attached() || broken())
        return 0;
    const unsigned long flags = lock_.lock();
    const auto room = this->room();
    if (!room.ok()) {
        lock_.unlock(flags);
        fail("out_cons", out_cons_);
        return 0;
    }
    size_t done = 0;
    const size_t total = length < room.value() ? length : room.value();
    while (done < total) {
        const uint32_t part = contiguous(out_prod_, sizeof(ring_->out), total - done);
        copy_to_shared(&ring_->out[out_prod_ & (sizeof(ring_->out) - 1)], data + done, part);
        out_prod_ += part;
        done += part;
    }
    write_barrier(); // the bytes before out_prod; pairs with the daemon's reading out_prod first
    store_shared(ring_->out_prod, out_prod_);
    if (done > 0)
        stalled_.store(0);
    if (out_prod_ - waits_start_ >= patience_bytes) // ours: the daemon has no say in it
        renew_patience();
    lock_.unlock(flags);
    return done;
}

size_t Console::write(const char *data, size_t length)
{
    const size_t done = push(data, length);
    if (done > 0)
        notify();
    return done;
}

bool Console::wait_for_room()
{
    if (!attached())
        return false;
    uint64_t last = xen_port_now();
    while (!broken()) {
        bool sane = true;
        {
            LockGuard guard(lock_);
            // Counts even if there is room: it may be gone again when write() looks.
            ++yields_;
            const uint64_t now = xen_port_now();
            waited_ += now - std::exchange(last, now);
            const bool patient = yields_ < yields_max && waited_ < patience;
            const auto room = this->room();
            sane = room.ok();
            if (sane && room.value() > 0 && patient)
                return true;
            if (!patient)
                stalled_.store(1);
        }
        if (!sane)
            fail("out_cons", out_cons_);
        if (stalled())
            return false;
        (void)hypercall(abi::hypercall_sched_op, abi::schedop_yield, nullptr);
    }
    return false;
}

void Console::write_all(const char *data, size_t length)
{
    while (length > 0) {
        const size_t done = write(data, length);
        data += done;
        length -= done;
        if (done == 0 && !wait_for_room())
            return;
    }
}

size_t Console::read(char *data, size_t size)
{
    if (!attached() || broken())
        return 0;
    const unsigned long flags = lock_.lock();
    const auto ready = this->ready();
    if (!ready.ok()) {
        lock_.unlock(flags);
        fail("in_prod", in_prod_);
        return 0;
    }
    size_t done = 0;
    const size_t total = ready.value() < size ? ready.value() : size;
    while (done < total) {
        const uint32_t part = contiguous(in_cons_, sizeof(ring_->in), total - done);
        copy_from_shared(data + done, &ring_->in[in_cons_ & (sizeof(ring_->in) - 1)], part);
        in_cons_ += part;
        done += part;
    }
    full_barrier(); // the bytes before in_cons; pairs with the daemon's reusing the space after it
    store_shared(ring_->in_cons, in_cons_);
    lock_.unlock(flags);
    if (done > 0)
        notify();
    return done;
}

// What the daemon did: bytes that it took, and bytes that it sent, of which nobody may want to
// hear. Neither index goes back, so it gets no more credit than for a ring of each, unless somebody
// reads or writes. A broken console's port stays masked.
void Console::event_ends()
{
    if (!attached() || broken())
        return;
    const unsigned long flags = lock_.lock();
    const auto room = this->room();
    const auto ready = this->ready();
    const uint32_t taken = out_cons_;
    const uint32_t produced = in_prod_;
    lock_.unlock(flags);
    if (!room.ok())
        return fail("out_cons", taken);
    if (!ready.ok())
        return fail("in_prod", produced);
    throttle_.done(port_, taken + produced);
}

} // namespace xen
