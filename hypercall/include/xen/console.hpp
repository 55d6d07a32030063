// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The console ring (public/io/console.h): two byte streams in one page, shared with the console
// daemon. Works before events do: everything can be polled.
#pragma once

#include <cstddef>
#include <cstdint>

#include <xen/event.hpp>
#include <xen/lock.hpp>
#include <xen/types.hpp>

namespace xen {

struct ConsoleRing {
    char in[1024];
    char out[2048];
    uint32_t in_cons;  // ours
    uint32_t in_prod;  // the daemon's
    uint32_t out_cons; // the daemon's
    uint32_t out_prod; // ours
};
static_assert(offsetof(ConsoleRing, in_cons) == 3072);
static_assert(sizeof(ConsoleRing) == 3088);

// Usable as a constinit object; no call sleeps. A daemon that breaks the protocol breaks the
// console: one log line, then nothing is read or written any more.
class Console {
public:
    constexpr Console() = default;

    // Starts on the ring page and the port of start info, going on where an earlier user stopped.
    void attach(void *page, EventPort port);

    // Queues as much as fits and tells the daemon; returns how much. 0: full, or broken().
    size_t write(const char *data, size_t length);

    // Waits for the daemon to make room, giving the CPU away, for a bounded time. False: it did
    // not, and from then on nobody waits (stalled()) until it has made a good deal of it.
    bool wait_for_room();

    // Queues all of it, waiting for room; drops the rest when there is none. Early boot and panics.
    void write_all(const char *data, size_t length);

    // Takes what has arrived, at most `size`; returns how much.
    size_t read(char *data, size_t size);

    // Around what the kernel does in its handler of the port's events; see EventThrottle.
    void event_begins() { throttle_.arrived(); }
    void event_ends();

    bool attached() const { return ring_ != nullptr; }
    bool broken() const { return broken_.load() != 0; }
    bool stalled() const { return stalled_.load() != 0 || broken(); }

private:
    Result<uint32_t> room();
    Result<uint32_t> ready();
    void renew_patience();
    size_t push(const char *data, size_t length);
    void fail(const char *index, uint32_t value);
    void notify() const;

    ConsoleRing *ring_ = nullptr;
    EventPort port_;
    EventThrottle throttle_;
    SpinLock lock_;
    uint32_t in_cons_ = 0;
    uint32_t in_prod_ = 0; // as ready() last found it; it never goes back
    uint32_t out_prod_ = 0;
    uint32_t out_cons_ = 0; // as room() last found it; it never goes back
    // what waiting has cost since out_prod_ was waits_start_
    uint32_t waits_start_ = 0;
    unsigned yields_ = 0;
    uint64_t waited_ = 0; // nanoseconds
    Atomic<uint32_t> broken_;
    Atomic<uint32_t> stalled_;
};

} // namespace xen
