// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenstore for programs of the guest's (public/io/xs_wire.h): checks what they write, keeps apart
// what is theirs, and forwards the rest. Programs are the superuser's, but may be wrong.

#include "user.h"

#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/lock.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include <new>

using namespace xen;

namespace {

struct Header {
    uint32_t type;
    uint32_t request;
    uint32_t transaction;
    uint32_t length;
};
static_assert(sizeof(Header) == 16);

enum : uint32_t {
    directory = 1,
    read = 2,
    get_perms = 3,
    watch = 4,
    unwatch = 5,
    transaction_start = 6,
    transaction_end = 7,
    get_domain_path = 10,
    write = 11,
    mkdir = 12,
    rm = 13,
    set_perms = 14,
    watch_event = 15,
    error = 16,
    is_domain_introduced = 17,
    directory_part = 20,
};

constexpr uint32_t message_max = sizeof(Header) + xenstore_payload_max;
// Of all programs together: xenstored allows a domain 10 and 128, and the kernel needs some.
constexpr unsigned transactions_max = 6;
constinit Quota transactions_of_all(transactions_max);
constinit Quota watches_of_all(64);
constexpr uint32_t token_max = xenstore_path_max; // tools take the path for it
constexpr uint32_t out_size = 16384;              // a power of two: three replies, at least

// What xenstored's reset_watches would do, or control, is none of a program's business.
bool is_forwarded(uint32_t type)
{
    switch (type) {
    case directory:
    case read:
    case get_perms:
    case get_domain_path:
    case write:
    case mkdir:
    case rm:
    case set_perms:
    case is_domain_introduced:
    case directory_part:
        return true;
    default:
        return false;
    }
}

struct UserWatch {
    Watch watch;
    xenbus_user *user;
    UserWatch *next;
    bool owed; // it fired when there was no room
    Text<token_max> token;
};
static_assert(sizeof(UserWatch) <= page_size);

// What programs have ended, and xenstored has yet to be told of: until then each has its share.
struct Ended {
    SpinLock lock;
    UserWatch *watches = nullptr;
    Transaction transactions[transactions_max];
    unsigned count = 0; // of transactions
};
constinit Ended ended;

} // namespace

struct xenbus_user {
    void *context;

    // what is written; for one thread at a time
    char in[message_max];
    uint32_t in_length;
    Error failed; // what the program has yet to be told
    char reply[xenstore_payload_max];
    Transaction transactions[transactions_max];

    // what is to be read
    SpinLock lock;
    UserWatch *watches; // changed by whoever writes
    uint32_t out_produced, out_consumed;
    char out[out_size];
};

