// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenstore's ring and messages (public/io/xs_wire.h). Every index and length is checked before use.
#include "xenstore_wire.hpp"

#include <xen/format.hpp>
#include <xen/shared.hpp>

namespace xen::xenstore {

namespace {

constexpr uint32_t mask = ring_size - 1;

uint32_t smallest(uint32_t a, uint32_t b) { return a < b ? a : b; }

} // namespace

void Ring::attach(Interface *page)
{
    page_ = page;
    req_cons_ = req_prod_ = load_shared(page->req_prod);
    rsp_cons_ = load_shared(page->rsp_prod);
    store_shared(page->rsp_cons, rsp_cons_);
}

Result<uint32_t> Ring::send(const void *data, uint32_t length)
{
    const uint32_t consumed = load_shared(page_->req_cons);
    full_barrier(); // req_cons before the bytes; pairs with xenstored reading before moving
    const uint32_t used = req_prod_ - consumed;
    if (used > ring_size)
        return Error::protocol;
    const uint32_t total = smallest(length, ring_size - used);
    const uint32_t first = smallest(total, ring_size - (req_prod_ & mask));
    copy_to_shared(&page_->req[req_prod_ & mask], data, first);
    copy_to_shared(page_->req, static_cast<const char *>(data) + first, total - first);
    req_prod_ += total;
    write_barrier(); // the bytes before req_prod; pairs with xenstored's reading req_prod first
    store_shared(page_->req_prod, req_prod_);
    return total;
}

Result<uint32_t> Ring::receive(void *to, uint32_t size)
{
    const uint32_t produced = load_shared(page_->rsp_prod);
    read_barrier(); // rsp_prod before the bytes; pairs with xenstored's writing them first
    const uint32_t ready = produced - rsp_cons_;
    if (ready > ring_size)
        return Error::protocol;
    const uint32_t total = smallest(ready, size);
    const uint32_t first = smallest(total, ring_size - (rsp_cons_ & mask));
    copy_from_shared(to, &page_->rsp[rsp_cons_ & mask], first);
    copy_from_shared(static_cast<char *>(to) + first, page_->rsp, total - first);
    rsp_cons_ += total;
    full_barrier(); // the bytes before rsp_cons; pairs with xenstored's reusing the space after it
    store_shared(page_->rsp_cons, rsp_cons_);
    return total;
}

uint32_t Ring::unread() const { return req_prod_ - load_shared(page_->req_cons); }

uint32_t Ring::progress()
{
    const uint32_t consumed = load_shared(page_->req_cons);
    if (req_prod_ - consumed <= req_prod_ - req_cons_)
        req_cons_ = consumed;
    return rsp_cons_ + req_cons_;
}

bool Ring::can_reconnect() const
{
    return (load_shared(page_->server_features) & feature_reconnect) != 0;
}

void Ring::reconnect() { store_shared(page_->connection, connection_reconnect); }

bool Ring::reconnected()
{
    if (load_shared(page_->connection) != 0)
        return false;
    read_barrier(); // connection before the indices; pairs with xenstored's zeroing them first
    req_prod_ = rsp_cons_ = req_cons_ = 0;
    return true;
}

bool Parser::whole() const
{
    return header_have_ == sizeof(header_) && payload_have_ == header_.length;
}

Result<bool> Parser::feed(Ring &ring, bool &moved)
{
    if (whole())
        reset();
    if (header_have_ < sizeof(header_)) {
        char *at = reinterpret_cast<char *>(&header_) + header_have_;
        const uint32_t got = TRY(ring.receive(at, sizeof(header_) - header_have_));
        moved |= got != 0;
        header_have_ += got;
        if (header_have_ < sizeof(header_))
            return false;
        if (header_.length > payload_max)
            return Error::protocol;
    }
    if (payload_have_ < header_.length) {
        const uint32_t got =
            TRY(ring.receive(payload_ + payload_have_, header_.length - payload_have_));
        moved |= got != 0;
        payload_have_ += got;
    }
    return whole();
}

Result<uint64_t> parse_number(const char *text, size_t length, uint64_t max)
{
    if (length == 0)
        return Error::invalid;
    uint64_t value = 0;
    for (size_t i = 0; i < length; ++i) {
        if (text[i] < '0' || text[i] > '9')
            return Error::invalid;
        const auto digit = static_cast<uint64_t>(text[i] - '0');
        if (__builtin_mul_overflow(value, uint64_t{10}, &value) ||
            __builtin_add_overflow(value, digit, &value) || value > max)
            return Error::invalid;
    }
    return value;
}

Error parse_error(const char *payload, uint32_t length)
{
    // EQUOTA is what oxenstored calls ENOSPC.
    static constexpr struct {
        char name[8];
        Error error;
    } names[] = {
        {"ENOENT", Error::no_entry}, {"EAGAIN", Error::again},
        {"EACCES", Error::access},   {"EINVAL", Error::invalid},
        {"EEXIST", Error::exists},   {"ENOMEM", Error::no_memory},
        {"ENOSPC", Error::no_space}, {"EQUOTA", Error::no_space},
        {"E2BIG", Error::too_big},   {"EPERM", Error::perm},
        {"EBUSY", Error::busy},      {"ENOSYS", Error::not_implemented},
    };
    if (length > 0 && payload[length - 1] == 0) {
        for (const auto &known : names) {
            if (text_equal(payload, known.name))
                return known.error;
        }
    }
    return Error::io;
}

} // namespace xen::xenstore
