// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated xenstored's end of the guest's ring (public/io/xs_wire.h,
// docs/misc/xenstore-ring.txt), and the ways in which it can misbehave.
#include <cstring>
#include <deque>

#include "internal.hpp"
#include "sim.hpp"
#include "xenstore_wire.hpp"

namespace sim {

namespace {

using xen::xenstore::Header;
using xen::xenstore::Interface;
using xen::xenstore::Message;

alignas(4096) uint8_t page[4096];
std::vector<uint8_t> incoming;
std::deque<uint8_t> outgoing;
std::function<void(std::vector<uint8_t> &)> reply_filter;
bool answering;
bool forgiving;
bool deaf; // to what follows a bad request
unsigned request_count;
uint32_t consumed; // req_cons as it should be

Interface &ring() { return *reinterpret_cast<Interface *>(page); }

void emit(Header header, const std::vector<uint8_t> &payload)
{
    header.length = static_cast<uint32_t>(payload.size());
    std::vector<uint8_t> message(sizeof(header));
    std::memcpy(message.data(), &header, sizeof(header));
    message.insert(message.end(), payload.begin(), payload.end());
    if (reply_filter)
        reply_filter(message);
    outgoing.insert(outgoing.end(), message.begin(), message.end());
}

bool bad_request(const char *what)
{
    if (!forgiving)
        internal::fatal(what);
    deaf = true;
    incoming.clear();
    return false;
}

// Answers one request, if a whole one has arrived.
bool answer_one()
{
    Header header;
    if (incoming.size() < sizeof(header))
        return false;
    std::memcpy(&header, incoming.data(), sizeof(header));
    if (header.length > xen::xenstore::payload_max)
        return bad_request("the guest sends an over-long xenstore request");
    const size_t size = sizeof(header) + header.length;
    if (incoming.size() < size)
        return false;
    const std::vector<uint8_t> payload(incoming.begin() + sizeof(header),
                                       incoming.begin() + static_cast<long>(size));
    incoming.erase(incoming.begin(), incoming.begin() + static_cast<long>(size));
    ++request_count;
    internal::note_activity();
    // The request's own events follow the reply.
    std::deque<uint8_t> before = std::exchange(outgoing, {});
    std::vector<uint8_t> reply;
    try {
        reply = internal::guest_request(header.type, header.transaction, payload);
    } catch (const internal::StoreError &error) {
        header.type = static_cast<uint32_t>(Message::error);
        reply.assign(error.name, error.name + std::strlen(error.name) + 1);
    }
    std::deque<uint8_t> events = std::exchange(outgoing, std::move(before));
    emit(header, reply);
    outgoing.insert(outgoing.end(), events.begin(), events.end());
    return true;
}

bool receive()
{
    const uint32_t produced = ring().req_prod;
    if (deaf || ring().req_cons != consumed)
        return false; // a test broke the index: nothing is to be had before the ring starts over
    if (produced - consumed > xen::xenstore::ring_size)
        return bad_request("the guest overruns its xenstore ring");
    const bool any = produced != consumed;
    for (; consumed != produced; ++consumed)
        incoming.push_back(static_cast<uint8_t>(ring().req[consumed % xen::xenstore::ring_size]));
    ring().req_cons = consumed;
    return any;
}

bool transmit()
{
    bool any = false;
    while (!outgoing.empty() && ring().rsp_prod - ring().rsp_cons < xen::xenstore::ring_size) {
        ring().rsp[ring().rsp_prod % xen::xenstore::ring_size] =
            static_cast<char>(outgoing.front());
        outgoing.pop_front();
        ring().rsp_prod += 1;
        any = true;
    }
    return any;
}

void start_over()
{
    deaf = false;
    incoming.clear();
    outgoing.clear();
    internal::forget_guest();
    consumed = ring().req_cons = ring().req_prod = ring().rsp_cons = ring().rsp_prod = 0;
    std::memset(ring().req, 0xff, sizeof(ring().req));
    std::memset(ring().rsp, 0xff, sizeof(ring().rsp));
    ring().connection = 0;
}

} // namespace

namespace internal {

void boot_ring()
{
    std::memset(page, 0, sizeof(page));
    incoming.clear();
    outgoing.clear();
    reply_filter = {};
    answering = true;
    forgiving = deaf = false;
    request_count = 0;
    consumed = 0;
    ring().server_features = xen::xenstore::feature_reconnect;
}

void restore_ring()
{
    deaf = false;
    incoming.clear();
    outgoing.clear();
    forget_guest();
    consumed = ring().req_cons;
}

bool step_ring()
{
    if (!answering)
        return false;
    bool any = false;
    if (take_store_event()) {
        if (ring().connection == xen::xenstore::connection_reconnect) {
            start_over();
            any = true;
        }
        any |= receive();
        while (answer_one())
            any = true;
    }
    any |= transmit();
    if (any) {
        note_activity();
        raise_store();
    }
    return any;
}

void queue_guest_event(const std::string &path, const std::string &token)
{
    const std::string text = path + '\0' + token + '\0';
    emit({static_cast<uint32_t>(Message::watch_event), 0, 0, 0}, {text.begin(), text.end()});
}

} // namespace internal

namespace store {

unsigned requests() { return request_count; }
void filter_replies(std::function<void(std::vector<uint8_t> &)> filter)
{
    reply_filter = std::move(filter);
}
void answer(bool enabled) { answering = enabled; }

void support_reconnect(bool enabled)
{
    ring().server_features = enabled ? xen::xenstore::feature_reconnect : 0;
}

void send_raw(const std::vector<uint8_t> &bytes)
{
    outgoing.insert(outgoing.end(), bytes.begin(), bytes.end());
}

uint8_t *ring_page() { return page; }
void forgive_bad_requests() { forgiving = true; }

} // namespace store

} // namespace sim
