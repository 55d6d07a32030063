// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client: matches replies to the request in flight, marks watches, starts over when
// xenstored breaks the protocol (docs/misc/xenstore-ring.txt), and runs watch callbacks.
//
// Two locks: the port's sleeping lock is held by whoever has a request (class Request); the spin
// lock guards everything below and is taken inside it. Any thread may read the ring: the xenstore
// thread in run_once(), and whoever waits for a reply.
#include "xenstore_client.hpp"

#include <xen/format.hpp>
#include <xen/port.h>

namespace xen::xenstore {

namespace {

constexpr uint64_t patience = 5'000'000'000; // nanoseconds without a reply
constexpr uint32_t idle_milliseconds = 10'000;
constexpr unsigned reconnects_max = 8; // in a row, without one good reply
constexpr unsigned messages_per_round = 64;

enum class State { stopped, ready, reconnecting, dead };

// What broke the protocol, for one log line outside the lock.
struct Violation {
    const char *what = nullptr;
    uint32_t value = 0;
};

struct Client {
    SpinLock lock;
    Atomic<uint32_t> changes; // see xen_port_xenstore_wait
    State state = State::stopped;
    EventPort port;
    Ring ring;
    Parser parser;
    unsigned reconnects = 0;

    // the request in flight
    Message expected = Message::error;
    uint32_t id = 0;
    bool waiting = false;
    Error error = Error::none;
    uint32_t reply_length = 0;
    char reply[payload_max]{};
    uint32_t abandoned = 0; // bit n: nobody waits any more for the reply to id - 1 - n

