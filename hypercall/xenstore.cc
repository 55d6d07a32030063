// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenstore's commands (docs/misc/xenstore.txt) and the xenbus state that is kept there
// (public/io/xenbus.h).
#include <xen/xenstore.hpp>

#include <xen/format.hpp>
#include <xen/port.h>

#include "xenstore_client.hpp"

namespace xen {

Result<Path> join_path(const char *directory, const char *key)
{
    Path path;
    TextBuilder text(path.data, sizeof(path.data));
    text.text(directory);
    if (*key != 0)
        text.text("/").text(key);
    if (text.overflowed())
        return Error::too_big;
    path.length = text.length();
    return path;
}

namespace xenstore {

Result<Value> read(Transaction t, const char *directory, const char *key)
{
    const Path path = TRY(join_path(directory, key));
    Request request(Message::read, t);
    const Reply reply = TRY(request.add_string(path.c_str()).run());
    Value value;
    if (reply.length >= sizeof(value.data))
        return Error::too_big;
    if (text_length(reply.data, reply.length) != reply.length)
        return Error::invalid;
    __builtin_memcpy(value.data, reply.data, reply.length);
    value.length = reply.length;
    return value;
}

Status write(Transaction t, const char *directory, const char *key, const char *value)
{
    const Path path = TRY(join_path(directory, key));
    Request request(Message::write, t);
    TRY(request.add_string(path.c_str()).add(value, text_length(value)).run());
    return {};
}

Status remove(Transaction t, const char *directory, const char *key)
{
    const Path path = TRY(join_path(directory, key));
    Request request(Message::rm, t);
    TRY(request.add_string(path.c_str()).run());
    return {};
}

namespace {

// The names of a directory, each with its NUL, in `names`; returns their length.
Result<uint32_t> read_names(Transaction t, const char *path, char *names)
{
    static_assert(payload_max <= page_size);
    Request request(Message::directory, t);
    const Reply reply = TRY(request.add_string(path).run());
    if (reply.length > 0 && reply.data[reply.length - 1] != 0)
        return Error::protocol;
    __builtin_memcpy(names, reply.data, reply.length);
    return reply.length;
}

} // namespace

Status list(Transaction t, const char *directory, void (*each)(void *context, const char *name),
            void *context)
{
    char *names = static_cast<char *>(xen_port_page_alloc());
    if (names == nullptr)
        return Error::no_memory;
    const auto length = read_names(t, directory, names);
    if (length.ok()) {
        for (uint32_t at = 0; at < length.value(); at += text_length(names + at) + 1)
            each(context, names + at);
    }
    xen_port_page_free(names);
    return length.error();
}

Result<Transaction> begin()
{
    Request request(Message::transaction_start, {});
    const Reply reply = TRY(request.add_string("").run());
    const uint32_t length = text_length(reply.data, reply.length);
    const uint64_t id = TRY(parse_number(reply.data, length, UINT32_MAX));
    ++client.transactions;
    return Transaction{static_cast<uint32_t>(id), reply.connection};
}

namespace {

Status end(Transaction t, const char *how)
{
    Request request(Message::transaction_end, t);
    --client.transactions; // if it fails, there is none all the more
    TRY(request.add_string(how).run());
    return {};
}

} // namespace

Status commit(Transaction t) { return end(t, "T"); }

void abort(Transaction t)
{
    // If it fails the transaction is lost, which is what was wanted.
    (void)end(t, "F");
}

Result<uint32_t> forward(uint32_t type, Transaction &t, const char *payload, uint32_t length,
                         char *reply, bool &refused)
{
    Request request(static_cast<Message>(type), t);
    const Reply answer = TRY(request.add(payload, length).run_any());
    t.connection = answer.connection;
    __builtin_memcpy(reply, answer.data, answer.length);
    refused = client.refused;
    return answer.length;
}

Result<uint64_t> read_number(Transaction t, const char *directory, const char *key)
{
    const Value value = TRY(read(t, directory, key));
    return parse_number(value.data, value.length);
}

Status write_number(Transaction t, const char *directory, const char *key, uint64_t value)
{
    TextLine<24> text;
    return write(t, directory, key, text.number(value).c_str());
}

} // namespace xenstore

XenbusState read_state(const char *directory)
{
    const auto number = xenstore::read_number({}, directory, "state");
    constexpr auto last = static_cast<uint64_t>(XenbusState::reconfigured);
    if (!number.ok() || number.value() > last)
        return XenbusState::unknown;
    return static_cast<XenbusState>(number.value());
}

Status write_state(const char *directory, XenbusState state)
{
    return xenstore::write_number({}, directory, "state", static_cast<uint64_t>(state));
}

} // namespace xen
