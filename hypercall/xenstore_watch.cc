// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenstore watches: which of them an event means, and running them one at a time, outside of all
// locks (docs/misc/xenstore.txt: WATCH, UNWATCH, WATCH_EVENT).
#include <xen/format.hpp>

#include "xenstore_client.hpp"

namespace xen::xenstore {

namespace {

constexpr uint32_t retire_milliseconds = 1000; // between looks at a running watch

constinit Atomic<uint32_t> renewals_held;

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

// When it returns, the watch does not run and will not.
void retire_watch(Watch &watch)
{
    for (;;) {
        const uint32_t seen = client.changes.load();
        {
            LockGuard guard(client.lock);
            remove_watch(watch);
            if (client.running != &watch)
                return;
        }
        wait(seen, retire_milliseconds);
    }
}

// The newest watch older than `token` that fired.
Watch *find_pending(uint32_t token)
{
    Watch *watch = client.watches;
    while (watch != nullptr && !(watch->token_ < token && watch->pending_))
        watch = watch->next_;
    return watch;
}

Watch *oldest_stale()
{
    Watch *oldest = nullptr;
    for (Watch *watch = client.watches; watch != nullptr; watch = watch->next_)
        oldest = watch->stale_ ? watch : oldest;
    return oldest;
}

Watch *find_token(uint32_t token)
{
    Watch *watch = client.watches;
    while (watch != nullptr && watch->token_ != token)
        watch = watch->next_;
    return watch;
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
    if (Watch *watch = find_token(static_cast<uint32_t>(number.value())))
        mark_watch(*watch, payload, path_length);
    return true;
}

void mark_all_stale()
{
    for (Watch *watch = client.watches; watch != nullptr; watch = watch->next_)
        watch->stale_ = true;
}

void forget_watches()
{
    while (client.watches != nullptr)
        remove_watch(*client.watches);
}

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
    if (!sent.ok())
        retire_watch(watch);
    return sent;
}

Status watch(Watch &watch, const char *directory, const char *key,
             void (*changed)(void *context, const char *path), void *context)
{
    watch.path = TRY(join_path(directory, key));
    watch.changed = changed;
    watch.context = context;
    return xenstore::watch(watch);
}

Error unwatch(Watch &watch)
{
    // First out of the list: a renewal that comes later finds it missing, see renew_watches().
    retire_watch(watch);
    // If it fails, xenstored has forgotten the watch or its events find no watch any more.
    return send_watch(watch, Message::unwatch).error();
}

void forget(Watch &watch) { retire_watch(watch); }

void hold_renewals(bool held)
{
    renewals_held.store(held);
    wake();
}

void renew_watches()
{
    for (;;) {
        Watch copy;
        {
            LockGuard guard(client.lock);
            Watch *watch = oldest_stale(); // the kernel's, before those of programs
            if (watch == nullptr || renewals_held.load() != 0)
                return;
            watch->stale_ = false;
            copy.path = watch->path;
            copy.token_ = watch->token_;
        }
        const Error error = send_watch(copy, Message::watch).error();
        const bool answered = error != Error::timed_out && error != Error::protocol;
        bool ended;
        {
            LockGuard guard(client.lock);
            Watch *watch = find_token(copy.token_);
            ended = watch == nullptr;
            if (!ended)
                watch->stale_ |= !answered;
        }
        if (ended) // meanwhile, and its end may have reached xenstored first
            (void)send_watch(copy, Message::unwatch);
        if (!answered)
            return; // again in the next round
        // It exists where an earlier try was not answered.
        if (error != Error::none && error != Error::exists && !ended) {
            Line line;
            log_warning(line.text("xenstore: lost the watch on ").text(copy.path.c_str()));
        }
    }
}

bool run_watches()
{
    uint32_t last = UINT32_MAX;
    for (bool any = false;; any = true) {
        Path path;
        Watch *watch;
        {
            LockGuard guard(client.lock);
            watch = find_pending(last);
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

} // namespace xen::xenstore
