// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Requests to a disk's backend, right and wrong ones (public/io/blkif.h).
#include "disk.hpp"

#include <xen/port.h>
#include <xen/shared.hpp>

#include "guest.hpp"

using namespace xen;

namespace {

constexpr Transaction none{};
constexpr uint8_t op_read = 0, op_write = 1, op_flush = 3, op_discard = 5, op_indirect = 6;
constexpr int16_t rsp_okay = 0, rsp_unsupported = -2;
constexpr unsigned answer_ms = 5000, silence_ms = 300;
const Words honest;

} // namespace

Result<bool> Disk::connect(const Words &words)
{
    TRY(begin());
    TRY(make_grants());
    req_prod_ = rsp_cons_ = static_cast<uint32_t>(words.number("rsp_prod", 0));
    store_shared(rings_[0].header->rsp_prod, rsp_cons_);
    store_shared(rings_[0].header->req_prod,
                 static_cast<uint32_t>(words.number("req_prod", req_prod_)));
    TRY(key(words, "protocol", "x86_64-abi"));
    TRY(key(words, "ring-ref", rings_[0].grant.ref().value));
    TRY(key(words, "event-channel", events_.port().value));
    TRY(other_keys(words));
    if (!TRY(offer(words, "3")))
        return false;
    TRY(write_state(directory(), XenbusState::connected));
    sectors_ = TRY(xenstore::read_number(none, backend_.c_str(), "sectors"));
    return true;
}

void Disk::put_indirect(const Words &words, void *slot, uint32_t index)
{
    // The page of data holds the segments, too: their fields are what the case is about.
    for (unsigned i = 0; i < page_size / sizeof(Segment); ++i) {
        // SAFETY: within our page.
        reinterpret_cast<Segment *>(page_)[i] = {
            static_cast<uint32_t>(number(words, "gref", page_grant_.ref().value)),
            static_cast<uint8_t>(words.number("first", 0)),
            static_cast<uint8_t>(words.number("last", 0)), 0};
    }
    Indirect request{};
    request.operation = op_indirect;
    request.inner = static_cast<uint8_t>(words.number("inner", op_read));
    request.segments = static_cast<uint16_t>(words.number("segs", 1));
    request.id = index;
    request.sector = number(words, "sector", 0);
    for (uint32_t &gref : request.gref)
        gref = static_cast<uint32_t>(number(words, "igref", page_grant_.ref().value));
    store_shared_object(slot, request);
}

void Disk::put(const Words &words, uint32_t index)
{
    void *slot = rings_[0].slot(index, slots, sizeof(Request));
    auto operation = static_cast<uint8_t>(words.number("op", op_read));
    if (operation == op_indirect)
        return put_indirect(words, slot, index);
    if (operation == op_discard) {
        Discard request{
            op_discard, 0, 0, 0, index, number(words, "sector", 0), words.number("count", 1)};
        return store_shared_object(slot, request);
    }
    Request request{};
    request.operation = operation;
    request.segments = static_cast<uint8_t>(words.number("segs", 1));
    request.handle = static_cast<uint16_t>(words.number("handle", 0));
    request.id = words.number("id", index);
    request.sector = number(words, "sector", 0);
    for (Segment &segment : request.segment) {
        segment = {static_cast<uint32_t>(number(words, "gref", page_grant_.ref().value)),
                   static_cast<uint8_t>(words.number("first", 0)),
                   static_cast<uint8_t>(words.number("last", 7)), 0};
    }
    store_shared_object(slot, request);
}

Outcome Disk::answer(unsigned ms)
{
    if (!rings_[0].wait(rsp_cons_ + 1, event_count_, ms))
        return Outcome::dead;
    auto response =
        load_shared_object<Response>(rings_[0].slot(rsp_cons_++, slots, sizeof(Request)));
    if (response.status == rsp_okay)
        return Outcome::ok;
    return response.status == rsp_unsupported ? Outcome::unsupported : Outcome::error;
}

// Between the backend's two looks at a field, should it look twice, the field has changed: for as
// long as requests are unanswered each of them is now one that is good and now one that is not.
void Disk::flip(const Words &words, unsigned count)
{
    uint64_t deadline = xen_port_now() + 2'000'000'000;
    for (uint32_t turn = 0; xen_port_now() < deadline; ++turn) {
        uint32_t done = load_shared(rings_[0].header->rsp_prod);
        if (done - rsp_cons_ >= count)
            return;
        for (uint32_t index = done; index != rsp_cons_ + count; ++index)
            put(turn & 1 ? words : honest, index);
    }
}

Outcome Disk::send(const Words &words)
{
    auto count = static_cast<unsigned>(words.number("requests", 1));
    for (unsigned i = 0; i < count; ++i)
        put(words, req_prod_ + i);
    req_prod_ += count;
    rings_[0].publish(req_prod_ + static_cast<uint32_t>(words.number("ahead", 0)));
    events_.notify();
    if (words.has("revoke")) {
        // Against the rule that only a grant which nobody has mapped is taken back.
        store_shared(guest::grant_entry(page_grant_.ref()).flags, 0);
    }
    if (words.has("flip"))
        flip(words, count);
    storm(words.number("storm", 0));
    return answer(words.value("ahead") || words.has("impatient") ? silence_ms : answer_ms);
}

bool Disk::transfer(uint8_t operation)
{
    Request request{};
    request.operation = operation;
    request.segments = operation == op_flush ? 0 : 1;
    request.id = req_prod_;
    request.segment[0] = {page_grant_.ref().value, 0, 7, 0};
    store_shared_object(rings_[0].slot(req_prod_, slots, sizeof(Request)), request);
    rings_[0].publish(++req_prod_);
    events_.notify();
    return answer(answer_ms) == Outcome::ok;
}

bool Disk::works()
{
    // SAFETY: our own page, as numbers.
    auto *words = reinterpret_cast<uint64_t *>(page_);
    constexpr unsigned count = page_size / sizeof(uint64_t);
    uint64_t pattern = xen_port_now() ^ pattern_++;
    for (unsigned i = 0; i < count; ++i)
        words[i] = pattern + i;
    if (!transfer(op_write) || !transfer(op_flush))
        return false;
    __builtin_memset(page_, 0, page_size);
    if (!transfer(op_read))
        return false;
    for (unsigned i = 0; i < count; ++i) {
        if (load_shared(words[i]) != pattern + i)
            return false;
    }
    return true;
}
