// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client: sends a request, matches what arrives to it or to a watch, and starts over
// when xenstored breaks the protocol (docs/misc/xenstore-ring.txt).
#include "xenstore_client.hpp"

#include <xen/format.hpp>
#include <xen/port.h>

namespace xen::xenstore {

constinit Client client;

namespace {

constexpr uint64_t patience = 5'000'000'000; // nanoseconds without a reply
constexpr uint32_t idle_milliseconds = 10'000;
constexpr uint32_t busy_milliseconds = 10; // between looks at a transaction
constexpr unsigned reconnects_max = 8;     // in a row, without one good reply
constexpr unsigned messages_per_round = 64;

// The rest is for whoever reads the ring.
void on_event(void *)
{
    client.throttle.arrived();
    wake();
}

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
    client.connection++;
    client.abandoned = 0;
    client.orphan_count = 0;
    client.out_length = client.out_sent = 0;
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
    mark_all_stale();
}

void keep_orphan(uint32_t transaction)
{
    if (client.orphan_count < unanswered_max)
        client.orphans[client.orphan_count++] = transaction;
}

// A reply that nobody waits for.
void take_late_reply(const Header &header)
{
    if (header.type != static_cast<uint32_t>(Message::transaction_start))
        return;
    const char *text = client.parser.payload();
    const auto begun = parse_number(text, text_length(text, header.length), UINT32_MAX);
    if (begun.ok())
        keep_orphan(static_cast<uint32_t>(begun.value()));
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
        client.refused = error;
        client.reply_length = header.length;
        __builtin_memcpy(client.reply, client.parser.payload(), header.length);
        finish_request(error ? parse_error(client.reply, header.length) : Error::none);
        if (client.given_up)
            take_late_reply(header);
        return true;
    }
    const uint32_t age = client.id - 1 - header.request;
    if (age >= unanswered_max || (client.abandoned >> age & 1) == 0) {
        violation = {"request id", header.request};
        return false;
    }
    client.abandoned &= ~(uint64_t{1} << age);
    take_late_reply(header);
    return true;
}

bool all_sent() { return client.out_sent == client.out_length; }

// xenstored has not taken a part of the latest request, to wait for the rest.
bool in_one_piece()
{
    if (client.state != State::ready)
        return true;
    const uint32_t unread = client.ring.unread();
    return all_sent() && (unread == 0 || unread >= client.out_length);
}

// Sends as much as there is room for.
Status send_rest()
{
    if (all_sent())
        return {};
    const char *rest = client.out + client.out_sent;
    const uint32_t some = TRY(client.ring.send(rest, client.out_length - client.out_sent));
    client.out_sent += some;
    if (some != 0)
        notify(client.port);
    return {};
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
    const Status sent = send_rest();
    const auto whole = client.parser.feed(client.ring, moved);
    const Header &header = client.parser.header();
    if (!sent.ok() || !whole.ok()) {
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

void report(const Violation &violation, bool dead)
{
    Line line;
    line.text("xenstore: bad ").text(violation.what).text(" ").hex(violation.value);
    log_error(line.text(dead ? ": given up" : ": reconnecting"));
}

bool pump()
{
    Violation violation;
    bool moved;
    bool dead;
    bool running;
    uint32_t progress = 0;
    {
        LockGuard guard(client.lock);
        moved = take_message(violation);
        dead = client.state == State::dead;
        running = client.state == State::ready || client.state == State::reconnecting;
        if (running) { // or there is no ring, and nobody else's port must be touched
            progress = client.ring.progress();
            client.unmasking.add(1);
        }
    }
    if (running) {
        client.throttle.done(client.port, progress); // may log: not under the lock
        client.unmasking.add(UINT32_MAX);            // one less
    }
    if (violation.what != nullptr)
        report(violation, dead);
    if (moved)
        wake();
    return moved;
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

} // namespace

void wake()
{
    client.changes.add(1);
    xen_port_xenstore_wake();
}

void wait(uint32_t seen, uint32_t milliseconds)
{
    xen_port_xenstore_wait(client.changes.address(), seen, milliseconds);
}

// ---- requests ----

Request::Request(Message type, Transaction transaction)
    : header_{static_cast<uint32_t>(type), 0, transaction.value, 0},
      connection_(transaction.connection)
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

void Request::start()
{
    client.abandoned <<= 1;
    if (client.waiting) // the previous one timed out
        client.abandoned |= 1;
    connection_ = client.connection;
    header_.request = ++client.id;
    client.waiting = true;
    client.refused = client.given_up = false;
    client.expected = static_cast<Message>(header_.type);
    __builtin_memcpy(client.out, &header_, sizeof(header_));
    client.out_length = sizeof(header_);
    client.out_sent = 0;
    for (unsigned i = 0; i < count_; ++i) {
        __builtin_memcpy(client.out + client.out_length, parts_[i].data, parts_[i].length);
        client.out_length += parts_[i].length;
    }
}

Result<Reply> Request::run_any()
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
        if (header_.transaction != 0 && connection_ != client.connection) {
            error = Error::again;
            return true;
        }
        if (!all_sent()) // of one that timed out
            return false;
        start();
        return true;
    });
    if (!usable)
        return Error::timed_out;
    if (error != Error::none)
        return error;
    const bool answered = wait_until(deadline, [&] {
        error = client.error;
        return !client.waiting;
    });
    if (!answered) {
        LockGuard guard(client.lock);
        client.given_up = client.waiting;
        if (client.given_up)
            return Error::timed_out;
        error = client.error; // at the last moment
    }
    if (error != Error::none && !client.refused)
        return error;
    return Reply{client.reply, client.reply_length, connection_};
}

