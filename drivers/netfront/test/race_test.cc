// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A backend that changes shared memory while the frontend works on it: each field counts as it was
// when it was read, and is read once.
#include <cstring>

#include <sim/access.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

class Race : public ConnectedTest {
protected:
    // Ten packets each way, which the frontend has not looked at yet.
    void queue()
    {
        for (unsigned i = 0; i < 10; i++) {
            ASSERT_TRUE(backend->deliver(packet(100 + i, i), offset));
            ASSERT_EQ(send(packet(200 + i, i)), NETFRONT_SENT);
        }
        sim::run();
        sim::clear_loads();
    }

    void expect_all()
    {
        EXPECT_EQ(counters().tx_packets, 10u);
        ASSERT_EQ(received.size(), 10u);
        for (unsigned i = 0; i < 10; i++)
            EXPECT_EQ(received[i], packet(100 + i, i));
        EXPECT_TRUE(sim::complaints().empty());
    }

    // The backend's address of a byte of the guest's, if it is a slot of a ring or of a packet that
    // the backend has mapped.
    uint8_t *writable(const void *guest)
    {
        for (uint8_t *page : {backend->rx.slot(0), backend->tx.slot(0)})
            if (uint8_t *byte = same_page(page, guest))
                return byte < page ? nullptr : byte; // the head of a ring is not a slot
        for (uint8_t *page : backend->mapped_packets())
            if (uint8_t *byte = same_page(page, guest))
                return byte;
        return nullptr;
    }

    static constexpr uint16_t offset = 64;

private:
    static uint8_t *same_page(uint8_t *peer, const void *guest)
    {
        const auto page = [](const void *address) {
            return reinterpret_cast<uintptr_t>(address) & ~uintptr_t{4095};
        };
        if (page(sim::guest_view(peer)) != page(guest))
            return nullptr;
        return reinterpret_cast<uint8_t *>(page(peer) +
                                           (reinterpret_cast<uintptr_t>(guest) & 4095));
    }
};

TEST_F(Race, Xsa155EachFieldIsReadOnce)
{
    backend->map_packets = true;
    queue();
    poll();
    expect_all();
    for (unsigned i = 0; i < 10; i++) {
        EXPECT_EQ(sim::loads(backend->rx.slot(i), 8), 1u);
        EXPECT_EQ(sim::loads(backend->tx.slot(i), 4), 1u);
        EXPECT_EQ(sim::loads(backend->tx.slot(i) + 4, 8), 0u); // what is left of the request
    }
    // Once to begin with, once when the next event is asked for.
    EXPECT_EQ(sim::loads(&backend->rx.shared().rsp_prod), 2u);
    EXPECT_EQ(sim::loads(&backend->tx.shared().rsp_prod), 2u);
    for (uint8_t *page : backend->mapped_packets())
        EXPECT_LE(sim::loads(page, 4096), 1u);
}

TEST_F(Race, Xsa155WhatWasReadMayChange)
{
    backend->map_packets = true;
    queue();
    unsigned changes = 0;
    {
        const sim::LoadObserver spoil([&](const void *address, size_t size, unsigned) {
            if (uint8_t *bytes = writable(address)) {
                std::memset(bytes, 0xff, size);
                changes++;
            }
        });
        poll();
    }
    EXPECT_GE(changes, 10u * (2 + 1 + 1)); // words of responses each way, and packets
    expect_all();
}

// The index may grow while responses are taken: the new ones are for the next pass.
TEST_F(Race, Xsa155ProducerMayGrow)
{
    queue();
    bool once = false;
    {
        const sim::LoadObserver grow([&](const void *address, size_t, unsigned) {
            const void *slot = sim::guest_view(backend->rx.slot(0));
            if (address == slot && !std::exchange(once, true))
                __atomic_store_n(&backend->rx.shared().rsp_prod, 200, __ATOMIC_RELEASE);
        });
        EXPECT_EQ(netfront_poll(device, 0, 64), 10u);
    }
    EXPECT_TRUE(once);
    expect_all();
}

} // namespace
} // namespace netfront_test
