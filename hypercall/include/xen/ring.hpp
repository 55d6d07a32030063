// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The frontend's half of a shared request ring (public/io/ring.h): one page, written by both
// sides. Both positions that matter are private; of what the backend writes, the producer index is
// checked before it is believed and every response is copied out once.
#pragma once

#include <xen/shared.hpp>
#include <xen/types.hpp>

namespace xen {

// The head of a ring page; the slots follow.
struct RingHeader {
    uint32_t req_prod;
    uint32_t req_event; // the backend wants an event when req_prod passes this
    uint32_t rsp_prod;
    uint32_t rsp_event; // likewise for this side
    uint8_t pad[48];
};
static_assert(sizeof(RingHeader) == 64);

// Slots that fit: the largest power of two.
constexpr unsigned ring_slots(size_t slot_size)
{
    unsigned slots = 1;
    while (slots * 2 * slot_size <= page_size - sizeof(RingHeader))
        slots *= 2;
    return slots;
}

template <class Request, class Response>
class FrontRing {
public:
    // One slot holds a request and, later, some response.
    union Slot {
        Request request;
        Response response;
    };
    static constexpr unsigned size() { return ring_slots(sizeof(Slot)); }

    // Starts on a zeroed page, before the backend knows of it.
    void attach(void *page)
    {
        // SAFETY: a whole page of this guest's, larger than the header and the slots.
        header_ = static_cast<RingHeader *>(page);
        slots_ = reinterpret_cast<Slot *>(header_ + 1);
        req_prod_ = rsp_cons_ = rsp_prod_ = 0;
        published_ = 0;
        store_shared(header_->req_event, 1);
        store_shared(header_->rsp_event, 1);
    }

    // Requests without a response yet, and how many more fit.
    unsigned outstanding() const { return req_prod_ - rsp_cons_; }
    unsigned space() const { return size() - outstanding(); }

    // Position that the next request, or the next response to be taken, has or had.
    uint32_t request_position() const { return req_prod_; }
    uint32_t response_position() const { return rsp_cons_; }

    // Writes a request where there is space; the backend does not see it before publish().
    void put(const Request &request)
    {
        copy_to_shared(&slots_[req_prod_ % size()].request, &request, sizeof request);
        ++req_prod_;
    }

    // Shows the backend all requests put so far. True: it has to be notified.
    [[nodiscard]] bool publish()
    {
        uint32_t old = published_;
        published_ = req_prod_;
        // Pairs with the backend's read barrier between its load of req_prod and of the requests.
        write_barrier();
        store_shared(header_->req_prod, req_prod_);
        // Pairs with the backend's barrier between storing req_event and its last look at req_prod.
        full_barrier();
        uint32_t event = load_shared(header_->req_event);
        return req_prod_ - event < req_prod_ - old;
    }

    // Loads the backend's producer index, once: how many responses can be taken. `protocol`: the
    // index (see producer()) ran past the requests or went back.
    Result<uint32_t> pending()
    {
        uint32_t producer = load_shared(header_->rsp_prod);
        uint32_t seen = rsp_prod_ - rsp_cons_;
        rsp_prod_ = producer;
        uint32_t count = producer - rsp_cons_;
        if (count > outstanding() || count < seen)
            return Error::protocol;
        // Pairs with the backend's write barrier between the responses and rsp_prod.
        read_barrier();
        return count;
    }

    // The index as pending() last found it.
    uint32_t producer() const { return rsp_prod_; }

    // Copies the next response out; only as often as pending() said.
    Response take()
    {
        Response response;
        copy_from_shared(&response, &slots_[rsp_cons_ % size()].response, sizeof response);
        ++rsp_cons_;
        return response;
    }

    // Asks for an event at the next response. True: there is already one, which may have come
    // without an event.
    [[nodiscard]] bool arm()
    {
        store_shared(header_->rsp_event, rsp_cons_ + 1);
        // Pairs with the backend's barrier between storing rsp_prod and loading rsp_event.
        full_barrier();
        return load_shared(header_->rsp_prod) != rsp_cons_;
    }

private:
    RingHeader *header_ = nullptr;
    Slot *slots_ = nullptr;
    uint32_t req_prod_ = 0;
    uint32_t published_ = 0;
    uint32_t rsp_cons_ = 0;
    uint32_t rsp_prod_ = 0; // last seen, to notice it going back
};

} // namespace xen
