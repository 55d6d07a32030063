// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Frames to a network backend, right and wrong ones (public/io/netif.h).
#include "nic.hpp"

#include <xen/port.h>
#include <xen/shared.hpp>

using namespace xen;

namespace {

constexpr Transaction none{};
constexpr uint16_t more_data = 4, extra_info = 8;
constexpr uint8_t extra_more = 1;
constexpr unsigned frame_size = 60, answer_ms = 3000, silence_ms = 300;
constexpr uint8_t dom0_address[4] = {10, 77, 0, 1}; // of the lab's bridge
const Words honest;

uint8_t hex_digit(char c)
{
    return static_cast<uint8_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

} // namespace

Status Nic::make_buffers()
{
    for (unsigned i = 0; i < buffers; ++i) {
        buffer_[i] = static_cast<uint8_t *>(xen_port_page_alloc());
        if (!buffer_[i])
            return Error::no_memory;
        buffer_grant_[i] = TRY(Grant::give(peer_, buffer_[i], GrantAccess::read_write));
    }
    return {};
}

void Nic::post(const Words &words, unsigned buffer)
{
    RxRequest request{
        static_cast<uint16_t>(words.number("rxid", buffer)), 0,
        static_cast<uint32_t>(number(words, "rxgref", buffer_grant_[buffer].ref().value))};
    store_shared_object(rings_[1].slot(rx_prod_++, slots, sizeof(RxRequest)), request);
}

Result<bool> Nic::connect(const Words &words)
{
    Value mac = TRY(xenstore::read(none, directory(), "mac"));
    for (unsigned i = 0; i < 6 && mac.length == 17; ++i)
        mac_[i] =
            static_cast<uint8_t>(hex_digit(mac.data[3 * i]) << 4 | hex_digit(mac.data[3 * i + 1]));
    TRY(begin());
    TRY(make_grants());
    TRY(make_buffers());
    tx_prod_ = tx_cons_ = rx_prod_ = rx_cons_ = 0;
    for (unsigned i = 0; i < buffers; ++i)
        post(words, i);
    rings_[1].publish(rx_prod_ + static_cast<uint32_t>(words.number("rxahead", 0)));
    TRY(key(words, "tx-ring-ref", rings_[0].grant.ref().value));
    TRY(key(words, "rx-ring-ref", rings_[1].grant.ref().value));
    TRY(key(words, "event-channel", events_.port().value));
    TRY(key(words, "request-rx-copy", 1));
    TRY(key(words, "feature-rx-notify", 1));
    TRY(other_keys(words));
    return offer(words, "4");
}

// An ARP request for dom0's address, in the page of data.
unsigned Nic::write_question()
{
    static constexpr uint8_t arp[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    __builtin_memset(page_, 0, frame_size);
    __builtin_memset(page_, 0xff, 6);
    __builtin_memcpy(page_ + 6, mac_, 6);
    __builtin_memcpy(page_ + 12, arp, sizeof arp);
    __builtin_memcpy(page_ + 22, mac_, 6);
    __builtin_memcpy(page_ + 28, dom0_address, 4);
    page_[31] = 77; // our own address: of no other in the lab
    __builtin_memcpy(page_ + 38, dom0_address, 4);
    return frame_size;
}

bool Nic::is_answer(const uint8_t *frame, int16_t length) const
{
    return length >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 &&
           __builtin_memcmp(frame, mac_, 6) == 0 &&
           __builtin_memcmp(frame + 28, dom0_address, 4) == 0;
}

void Nic::put_extras(const Words &words)
{
    auto count = static_cast<unsigned>(words.number("extras", 0));
    for (unsigned i = 0; i < count; ++i) {
        Extra extra{};
        extra.type = static_cast<uint8_t>(words.number("type", 1));
        extra.flags = i + 1 < count || words.has("endless") ? extra_more : 0;
        extra.gso_size = static_cast<uint16_t>(words.number("gsosize", 0));
        extra.gso_type = static_cast<uint8_t>(words.number("gsotype", 1));
        store_shared_object(rings_[0].slot(tx_prod_++, slots, sizeof(TxRequest)), extra);
    }
}

Outcome Nic::send(const Words &words)
{
    auto parts = static_cast<unsigned>(words.number("slots", 1));
    auto size = static_cast<uint16_t>(words.number("size", write_question()));
    auto total = static_cast<uint16_t>(words.number("total", size * parts));
    bool extras = words.value("extras");
    for (unsigned i = 0; i < parts; ++i) {
        TxRequest request{};
        request.gref = static_cast<uint32_t>(number(words, "gref", page_grant_.ref().value));
        request.offset = static_cast<uint16_t>(words.number("offset", 0));
        request.flags = static_cast<uint16_t>(words.number("flags", 0));
        if (i + 1 < parts || (words.has("endless") && !extras))
            request.flags |= more_data;
        if (i == 0 && extras)
            request.flags |= extra_info;
        request.id = static_cast<uint16_t>(tx_prod_);
        request.size = i == 0 ? total : size;
        store_shared_object(rings_[0].slot(tx_prod_++, slots, sizeof request), request);
        if (i == 0)
            put_extras(words);
    }
    rings_[0].publish(tx_prod_ + static_cast<uint32_t>(words.number("ahead", 0)));
    events_.notify();
    if (words.has("flip")) {
        TxRequest *first =
            static_cast<TxRequest *>(rings_[0].slot(tx_cons_, slots, sizeof(TxRequest)));
        for (unsigned turn = 0; turn < 200'000; ++turn)
            store_shared(first->size, turn & 1 ? uint16_t{0xffff} : size);
    }
    storm(words.number("storm", 0));
    return answer(words.has("impatient") ? silence_ms : answer_ms);
}

Outcome Nic::answer(unsigned ms)
{
    if (!rings_[0].wait(tx_cons_ + 1, event_count_, ms))
        return Outcome::dead;
    auto response =
        load_shared_object<TxResponse>(rings_[0].slot(tx_cons_, slots, sizeof(TxRequest)));
    tx_cons_ = load_shared(rings_[0].header->rsp_prod);
    return response.status == 0 ? Outcome::ok : Outcome::error;
}

// Looks through what has come; is the answer to our question among it?
bool Nic::take_packets()
{
    bool found = false;
    uint32_t prod = load_shared(rings_[1].header->rsp_prod);
    read_barrier(); // pairs with the backend's barrier between the responses and rsp_prod
    for (; rx_cons_ != prod && prod - rx_cons_ <= slots; ++rx_cons_) {
        auto response =
            load_shared_object<RxResponse>(rings_[1].slot(rx_cons_, slots, sizeof(RxRequest)));
        unsigned buffer = response.id % buffers;
        found |= response.offset == 0 && is_answer(buffer_[buffer], response.status);
        post(honest, buffer);
    }
    rings_[1].publish(rx_prod_);
    return found;
}

bool Nic::works()
{
    // The bridge forwards a new port's frames after a moment.
    for (unsigned tries = 0; tries < 5; ++tries) {
        if (send(honest) != Outcome::ok)
            return false;
        uint64_t deadline = xen_port_now() + 1'000'000'000;
        while (xen_port_now() < deadline) {
            if (take_packets())
                return true;
            events_.notify();
            rings_[1].wait(rx_cons_ + 1, event_count_, 100);
        }
    }
    return false;
}

void Nic::close()
{
    Frontend::close();
    for (unsigned i = 0; i < buffers; ++i) {
        if (buffer_[i])
            buffer_grant_[i].end_and_free(buffer_[i]);
        buffer_[i] = nullptr;
    }
}