Result<Reply> Request::run()
{
    const Reply reply = TRY(run_any());
    if (client.refused)
        return client.error;
    return reply;
}

// ---- life ----

namespace {

// Under the lock.
void attach(void *page, EventPort port)
{
    // SAFETY: the page of start info, which the toolstack laid out as this structure.
    client.ring.attach(static_cast<Interface *>(page));
    client.parser.reset();
    client.connection++;
    client.port = port;
    client.orphan_count = 0;
    client.reconnects = 0;
    client.throttle = {};
}

// When the client is stopped: whoever saw it run before may be about to unmask the port; nobody
// else will be.
void await_unmasking()
{
    while (client.unmasking.load() != 0)
        wait(client.changes.load(), 1);
}

Status listen(EventPort port)
{
    const int rc = xen_port_event_bind(port.value, on_event, nullptr);
    if (rc == 0)
        return {};
    LockGuard guard(client.lock);
    client.state = State::stopped;
    return static_cast<Error>(-rc);
}

} // namespace

Status start(void *page, EventPort port)
{
    {
        LockGuard guard(client.lock);
        attach(page, port);
        client.waiting = false;
        client.abandoned = 0;
        client.out_length = client.out_sent = 0;
        client.transactions = 0;
        client.state = State::ready;
    }
    return listen(port);
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
        forget_watches();
        port = client.port;
    }
    await_unmasking();
    xen_port_event_unbind(port.value);
    wake();
}

Status suspend()
{
    const uint64_t deadline = xen_port_now() + patience;
    for (;;) {
        xen_port_xenstore_lock();
        if (client.transactions == 0 && wait_until(deadline, in_one_piece))
            break;
        xen_port_xenstore_unlock();
        if (xen_port_now() >= deadline)
            return Error::busy;
        wait(client.changes.load(), busy_milliseconds);
    }
    // Nor does anybody read: the next xenstored may begin with a ring of its own.
    {
        LockGuard guard(client.lock);
        client.suspended = std::exchange(client.state, State::stopped);
    }
    await_unmasking();
    return {};
}

void resume()
{
    {
        LockGuard guard(client.lock);
        client.state = client.suspended;
    }
    xen_port_xenstore_unlock();
    wake();
}

// A request that was given up may still be in the ring, and be answered; so is the wish to start
// over.
Status resume_restored(void *page, EventPort port)
{
    {
        LockGuard guard(client.lock);
        attach(page, port);
        if (client.suspended != State::reconnecting)
            client.suspended = State::ready;
        mark_all_stale();
    }
    const Status status = listen(port);
    if (!status.ok())
        client.suspended = State::stopped;
    notify(port);
    resume();
    return status;
}

namespace {

// Or they would count among those that xenstored allows the domain.
void end_orphans()
{
    for (;;) {
        Transaction orphan;
        {
            LockGuard guard(client.lock);
            if (client.orphan_count == 0)
                return;
            orphan = {client.orphans[--client.orphan_count], client.connection};
        }
        Request request(Message::transaction_end, orphan);
        if (request.add_string("F").run().error() != Error::timed_out)
            continue;
        LockGuard guard(client.lock);
        if (client.connection == orphan.connection)
            keep_orphan(orphan.value); // for the next round
        return;
    }
}

} // namespace

void run_once()
{
    const uint32_t seen = client.changes.load();
    bool moved = false;
    for (unsigned i = 0; i < messages_per_round && pump(); ++i)
        moved = true;
    end_orphans();
    renew_watches();
    if (!run_watches() && !moved)
        wait(seen, idle_milliseconds);
}

} // namespace xen::xenstore
