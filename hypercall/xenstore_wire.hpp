// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenstore's ring page and messages (public/io/xs_wire.h, docs/misc/xenstore-ring.txt): bytes in
// both directions with checked indices, and the parser that cuts what arrives into messages.
#pragma once

#include <cstddef>
#include <cstdint>

#include <xen/types.hpp>
#include <xen/xenstore.hpp>

namespace xen::xenstore {

constexpr uint32_t ring_size = 1024;
constexpr uint32_t payload_max = xenstore_payload_max;
constexpr uint32_t feature_reconnect = 1;
constexpr uint32_t connection_reconnect = 1; // 0: connected

struct Interface {
    char req[ring_size];
    char rsp[ring_size];
    uint32_t req_cons; // xenstored's
    uint32_t req_prod; // ours
    uint32_t rsp_cons; // ours
    uint32_t rsp_prod; // xenstored's
    uint32_t server_features;
    uint32_t connection; // set to reconnect by us, back to 0 by xenstored
};
static_assert(offsetof(Interface, req_cons) == 2048);
static_assert(sizeof(Interface) == 2072);

enum class Message : uint32_t {
    directory = 1,
    read = 2,
    watch = 4,
    unwatch = 5,
    transaction_start = 6,
    transaction_end = 7,
    write = 11,
    rm = 13,
    watch_event = 15,
    error = 16,
};

struct Header {
    uint32_t type;
    uint32_t request;
    uint32_t transaction;
    uint32_t length; // of the payload that follows
};
static_assert(sizeof(Header) == 16);

// Both byte streams. Own positions live here; protocol: an index of xenstored's makes no sense.
class Ring {
public:
    // Goes on where an earlier user (a boot loader) stopped, dropping replies to it.
    void attach(Interface *page);
    // Sends as much as there is room for; returns how much. The caller notifies.
    Result<uint32_t> send(const void *data, uint32_t length);
    // Takes at most `size` bytes; returns how many.
    Result<uint32_t> receive(void *to, uint32_t size);

    // How much of what was sent xenstored has yet to take.
    uint32_t unread() const;

    // A number that moves when xenstored sent something that was taken, or took something.
    uint32_t progress();

    // Does this xenstored know how to start over?
    bool can_reconnect() const;
    // Asks for it; until reconnected() the ring must not be used. The caller notifies.
    void reconnect();
    // True: xenstored emptied the ring, and so did this side.
    bool reconnected();

private:
    Interface *page_ = nullptr;
    uint32_t req_prod_ = 0;
    uint32_t rsp_cons_ = 0;
    uint32_t req_cons_ = 0; // as progress() last believed it; it never goes back
};

// Collects one message at a time.
class Parser {
public:
    void reset() { header_have_ = payload_have_ = 0; }
    // True: a whole message is there, until the next call. protocol: impossible index or length.
    // Sets `moved` when it took bytes out of the ring.
    Result<bool> feed(Ring &ring, bool &moved);

    const Header &header() const { return header_; }
    const char *payload() const { return payload_; }

private:
    bool whole() const;

    Header header_{};
    uint32_t header_have_ = 0;
    uint32_t payload_have_ = 0;
    char payload_[payload_max]{};
};

// The number that the whole text spells; anything else, or more than `max`, is invalid.
Result<uint64_t> parse_number(const char *text, size_t length, uint64_t max = UINT64_MAX);

// The meaning of an error message's payload.
Error parse_error(const char *payload, uint32_t length);

} // namespace xen::xenstore
