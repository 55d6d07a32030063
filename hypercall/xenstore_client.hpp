// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client's inside: one request in flight, watches, and what happens when xenstored
// breaks the protocol. xenstore.cc speaks the single commands on top of it.
//
// Two locks: the port's sleeping lock is held by whoever has a request (class Request); the spin
// lock guards the client's fields and is taken inside it. Any thread may read the ring: the
// xenstore thread in run_once(), and whoever waits for a reply.
#pragma once

#include <xen/event.hpp>
#include <xen/lock.hpp>
#include <xen/xenstore.hpp>

#include "xenstore_wire.hpp"

namespace xen::xenstore {

enum class State { stopped, ready, reconnecting, dead };

// Requests that timed out: all that fit into the ring.
constexpr unsigned unanswered_max = 64;
static_assert(ring_size / sizeof(Header) <= unanswered_max);

// What broke the protocol, for one log line outside the lock.
struct Violation {
    const char *what = nullptr;
    uint32_t value = 0;
};

struct Client {
    SpinLock lock;
    Atomic<uint32_t> changes; // see xen_port_xenstore_wait
    State state = State::stopped;
    State suspended = State::stopped; // what it was before suspend()
    EventPort port;
    EventThrottle throttle;
    Atomic<uint32_t> unmasking; // threads that may be about to unmask the port
    Ring ring;
    Parser parser;
    unsigned reconnects = 0;
    uint32_t connection = 0;   // a number that is another one whenever xenstored forgets this side
    unsigned transactions = 0; // begun and not ended; under the port's sleeping lock

    // the request in flight
    Message expected = Message::error;
    uint32_t id = 0;
    bool waiting = false;
    Error error = Error::none;
    bool refused = false;  // the reply is an error's name
    bool given_up = false; // nobody waits for it any more
    uint32_t reply_length = 0;
    char reply[payload_max]{};
    uint64_t abandoned = 0; // bit n: nobody waits any more for the reply to id - 1 - n

    // transactions that xenstored began when nobody waited any more; of this connection
    uint32_t orphans[unanswered_max]{};
    unsigned orphan_count = 0;

    // the latest request; what of it has no room in the ring goes out whoever waits for it
    char out[sizeof(Header) + payload_max]{};
    uint32_t out_length = 0;
    uint32_t out_sent = 0;

    Watch *watches = nullptr; // newest first
    Watch *running = nullptr;
    uint32_t tokens = 0; // issued so far
};

extern Client client;

// Under the lock. An event's payload: marks the watch; false: a violation.
bool take_event(const char *payload, uint32_t length, Violation &violation);
// Under the lock.
void mark_all_stale();
void forget_watches();

// Registers again what xenstored forgot in a reconnect.
void renew_watches();
// Runs each watch that fired, once. Returns whether there was one.
bool run_watches();

// The client's state changed: whoever waits looks again.
void wake();
// Sleeps until the client changed since changes.load() was `seen`, or the time is over.
void wait(uint32_t seen, uint32_t milliseconds);

struct Reply {
    const char *data;
    uint32_t length;
    uint32_t connection;
};

// One request, for a scope: nobody else uses the ring meanwhile, and the reply stays valid.
class Request {
public:
    Request(Message type, Transaction transaction);
    Request(const Request &) = delete;
    ~Request();

    Request &add(const char *data, size_t length);
    Request &add_string(const char *text); // with its NUL
    Result<Reply> run();
    // The same, but an error of xenstored's is a reply as well: client.refused.
    Result<Reply> run_any();

private:
    struct Part {
        const char *data;
        uint32_t length;
    };

    void start(); // under the lock: becomes the one in flight

    Header header_;
    uint32_t connection_; // of the transaction, later of this request
    Part parts_[3];
    unsigned count_ = 0;
};

} // namespace xen::xenstore
