// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The frontend's half of a shared request ring (public/io/ring.h). Both positions that matter are
// private; of what the backend writes, the producer index is checked before it is believed and
// every response is copied out once. A position is the number of its message, a slot that number
// modulo the ring's size.
#pragma once

#include <xen/shared.hpp>
#include <xen/types.hpp>

namespace xen {

// The head of a ring; the slots follow.
struct RingHeader {
    uint32_t req_prod;
    uint32_t req_event; // the backend wants an event when req_prod reaches this
    uint32_t rsp_prod;
    uint32_t rsp_event; // likewise for this side
    uint8_t pad[48];
};
static_assert(sizeof(RingHeader) == 64);

// Slots that fit into `bytes`: the largest power of two.
constexpr unsigned ring_slots(size_t bytes, size_t slot_size)
{
    unsigned slots = 1;
    while (size_t{slots} * 2 * slot_size <= bytes - sizeof(RingHeader))
        slots *= 2;
    return slots;
}

template <SharedObject Request, SharedObject Response>
class FrontRing {
public:
    // One slot holds a request and, later, some response.
    union Slot {
        Request request;
        Response response;
    };

    // Starts on zeroed memory, before the backend knows of it. Without events the backend sends
    // none for responses: nobody waits for them. (One in 2^32 messages.)
    void init(void *pages, size_t bytes = page_size, bool events = true)
    {
        // SAFETY: whole pages of this guest's, larger than the header and ring_slots() slots.
        header_ = static_cast<RingHeader *>(pages);
        slots_ = reinterpret_cast<Slot *>(header_ + 1);
        size_ = ring_slots(bytes, sizeof(Slot));
        req_prod_ = published_ = rsp_cons_ = rsp_prod_ = 0;
        store_shared(header_->req_event, 1);
        store_shared(header_->rsp_event, events ? 1 : 0);
    }

    unsigned size() const { return size_; }

    // How many more requests fit.
    unsigned free_slots() const { return size_ - (req_prod_ - rsp_cons_); }

    // Where the next request goes, and the next response comes from.
    unsigned request_slot() const { return req_prod_ & (size_ - 1); }
    unsigned response_slot() const { return rsp_cons_ & (size_ - 1); }

    // Writes a request, in any shape that fits a slot, where there is a free one. The backend does
    // not see it before push().
    template <SharedObject T>
    void put(const T &request)
    {
        static_assert(sizeof(T) <= sizeof(Slot));
        store_shared_object(&slots_[request_slot()], request);
        ++req_prod_;
    }

    // Were requests put since push()?
    bool staged() const { return req_prod_ != published_; }

    // Shows the backend all requests put so far. True: it has to be notified.
    [[nodiscard]] bool push()
    {
        const uint32_t old = published_;
        published_ = req_prod_;
        // Pairs with the backend's read barrier between its load of req_prod and of the requests.
        write_barrier();
        store_shared(header_->req_prod, req_prod_);
        // Pairs with the backend's barrier between storing req_event and its last look at req_prod.
        full_barrier();
        const uint32_t event = load_shared(header_->req_event);
        return req_prod_ - event < req_prod_ - old;
    }

    // Loads the backend's producer index, once: how many responses can be taken. `protocol`: the
    // index (see producer()) ran past the published requests or went back.
    Result<uint32_t> poll()
    {
        const uint32_t seen = rsp_prod_ - rsp_cons_;
        rsp_prod_ = load_shared(header_->rsp_prod);
        const uint32_t count = rsp_prod_ - rsp_cons_;
        if (count > published_ - rsp_cons_ || count < seen)
            return Error::protocol;
        // Pairs with the backend's write barrier between the responses and rsp_prod.
        read_barrier();
        return count;
    }

    // How many responses were taken so far: whether there was progress.
    uint32_t taken() const { return rsp_cons_; }

    // How many published requests have no response that was taken.
    uint32_t outstanding() const { return published_ - rsp_cons_; }

    // The index as poll() last found it.
    uint32_t producer() const { return rsp_prod_; }

    // Copies the next response out, in any shape of the slot; only as often as poll() said.
    template <SharedObject T = Response>
    [[nodiscard]] T take()
    {
        static_assert(sizeof(T) <= sizeof(Slot));
        const T response = load_shared_object<T>(&slots_[response_slot()]);
        ++rsp_cons_;
        return response;
    }

    // Asks for an event at the next response, or at the nth from now, and looks once more, as
    // poll(): a response may have come without an event.
    Result<uint32_t> final_check(uint32_t nth = 1)
    {
        store_shared(header_->rsp_event, rsp_cons_ + nth);
        // Pairs with the backend's barrier between storing rsp_prod and loading rsp_event.
        full_barrier();
        return poll();
    }

private:
    RingHeader *header_ = nullptr;
    Slot *slots_ = nullptr;
    uint32_t size_ = 0;
    uint32_t req_prod_ = 0;
    uint32_t published_ = 0;
    uint32_t rsp_cons_ = 0;
    uint32_t rsp_prod_ = 0; // as last seen, to notice it going back
};

} // namespace xen
