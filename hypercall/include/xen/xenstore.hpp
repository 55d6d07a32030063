// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client (docs/misc/xenstore.txt, public/io/xs_wire.h): one ring page shared with
// xenstored, one request in flight, watches. Everything read from the ring is checked before use.
#pragma once

#include <xen/event.hpp>
#include <xen/types.hpp>

namespace xen {

constexpr size_t xenstore_path_max = 256;
constexpr uint32_t xenstore_payload_max = 4096;
constexpr size_t xenstore_value_max = 256; // longest value that this guest reads or writes

// Text in a buffer of its own; always NUL-terminated.
template <size_t Size>
struct Text {
    char data[Size]{};
    size_t length = 0;
    const char *c_str() const { return data; }
};
using Path = Text<xenstore_path_max>;
using Value = Text<xenstore_value_max>;

// Goes with the connection to xenstored: after that, the number may be another one's.
struct Transaction {
    uint32_t value = 0; // 0: none
    uint32_t connection = 0;
};

// `directory`/`key`, or just `directory` if key is empty. too_big: does not fit.
Result<Path> join_path(const char *directory, const char *key);

// A watch on `path` and everything below. `changed` runs in run_once(), one watch at a time; it may
// sleep and use xenstore, but must not unwatch() its own watch. At most one call is pending per
// watch, however many events arrive: it names the path that changed, or the watch's own path when
// several did.
struct Watch {
    Path path;
    void (*changed)(void *context, const char *path) = nullptr;
    void *context = nullptr;
    // private to the client
    Watch *next_ = nullptr;
    uint32_t token_ = 0;
    bool pending_ = false;
    bool stale_ = false; // xenstored forgot it
    Path fired_;
};

namespace xenstore {

// Starts on the ring page `ring` and the port from start info. May sleep.
Status start(void *ring, EventPort port);
// Ends it: requests fail with no_device, watches are forgotten. The port stays open for a
// successor.
void stop();

// Around a suspension of the domain: waits until nobody is in the middle of a request or a
// transaction, and keeps all others waiting until resume(). busy: a transaction does not end, or
// xenstored does not take the rest of a request. What the ring holds then is whole, so that it does
// not matter whether this xenstored reads on or another.
Status suspend();
// The domain goes on as it was.
void resume();
// The same in a domain that was restored: another xenstored is at the other end, which knows no
// watches. They are registered again in run_once(), and each of them fires.
Status resume_restored(void *ring, EventPort port);

// One round: reads the ring, runs the watches that fired, and if there were none waits for the
// ring. The kernel's xenstore thread calls this in a loop. Without threads, the main loop calls it
// (requests read the ring themselves, so they work without it). Watch callbacks run here and
// nowhere else.
void run_once();

// All of these sleep, fail with timed_out after 5 s of silence, protocol if xenstored broke the
// protocol, else with xenstored's own error (no_entry, access, again...). again as well in a
// transaction that xenstored forgot, because the ring started over or the domain was restored.
Result<Value> read(Transaction t, const char *directory, const char *key);
Status write(Transaction t, const char *directory, const char *key, const char *value);
Status remove(Transaction t, const char *directory, const char *key);
// Calls each(context, name) for every child; `each` may use xenstore.
Status list(Transaction t, const char *directory, void (*each)(void *context, const char *name),
            void *context);
Result<Transaction> begin();
// again: the transaction has to be repeated.
Status commit(Transaction t);
void abort(Transaction t);
Status watch(Watch &watch);
// The same, of what join_path() makes of the two.
Status watch(Watch &watch, const char *directory, const char *key,
             void (*changed)(void *context, const char *path), void *context = nullptr);
// When it returns, `changed` does not run and will not; whatever xenstored's answer is, or if there
// is none.
Error unwatch(Watch &watch);
// The same, and xenstored is not told: unwatch() may be called to do that later.
void forget(Watch &watch);
// Until it is called with false, none is registered again: new ones get the room.
void hold_renewals(bool held);

// Any request, for somebody else: the type and the payload are as they were given. Returns the
// length of the answer in `reply`, which has room for xenstore_payload_max; `refused`: of an
// error's name. If there was an answer, t.connection is that of this request. again: xenstored
// forgot the transaction. timed_out or protocol: no answer.
Result<uint32_t> forward(uint32_t type, Transaction &t, const char *payload, uint32_t length,
                         char *reply, bool &refused);

// Typed helpers: the whole string is parsed strictly; anything else is `invalid`.
Result<uint64_t> read_number(Transaction t, const char *directory, const char *key);
Status write_number(Transaction t, const char *directory, const char *key, uint64_t value);

} // namespace xenstore

// ---- xenbus: the state machine between a frontend and its backend (public/io/xenbus.h) ----

enum class XenbusState : uint32_t {
    unknown = 0,
    initialising = 1,
    init_wait = 2,
    initialised = 3,
    connected = 4,
    closing = 5,
    closed = 6,
    reconfiguring = 7,
    reconfigured = 8,
};

// Reads `directory`/state; a missing, malformed or out-of-range state is `unknown`. Sleeps.
XenbusState read_state(const char *directory);
Status write_state(const char *directory, XenbusState state);

} // namespace xen