    Watch *watches = nullptr; // newest first
    Watch *running = nullptr;
    uint32_t tokens = 0; // issued so far
};

constinit Client client;

void wake()
{
    client.changes.add(1);
    xen_port_xenstore_wake();
}

void on_event(void *) { wake(); }

// ---- under client.lock ----

void finish_request(Error error)
{
    client.waiting = false;
    client.error = error;
}

void start_over()
{
    if (client.waiting)
        finish_request(Error::protocol);
    client.parser.reset();
    client.abandoned = 0;
    if (client.ring.can_reconnect() && client.reconnects++ < reconnects_max) {
        client.state = State::reconnecting;
        client.ring.reconnect();
        notify(client.port);
    } else {
        client.state = State::dead;
    }
}

void finish_reconnect()
{
    client.state = State::ready;
    for (Watch *watch = client.watches; watch != nullptr; watch = watch->next_)
        watch->stale_ = true;
}

bool take_reply(const Header &header, Violation &violation)
{
    if (client.waiting && header.request == client.id) {
        const bool error = header.type == static_cast<uint32_t>(Message::error);
        if (!error && header.type != static_cast<uint32_t>(client.expected)) {
            violation = {"type", header.type};
            return false;
        }
        client.reconnects = 0;
        client.reply_length = header.length;
        __builtin_memcpy(client.reply, client.parser.payload(), header.length);
        finish_request(error ? parse_error(client.reply, header.length) : Error::none);
        return true;
    }
    const uint32_t age = client.id - 1 - header.request;
    if (age >= 32 || (client.abandoned >> age & 1) == 0) {
        violation = {"request id", header.request};
        return false;
    }
    client.abandoned &= ~(1u << age);
    return true;
}

void mark_watch(Watch &watch, const char *path, size_t length)
{
    const bool fits = length < sizeof(watch.fired_.data);
    const bool same = watch.pending_ && text_equal(watch.fired_.data, path);
    if (!fits || (watch.pending_ && !same)) {
        watch.fired_ = watch.path;
    } else if (!same) {
        __builtin_memcpy(watch.fired_.data, path, length + 1);
        watch.fired_.length = length;
    }
    watch.pending_ = true;
}

// Exactly two strings: the path, and a token that was issued.
bool take_event(const char *payload, uint32_t length, Violation &violation)
{
    const size_t path_length = text_length(payload, length);
    const size_t rest = length - path_length;
    const char *token = payload + path_length + 1;
    if (rest < 2 || text_length(token, rest - 1) != rest - 2) {
        violation = {"watch event's length", length};
        return false;
    }
    const auto number = parse_number(token, rest - 2, client.tokens);
    if (!number.ok() || number.value() == 0) {
        violation = {"watch event's token, of length", static_cast<uint32_t>(rest - 2)};
        return false;
    }
    for (Watch *watch = client.watches; watch != nullptr; watch = watch->next_) {
        if (watch->token_ == number.value())
            mark_watch(*watch, payload, path_length);
    }
    return true;
}

void remove_watch(Watch &watch)
{
    for (Watch **link = &client.watches; *link != nullptr; link = &(*link)->next_) {
        if (*link == &watch) {
            *link = watch.next_;
            break;
        }
    }
    watch.next_ = nullptr;
    watch.pending_ = watch.stale_ = false;
}

// The newest watch older than `token` that `wanted` asks for.
Watch *find_watch(bool Watch::*wanted, uint32_t token)
{
    Watch *watch = client.watches;
    while (watch != nullptr && !(watch->token_ < token && watch->*wanted))
        watch = watch->next_;
    return watch;
}

// Takes at most one message. Returns whether anything moved.
bool take_message(Violation &violation)
{
    if (client.state == State::reconnecting && client.ring.reconnected()) {
        finish_reconnect();
        return true;
    }
    if (client.state != State::ready)
        return false;
    bool moved = false;
    const auto whole = client.parser.feed(client.ring, moved);
    const Header &header = client.parser.header();
    if (!whole.ok()) {
        violation = {"ring index or length", header.length};
        start_over();
        return true;
    }
    if (moved)
        notify(client.port); // xenstored may be waiting for room
    if (!whole.value())
        return moved;
    const bool good = header.type == static_cast<uint32_t>(Message::watch_event)
                          ? take_event(client.parser.payload(), header.length, violation)
                          : take_reply(header, violation);
    if (!good)
        start_over();
    return true;
}

// ---- outside ----

bool pump()
{
    Violation violation;
    bool moved;
    bool dead;
    {
        LockGuard guard(client.lock);
        moved = take_message(violation);
        dead = client.state == State::dead;
    }
    if (violation.what != nullptr) {
        Line line;
        log_error(line.text("xenstore: unexpected ")
                      .text(violation.what)
                      .text(" ")
                      .hex(violation.value)
                      .text(dead ? ": given up" : ": reconnecting"));
    }
    if (moved)
        wake();
    return moved;
}

void wait(uint32_t seen, uint32_t milliseconds)
{
    xen_port_xenstore_wait(client.changes.address(), seen, milliseconds);
}

// Reads the ring and waits until done() holds; false: the time is over.
template <class Done>
bool wait_until(uint64_t deadline, Done done)
{
    for (;;) {
        const uint32_t seen = client.changes.load();
        const bool moved = pump();
        {
            LockGuard guard(client.lock);
            if (done())
                return true;
        }
        const uint64_t now = xen_port_now();
        if (now >= deadline)
            return false;
        if (!moved)
            wait(seen, static_cast<uint32_t>((deadline - now) / 1'000'000) + 1);
    }
}

Status send_watch(const Watch &watch, Message type)
{
    TextLine<12> token;
    token.number(watch.token_);
    Request request(type, {});
    TRY(request.add_string(watch.path.c_str()).add_string(token.c_str()).run());
    return {};
}

} // namespace

// ---- requests ----

Request::Request(Message type, Transaction transaction)
    : header_{static_cast<uint32_t>(type), 0, transaction.value, 0}
{
    xen_port_xenstore_lock();
}

Request::~Request() { xen_port_xenstore_unlock(); }

Request &Request::add(const char *data, size_t length)
{
    parts_[count_++] = {data, static_cast<uint32_t>(length)};
    header_.length += static_cast<uint32_t>(length);
    return *this;
}

Request &Request::add_string(const char *text) { return add(text, text_length(text) + 1); }

Status Request::send(uint64_t deadline)
{
    for (unsigned part = 0; part <= count_; ++part) {
        const char *data =
            part == 0 ? reinterpret_cast<const char *>(&header_) : parts_[part - 1].data;
        uint32_t left = part == 0 ? sizeof(header_) : parts_[part - 1].length;
        Error error = Error::none;
        const bool sent = wait_until(deadline, [&] {
            if (!client.waiting) {
                error = Error::protocol; // a violation, or a reply to half a request
                return true;
            }
            const auto some = client.ring.send(data, left);
            error = some.error();
            data += some.value();
            left -= some.value();
            if (some.value() != 0)
                notify(client.port);
            return left == 0 || !some.ok();
        });
        if (!sent || error != Error::none) {
            // The stream ends in the middle of a message: nobody can use it any more.
            LockGuard guard(client.lock);
            if (client.state == State::ready)
                start_over();
            return sent ? error : Error::timed_out;
        }
    }
    return {};
}

Result<Reply> Request::run()
{
    if (header_.length > payload_max)
        return Error::too_big;
    const uint64_t deadline = xen_port_now() + patience;
    Error error = Error::none;
    const bool usable = wait_until(deadline, [&] {
        if (client.state == State::reconnecting)
            return false;
        if (client.state != State::ready) {
            error = client.state == State::dead ? Error::protocol : Error::no_device;
            return true;
        }
        client.abandoned <<= 1;
        if (client.waiting) // the previous one timed out
            client.abandoned |= 1;
        client.id++;
        client.waiting = true;
        client.expected = static_cast<Message>(header_.type);
        return true;
    });
    if (!usable)
        return Error::timed_out;
    if (error != Error::none)
        return error;
    header_.request = client.id;
    TRY(send(deadline));
    const bool answered = wait_until(deadline, [&] {
        error = client.error;
        return !client.waiting;
    });
    if (!answered)
        return Error::timed_out;
    if (error != Error::none)
        return error;
    return Reply{client.reply, client.reply_length};
}

// ---- life ----

Status start(void *page, EventPort port)
{
    {
        LockGuard guard(client.lock);
        // SAFETY: the page of start info, which the toolstack laid out as this structure.
        client.ring.attach(static_cast<Interface *>(page));
        client.parser.reset();
        client.port = port;
        client.waiting = false;
        client.abandoned = 0;
        client.reconnects = 0;
        client.state = State::ready;
    }
    const int rc = xen_port_event_bind(port.value, on_event, nullptr);
    if (rc == 0)
        return {};
    LockGuard guard(client.lock);
    client.state = State::stopped;
    return static_cast<Error>(-rc);
}

void stop()
{
    EventPort port;
    {
        LockGuard guard(client.lock);
        if (client.state == State::stopped)
            return;
        if (client.waiting)
            finish_request(Error::no_device);
        client.state = State::stopped;
        while (client.watches != nullptr)
            remove_watch(*client.watches);
        port = client.port;
    }
    xen_port_event_unbind(port.value);
    wake();
}

// ---- watches ----

Status watch(Watch &watch)
{
    {
        LockGuard guard(client.lock);
        watch.token_ = ++client.tokens;
        watch.pending_ = watch.stale_ = false;
        watch.next_ = client.watches;
        client.watches = &watch;
    }
    const Status sent = send_watch(watch, Message::watch);
    if (!sent.ok()) {
        LockGuard guard(client.lock);
        remove_watch(watch);
    }
    return sent;
}

void unwatch(Watch &watch)
{
    // If it fails, xenstored has forgotten the watch or its events find no watch any more.
    (void)send_watch(watch, Message::unwatch);
    {
        LockGuard guard(client.lock);
        remove_watch(watch);
    }
    for (;;) {
        const uint32_t seen = client.changes.load();
        {
            LockGuard guard(client.lock);
            if (client.running != &watch)
                return;
        }
        wait(seen, idle_milliseconds);
    }
}

namespace {

// After a reconnect: registers again what xenstored forgot.
void renew_watches()
{
    for (;;) {
        Watch copy;
        {
            LockGuard guard(client.lock);
            Watch *watch = find_watch(&Watch::stale_, UINT32_MAX);
            if (watch == nullptr)
                return;
            watch->stale_ = false;
            copy.path = watch->path;
            copy.token_ = watch->token_;
        }
        if (!send_watch(copy, Message::watch).ok()) {
            Line line;
            log_warning(line.text("xenstore: lost the watch on ").text(copy.path.c_str()));
        }
    }
}

// Runs each watch that fired, once. Returns whether there was one.
bool run_watches()
{
    uint32_t last = UINT32_MAX;
    for (bool any = false;; any = true) {
        Path path;
        Watch *watch;
        {
            LockGuard guard(client.lock);
            watch = find_watch(&Watch::pending_, last);
            if (watch == nullptr)
                return any;
            watch->pending_ = false;
            path = watch->fired_;
            last = watch->token_;
            client.running = watch;
        }
        watch->changed(watch->context, path.c_str());
        {
            LockGuard guard(client.lock);
            client.running = nullptr;
        }
        wake(); // unwatch() may be waiting
    }
}

} // namespace

void run_once()
{
    const uint32_t seen = client.changes.load();
    bool moved = false;
    for (unsigned i = 0; i < messages_per_round && pump(); ++i)
        moved = true;
    renew_watches();
    if (!run_watches() && !moved)
        wait(seen, idle_milliseconds);
}

} // namespace xen::xenstore
