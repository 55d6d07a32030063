// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The backend's side of a shared ring (public/io/ring.h), for peers in tests. It behaves when used
// as intended; shared() and slot() are there to misbehave with.
#pragma once

#include <cstring>

#include <xen/ring.hpp>

namespace sim {

template <class Request, class Response>
class BackRing {
public:
    static constexpr uint32_t slot_size = sizeof(typename xen::FrontRing<Request, Response>::Slot);

    BackRing() = default;
    BackRing(uint8_t *pages, uint32_t bytes)
        : pages_(pages), size_(xen::ring_slots(bytes, slot_size))
    {
    }

    // The next request, if there is one.
    template <class T = Request>
    bool get(T &request)
    {
        if (req_cons_ == load(shared().req_prod))
            return false;
        std::memcpy(&request, slot(req_cons_++), sizeof(T));
        return true;
    }

    // Asks for an event with the next request; true: there are requests already.
    bool final_check()
    {
        store(shared().req_event, req_cons_ + 1);
        xen::full_barrier();
        return req_cons_ != load(shared().req_prod);
    }

    template <class T>
    void put(const T &response)
    {
        std::memcpy(slot(rsp_prod_++), &response, sizeof(T));
    }

    // Publishes; true: the frontend wants an event.
    bool push()
    {
        const uint32_t old = load(shared().rsp_prod);
        xen::write_barrier();
        store(shared().rsp_prod, rsp_prod_);
        xen::full_barrier();
        return rsp_prod_ - load(shared().rsp_event) < rsp_prod_ - old;
    }

    xen::RingHeader &shared() { return *reinterpret_cast<xen::RingHeader *>(pages_); }
    uint8_t *slot(uint32_t index)
    {
        return pages_ + sizeof(xen::RingHeader) + size_t{index & (size_ - 1)} * slot_size;
    }
    uint32_t size() const { return size_; }
    uint32_t response_index() const { return rsp_prod_; }

private:
    // Not with <xen/shared.hpp>, which is the guest's.
    static uint32_t load(const uint32_t &index)
    {
        return __atomic_load_n(&index, __ATOMIC_ACQUIRE);
    }
    static void store(uint32_t &index, uint32_t value)
    {
        __atomic_store_n(&index, value, __ATOMIC_RELEASE);
    }

    uint8_t *pages_ = nullptr;
    uint32_t size_ = 0;
    uint32_t req_cons_ = 0;
    uint32_t rsp_prod_ = 0;
};

} // namespace sim