namespace {

// ---- what is to be read: under the lock ----

uint32_t room(const xenbus_user &user)
{
    return out_size - (user.out_produced - user.out_consumed);
}

void put(xenbus_user &user, const void *data, uint32_t length)
{
    const uint32_t at = user.out_produced % out_size;
    const uint32_t first = length < out_size - at ? length : out_size - at;
    __builtin_memcpy(user.out + at, data, first);
    __builtin_memcpy(user.out, static_cast<const char *>(data) + first, length - first);
    user.out_produced += length;
}

// An event, unless it would take the room of a reply.
bool put_event(xenbus_user &user, const char *path, const UserWatch &watch)
{
    const auto path_length = static_cast<uint32_t>(text_length(path)) + 1;
    const auto token_length = static_cast<uint32_t>(watch.token.length) + 1;
    const Header header{watch_event, 0, 0, path_length + token_length};
    if (room(user) < message_max + sizeof(header) + header.length)
        return false;
    put(user, &header, sizeof(header));
    put(user, path, path_length);
    put(user, watch.token.c_str(), token_length);
    return true;
}

// ---- what programs have ended ----

void end_later(UserWatch *watch)
{
    LockGuard guard(ended.lock);
    watch->next = ended.watches;
    ended.watches = watch;
}

void end_later(Transaction open)
{
    LockGuard guard(ended.lock);
    ended.transactions[ended.count++] = open;
}

// Tells xenstored, as long as it answers.
void tell_ended(xenbus_user &user)
{
    for (;;) {
        UserWatch *watch;
        Transaction open{};
        {
            LockGuard guard(ended.lock);
            watch = ended.watches;
            if (watch != nullptr)
                ended.watches = watch->next;
            else if (ended.count != 0)
                open = ended.transactions[--ended.count];
            else
                return;
        }
        bool refused;
        if (watch != nullptr) {
            if (xenstore::unwatch(watch->watch) == Error::timed_out)
                return end_later(watch);
            xen_port_page_free(watch);
            watches_of_all.give();
        } else {
            if (xenstore::forward(transaction_end, open, "F", 2, user.reply, refused).error() ==
                Error::timed_out)
                return end_later(open);
            transactions_of_all.give();
        }
    }
}

bool take_share(xenbus_user &user, Quota &quota)
{
    if (quota.take())
        return true;
    tell_ended(user);
    return quota.take();
}

// ---- replies ----

void reply(xenbus_user &user, const Header &request, uint32_t type, const char *data,
           uint32_t length)
{
    const Header header{type, request.request, request.transaction, length};
    {
        LockGuard guard(user.lock);
        put(user, &header, sizeof(header));
        put(user, data, length);
    }
    xenbus_user_port_wake(user.context);
}

void reply_text(xenbus_user &user, const Header &request, uint32_t type, const char *text)
{
    reply(user, request, type, text, static_cast<uint32_t>(text_length(text)) + 1);
}

void refuse(xenbus_user &user, const Header &request, const char *name)
{
    reply_text(user, request, error, name);
}

void refuse(xenbus_user &user, const Header &request, Error why)
{
    refuse(user, request,
           why == Error::exists     ? "EEXIST"
           : why == Error::access   ? "EACCES"
           : why == Error::no_entry ? "ENOENT"
           : why == Error::no_space ? "EQUOTA"
           : why == Error::invalid  ? "EINVAL"
                                    : "EIO");
}

// ---- transactions ----

// Null: the program has none of this number. 0 has a place only if another one may begin.
Transaction *find_transaction(xenbus_user &user, uint32_t id)
{
    for (auto &open : user.transactions) {
        if (open.value == id)
            return &open;
    }
    return nullptr;
}

// An error: xenstored does not answer.
Status pass_on(xenbus_user &user, const Header &request, const char *payload, Transaction &t)
{
    bool refused = false;
    const auto length =
        xenstore::forward(request.type, t, payload, request.length, user.reply, refused);
    if (length.ok())
        reply(user, request, refused ? error : request.type, user.reply, length.value());
    else if (length.error() == Error::again)
        refuse(user, request, "EAGAIN"); // libxenstore begins a new one
    else
        return length.error();
    return {};
}

// The number of a transaction that xenstored just began; 0: none.
uint32_t parse(const char *text, uint32_t length)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        number = number * 10 + static_cast<uint64_t>(text[i] - '0');
    return number <= UINT32_MAX ? static_cast<uint32_t>(number) : 0;
}

Status begin(xenbus_user &user, const Header &request, const char *payload)
{
    Transaction *open = find_transaction(user, 0);
    if (open == nullptr || !take_share(user, transactions_of_all)) {
        refuse(user, request, "EQUOTA");
        return {};
    }
    Transaction begun{};
    bool refused = false;
    const auto length =
        xenstore::forward(request.type, begun, payload, request.length, user.reply, refused);
    if (length.ok() && !refused)
        begun.value = parse(user.reply, length.value());
    // None, or in place of one that xenstored forgot, since it gives the number again.
    if (Transaction *same = find_transaction(user, begun.value)) {
        open = same;
        transactions_of_all.give();
    }
    *open = begun;
    TRY(length);
    reply(user, request, refused ? error : request.type, user.reply, length.value());
    return {};
}

// Whatever the answer is, there is none any more. xenstored keeps one whose end makes no sense to
// it.
Status end(xenbus_user &user, const Header &request, const char *payload, Transaction &open)
{
    if (request.length != 2 || (payload[0] != 'T' && payload[0] != 'F') || payload[1] != 0) {
        refuse(user, request, "EINVAL");
        return {};
    }
    TRY(pass_on(user, request, payload, open));
    open.value = 0;
    transactions_of_all.give();
    return {};
}

// ---- watches ----

void changed(void *context, const char *path)
{
    auto &watch = *static_cast<UserWatch *>(context);
    {
        LockGuard guard(watch.user->lock);
        if (!put_event(*watch.user, path, watch))
            watch.owed = true;
    }
    xenbus_user_port_wake(watch.user->context);
}

// Path and token are all of the payload.
bool take_strings(const char *payload, uint32_t length, const char *&path, const char *&token)
{
    const auto path_length = static_cast<uint32_t>(text_length(payload, length));
    if (path_length == 0 || path_length >= xenstore_path_max || path_length + 2 > length)
        return false;
    path = payload;
    token = payload + path_length + 1;
    const uint32_t rest = length - path_length - 1;
    return rest <= token_max && text_length(token, rest) == rest - 1;
}

UserWatch **find_watch(xenbus_user &user, const char *path, const char *token)
{
    UserWatch **link = &user.watches;
    while (*link != nullptr && !(text_equal((*link)->watch.path.c_str(), path) &&
                                 text_equal((*link)->token.c_str(), token)))
        link = &(*link)->next;
    return link;
}

void start_watch(xenbus_user &user, const Header &request, const char *path, const char *token)
{
    if (*find_watch(user, path, token) != nullptr)
        return refuse(user, request, "EEXIST");
    if (!take_share(user, watches_of_all))
        return refuse(user, request, "EQUOTA");
    void *memory = xen_port_page_alloc();
    if (memory == nullptr) {
        watches_of_all.give();
        return refuse(user, request, "ENOMEM");
    }
    auto *started = new (memory) UserWatch{};
    started->user = &user;
    started->watch.path = join_path(path, "").take();
    started->watch.changed = changed;
    started->watch.context = started;
    started->token.length = text_length(token);
    __builtin_memcpy(started->token.data, token, started->token.length);
    if (const Status status = xenstore::watch(started->watch); !status.ok()) {
        if (status.error() == Error::timed_out) { // and may come to be
            end_later(started);
        } else {
            xen_port_page_free(memory);
            watches_of_all.give();
        }
        return refuse(user, request, status.error());
    }
    {
        LockGuard guard(user.lock);
        started->next = user.watches;
        user.watches = started;
    }
    reply_text(user, request, watch, "OK");
}

void stop_watch(xenbus_user &user, UserWatch **link)
{
    UserWatch *watch = *link;
    xenstore::forget(watch->watch);
    {
        LockGuard guard(user.lock);
        *link = watch->next;
    }
    end_later(watch);
}

Status carry_out(xenbus_user &user, const Header &request, const char *payload)
{
    Transaction *open = nullptr;
    if (request.transaction != 0) {
        open = find_transaction(user, request.transaction);
        if (open == nullptr) {
            refuse(user, request, "ENOENT");
            return {};
        }
    }
    if (request.type == transaction_end && open != nullptr)
        return end(user, request, payload, *open);
    if (is_forwarded(request.type)) {
        Transaction none{};
        return pass_on(user, request, payload, open != nullptr ? *open : none);
    }
    if (open != nullptr || request.type == transaction_end) {
        refuse(user, request, "EINVAL");
        return {};
    }
    if (request.type == transaction_start)
        return begin(user, request, payload);
    if (request.type != watch && request.type != unwatch) {
        refuse(user, request, "ENOSYS");
        return {};
    }
    const char *path, *token;
    if (!take_strings(payload, request.length, path, token)) {
        refuse(user, request, "EINVAL");
    } else if (request.type == watch) {
        start_watch(user, request, path, token);
    } else if (UserWatch **link = find_watch(user, path, token); *link != nullptr) {
        stop_watch(user, link);
        tell_ended(user);
        reply_text(user, request, unwatch, "OK");
    } else {
        refuse(user, request, "ENOENT");
    }
    return {};
}

// Takes what belongs to the message that is being written; `whole`: that was all of it.
Result<uint32_t> take(xenbus_user &user, const char *data, size_t length, bool &whole)
{
    Header header;
    uint32_t wanted = sizeof(header);
    if (user.in_length >= sizeof(header)) {
        __builtin_memcpy(&header, user.in, sizeof(header));
        wanted += header.length;
    }
    const uint32_t missing = wanted - user.in_length;
    const uint32_t taken = length < missing ? static_cast<uint32_t>(length) : missing;
    if (xenbus_user_port_copy(user.in + user.in_length, data, taken) != 0)
        return Error::fault;
    user.in_length += taken;
    whole = false;
    if (user.in_length < sizeof(header))
        return taken;
    __builtin_memcpy(&header, user.in, sizeof(header));
    if (header.length > xenstore_payload_max)
        return Error::invalid;
    whole = user.in_length == sizeof(header) + header.length;
    return taken;
}

// Of what the program writes, `done` was carried out, and what follows is dropped. It is told so in
// turn: else it would go on in the middle of a request, or repeat one.
long fail(xenbus_user &user, Error why, size_t done)
{
    user.in_length = 0;
    if (done == 0)
        return to_errno(why);
    user.failed = why;
    return static_cast<long>(done);
}

} // namespace

size_t xenbus_user_size() { return sizeof(xenbus_user); }

xenbus_user *xenbus_user_open(void *memory, void *context)
{
    auto *user = new (memory) xenbus_user{};
    user->context = context;
    return user;
}

long xenbus_user_write(xenbus_user *user, const char *data, size_t length)
{
    size_t taken = 0;
    size_t done = 0; // of it
    if (user->failed != Error::none)
        return to_errno(std::exchange(user->failed, Error::none));
    while (taken < length) {
        if (!xenbus_user_writable(user))
            return taken != 0 ? static_cast<long>(taken) : to_errno(Error::again);
        bool whole;
        const auto part = take(*user, data + taken, length - taken, whole);
        if (!part.ok())
            return fail(*user, part.error(), done);
        taken += part.value();
        if (!whole)
            continue;
        Header request;
        __builtin_memcpy(&request, user->in, sizeof(request));
        if (!carry_out(*user, request, user->in + sizeof(request)).ok())
            return fail(*user, Error::io, done);
        user->in_length = 0;
        done = taken;
    }
    return static_cast<long>(taken);
}

size_t xenbus_user_read(xenbus_user *user, char *to, size_t size)
{
    LockGuard guard(user->lock);
    size_t given = 0;
    while (given < size && user->out_consumed != user->out_produced)
        to[given++] = user->out[user->out_consumed++ % out_size];
    for (UserWatch *watch = user->watches; watch != nullptr; watch = watch->next) {
        if (watch->owed && put_event(*user, watch->watch.path.c_str(), *watch))
            watch->owed = false;
    }
    return given;
}

int xenbus_user_readable(xenbus_user *user)
{
    LockGuard guard(user->lock);
    return user->out_consumed != user->out_produced;
}

int xenbus_user_writable(xenbus_user *user)
{
    LockGuard guard(user->lock);
    return room(*user) >= message_max; // of a reply
}

void xenbus_user_close(xenbus_user *user)
{
    while (user->watches != nullptr)
        stop_watch(*user, &user->watches);
    for (const auto &open : user->transactions)
        if (open.value != 0)
            end_later(open);
    tell_ended(*user);
}
