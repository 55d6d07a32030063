// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Packets of all sizes and kinds through the network frontend, with a backend that offers
// everything: chains, segmentation, checksums, batched notification, completions.
#include <algorithm>

#include "fixture.hpp"

namespace netfront_test {
namespace {

namespace netif = xen::netif;

// Around the edges of headers, frames and pages.
std::vector<unsigned> sizes()
{
    std::vector<unsigned> all;
    for (unsigned size = 14; size <= 80; size++)
        all.push_back(size);
    for (unsigned middle : {1514u, 9014u, 32768u})
        for (unsigned size = middle - 4; size <= middle + 4; size++)
            all.push_back(size);
    for (unsigned page = 1; page <= 16; page++)
        for (unsigned size = page * 4096 - 3; size <= std::min(65535u, page * 4096 + 15); size++)
            all.push_back(size);
    return all;
}

netfront_packet describe(bool blank, netfront_gso gso = NETFRONT_GSO_NONE, uint16_t size = 0)
{
    netfront_packet packet{};
    packet.checksum_blank = blank;
    packet.gso = gso;
    packet.gso_size = size;
    return packet;
}

class Offload : public FullTest {
protected:
    void TearDown() override
    {
        EXPECT_EQ(sim::delayed_events(), 0u);
        EXPECT_EQ(sim::leaked(), "");
        FullTest::TearDown();
    }
};

TEST_F(Offload, SendsSizesAroundTheEdges)
{
    for (const unsigned size : sizes()) {
        ASSERT_EQ(send(packet(size)), NETFRONT_SENT);
        settle();
        ASSERT_EQ(backend->sent.size(), 1u);
        ASSERT_EQ(backend->sent[0], packet(size));
        ASSERT_EQ(backend->crossings.back().slots, (size + 4095) / 4096);
        ASSERT_EQ(backend->crossings.back().flags, 0);
        backend->sent.clear();
    }
    EXPECT_EQ(send(packet(65536)), NETFRONT_DROPPED);
    EXPECT_EQ(send(packet(13)), NETFRONT_DROPPED);
    EXPECT_EQ(counters().tx_packets, sizes().size());
    EXPECT_EQ(counters().tx_dropped, 2u);
}

// Slots and memory are cut up in different ways.
TEST_F(Offload, ReceivesSizesAroundTheEdges)
{
    unsigned seed = 0;
    for (const unsigned size : sizes()) {
        constexpr uint32_t pieces[] = {~0u, 4096, 256, 3520, 1};
        memory_piece = size > 9000 ? std::max(pieces[seed % 5], 256u) : pieces[seed % 5];
        const auto offset = static_cast<uint16_t>(seed % 3 * 100);
        ASSERT_TRUE(backend->deliver(packet(size, ++seed), offset));
        settle();
        ASSERT_EQ(received.size(), 1u);
        ASSERT_EQ(received[0], packet(size, seed));
        received.clear();
    }
    EXPECT_EQ(counters().rx_packets, sizes().size());
    EXPECT_GT(counters().rx_chains, 200u);
}

TEST_F(Offload, ReceivesHeadersInPieces)
{
    const Packet content = packet(2000);
    for (unsigned first : {14u, 15u, 34u, 54u})
        for (unsigned second : {0u, 1u, 20u, 500u}) {
            ASSERT_TRUE(
                backend->deliver(content, 0, 0, {}, 0, {first, second, 2000 - first - second}));
            settle();
            ASSERT_EQ(received.size(), 1u);
            ASSERT_EQ(received[0], content);
            received.clear();
        }
}

TEST_F(Offload, SendsSegmentsAndBlankChecksums)
{
    struct Case {
        netfront_packet packet;
        unsigned size;
        uint16_t flags;
        uint8_t gso;
    };
    netfront_packet validated{};
    validated.checksum_validated = true;
    const Case cases[] = {
        {describe(true), 60, netif::tx_csum_blank | netif::tx_data_validated, 0},
        {validated, 60, netif::tx_data_validated, 0},
        {describe(true, NETFRONT_GSO_TCP_IPV4, 1448), 65535, 3, netif::gso_tcp_ipv4},
        {describe(true, NETFRONT_GSO_TCP_IPV6, 8948), 65535, 3, netif::gso_tcp_ipv6},
        {describe(true, NETFRONT_GSO_TCP_IPV4, 1), 100, 3, netif::gso_tcp_ipv4},
        {describe(true, NETFRONT_GSO_TCP_IPV6, 0xffff), 4097, 3, netif::gso_tcp_ipv6},
    };
    for (const Case &one : cases) {
        ASSERT_EQ(send(packet(one.size), one.packet), NETFRONT_SENT);
        settle();
        ASSERT_EQ(backend->sent.back(), packet(one.size));
        EXPECT_EQ(backend->crossings.back().flags, one.flags);
        EXPECT_EQ(backend->crossings.back().gso_type, one.gso);
        EXPECT_EQ(backend->crossings.back().gso_size, one.packet.gso_size);
    }
    EXPECT_EQ(counters().tx_gso, 4u);
    EXPECT_EQ(counters().tx_checksum_blank, 5u);
    EXPECT_EQ(counters().tx_packets, 6u);
    EXPECT_EQ(send(packet(100), describe(true, NETFRONT_GSO_TCP_IPV4, 0)), NETFRONT_DROPPED);
}

TEST_F(Offload, ReceivesSegmentsAndBlankChecksums)
{
    for (const uint8_t type : {netif::gso_tcp_ipv4, netif::gso_tcp_ipv6}) {
        const netif::ExtraInfo extra{.type = netif::extra_gso,
                                     .flags = 0,
                                     .gso = {.size = 1448, .type = type, .pad = 0, .features = 0}};
        ASSERT_TRUE(backend->deliver(packet(65535), 0,
                                     netif::rx_csum_blank | netif::rx_data_validated, {extra}));
        settle();
        ASSERT_EQ(received.back(), packet(65535));
        EXPECT_EQ(descriptions.back().gso, type);
        EXPECT_EQ(descriptions.back().gso_size, 1448);
        EXPECT_TRUE(descriptions.back().checksum_blank);
        EXPECT_TRUE(descriptions.back().checksum_validated);
        EXPECT_EQ(descriptions.back().hash_type, 0u);
    }
    ASSERT_TRUE(backend->deliver(packet(100), 0, netif::rx_data_validated));
    settle();
    EXPECT_FALSE(descriptions.back().checksum_blank);
    EXPECT_EQ(counters().rx_gso, 2u);
    EXPECT_EQ(counters().rx_checksum_blank, 2u);
}

// What the backend does not offer is never sent to it.
TEST_F(NetFrontTest, SendsNothingThatWasNotOffered)
{
    connect();
    sim::store::write(back_path + "/feature-no-csum-offload", "1");
    for (const bool offered : {false, true}) {
        sim::store::write(back_path + "/feature-sg", offered ? "1" : "0");
        sim::store::write(back_path + "/feature-gso-tcpv4", offered ? "1" : "yes");
        backend->set_state(5);
        settle();
        ASSERT_TRUE(link);
        // Segments need checksums, which are offered by nothing being said.
        EXPECT_FALSE(features.send_gso_ipv4);
        EXPECT_FALSE(features.send_checksum_ipv4);
        EXPECT_EQ(features.mtu_max, offered ? 65517u : 1500u);
        EXPECT_EQ(send(packet(4097)), offered ? NETFRONT_SENT : NETFRONT_DROPPED);
        EXPECT_EQ(send(packet(100), describe(true)), NETFRONT_DROPPED);
        EXPECT_EQ(send(packet(100), describe(true, NETFRONT_GSO_TCP_IPV4, 50)), NETFRONT_DROPPED);
        EXPECT_EQ(send(packet(100), describe(true, NETFRONT_GSO_TCP_IPV6, 50)), NETFRONT_DROPPED);
    }
    sim::store::remove(back_path + "/feature-no-csum-offload");
    backend->set_state(5);
    settle();
    EXPECT_TRUE(features.send_gso_ipv4);
    EXPECT_EQ(send(packet(100), describe(true, NETFRONT_GSO_TCP_IPV4, 50)), NETFRONT_SENT);
    EXPECT_EQ(send(packet(100), describe(true, NETFRONT_GSO_TCP_IPV6, 50)), NETFRONT_DROPPED);
    settle();
    expect_traffic();
}

// ---- batching ----

TEST_F(Offload, TellsTheBackendOnceForABurst)
{
    for (unsigned burst : {1u, 2u, 30u}) {
        const uint64_t before = counters().tx_notifications;
        for (unsigned i = 1; i <= burst; i++) {
            ASSERT_EQ(send(packet(100, i), {}, 0, i < burst), NETFRONT_SENT);
            if (i < burst) {
                sim::run();
                ASSERT_TRUE(backend->sent.empty());
            }
        }
        settle();
        EXPECT_EQ(backend->sent.size(), burst);
        EXPECT_EQ(counters().tx_notifications, before + 1);
        backend->sent.clear();
    }
}

// However a burst ends, the backend hears of it.
TEST_F(Offload, EveryBurstEnds)
{
    const auto expect_sent = [this](unsigned count) {
        settle();
        EXPECT_EQ(backend->sent.size(), count);
        backend->sent.clear();
    };
    ASSERT_EQ(send(packet(100), {}, 0, true), NETFRONT_SENT);
    netfront_flush(device, 0);
    expect_sent(1);
    ASSERT_EQ(send(packet(100), {}, 0, true), NETFRONT_SENT);
    EXPECT_EQ(send(packet(13), {}, 0, false), NETFRONT_DROPPED); // the last one
    expect_sent(1);
    last_of_burst = true; // the kernel's queue limit
    ASSERT_EQ(send(packet(100), {}, 0, true), NETFRONT_SENT);
    expect_sent(1);
    last_of_burst = false;
    unsigned count = 0;
    for (; !full; count++)
        ASSERT_EQ(send(packet(9000), {}, 0, true), NETFRONT_SENT);
    expect_sent(count);
}

// While the queue is not full, the largest packet fits.
TEST_F(Offload, FullQueueStopsAndGoesOn)
{
    const netfront_packet large = describe(true, NETFRONT_GSO_TCP_IPV4, 1448);
    for (const unsigned size : {60u, 4097u, 65535u}) {
        SCOPED_TRACE(size);
        for (const unsigned buffers : {32u, 128u, 256u}) {
            wishes.tx_buffers = static_cast<uint16_t>(buffers);
            netfront_reconnect(device);
            settle();
            ASSERT_TRUE(link);
            backend->serve_tx = false;
            backend->sent.clear();
            std::vector<unsigned> queued;
            for (; !full; queued.push_back(size))
                ASSERT_EQ(send(packet(size), size == 65535 ? large : netfront_packet{}),
                          NETFRONT_SENT);
            while (send(packet(100)) == NETFRONT_SENT) // the kernel does not listen
                queued.push_back(100);
            EXPECT_TRUE(full);
            EXPECT_GE(queued.size(), (buffers - 16) / ((size + 4095) / 4096));
            backend->serve_tx = true;
            backend->serve();
            settle();
            EXPECT_FALSE(full);
            ASSERT_EQ(backend->sent.size(), queued.size());
            for (size_t i = 0; i < queued.size(); i++)
                ASSERT_EQ(backend->sent[i], packet(queued[i]));
            EXPECT_EQ(queues[0].packets_queued, 0u);
        }
    }
}

// ---- completions ----

// Slot by slot, in any order: a packet is done when all of it is, and its buffers are used again
// only then.
TEST_F(Offload, AnswersInAnyOrder)
{
    backend->serve_tx = false;
    uint32_t random = 1;
    for (unsigned round = 0; round < 20; round++) {
        std::vector<netif::TxResponse> responses;
        for (unsigned i = 0; i < 5; i++) {
            const unsigned size = 1000 + 3000 * i;
            ASSERT_EQ(send(packet(size), describe(true, NETFRONT_GSO_TCP_IPV4, 1448)),
                      NETFRONT_SENT);
            const auto taken = backend->take();
            ASSERT_TRUE(taken);
            ASSERT_EQ(taken->packet, packet(size));
            for (const auto &request : taken->requests)
                responses.push_back({.id = request.id, .status = 0});
            responses.push_back({.id = 0xffff, .status = netif::status_null});
        }
        EXPECT_EQ(queues[0].packets_queued, 5u);
        for (size_t i = responses.size(); i > 1; i--)
            std::swap(responses[i - 1], responses[(random = random * 1664525u + 1013904223u) % i]);
        for (const auto &response : responses) {
            if (response.status != netif::status_null) {
                EXPECT_GT(queues[0].packets_queued, 0u);
            }
            backend->respond_tx(response);
            settle();
        }
        EXPECT_EQ(queues[0].packets_queued, 0u);
    }
    EXPECT_EQ(counters().tx_packets, 100u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Offload, ErrorsAreCountedByPacket)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(9000)), NETFRONT_SENT);
    const auto taken = backend->take();
    ASSERT_EQ(taken->requests.size(), 3u);
    for (size_t i = 0; i < 3; i++)
        backend->respond_tx({.id = taken->requests[i].id, .status = int16_t(i == 0 ? 0 : -1)});
    settle();
    EXPECT_EQ(counters().tx_errors, 1u);
    EXPECT_EQ(counters().tx_packets, 0u);
    EXPECT_EQ(queues[0].packets_queued, 0u);
}

TEST_F(Offload, Xsa376SlotAnsweredTwice)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(9000)), NETFRONT_SENT);
    const auto taken = backend->take();
    const uint16_t id = taken->requests[0].id; // its packet is not done
    backend->respond_tx({.id = id, .status = 0});
    backend->respond_tx({.id = id, .status = 0});
    backend->serve_tx = true;
    expect_broken("tx id = " + std::to_string(id));
}

// As many null responses as extra-info slots; one more is one too many.
TEST_F(Offload, Xsa376SurplusNullResponse)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(9000), describe(true, NETFRONT_GSO_TCP_IPV4, 1448)), NETFRONT_SENT);
    ASSERT_TRUE(backend->take());
    backend->respond_tx({.id = 0, .status = netif::status_null});
    poll();
    EXPECT_TRUE(sim::complaints().empty());
    backend->respond_tx({.id = 0, .status = netif::status_null});
    poll();
    backend->serve_tx = true;
    expect_broken("tx status = 1");
}

// Fewer events than packets, and the last one always comes.
TEST_F(Offload, CoalescesCompletions)
{
    const auto events_of = [this](unsigned frames) {
        netfront_set_coalesce(device, frames, 0);
        backend->serve_tx = false;
        EXPECT_EQ(send(packet(100)), NETFRONT_SENT); // rearms as set
        backend->answer(*backend->take());
        settle();
        for (unsigned i = 0; i < 64; i++)
            EXPECT_EQ(send(packet(100)), NETFRONT_SENT);
        EXPECT_FALSE(netfront_rearm(device, 0));
        const unsigned before = events;
        while (const auto taken = backend->take()) {
            backend->answer(*taken);
            settle();
        }
        EXPECT_EQ(queues[0].packets_queued, 0u);
        return events - before;
    };
    EXPECT_EQ(events_of(1), 64u);
    const unsigned halves = events_of(256);
    EXPECT_GE(halves, 5u);
    EXPECT_LE(halves, 8u);
    EXPECT_GE(events_of(4), 16u);
    EXPECT_LE(events_of(4), 20u);
}

// What the backend holds back longest must not keep the rest waiting: not where the ring is full,
// nor where the kernel sends no more for a reason of its own; and whenever that begins.
TEST_F(Offload, QueueThatWaitsHearsOfEachCompletion)
{
    netfront_set_coalesce(device, NETFRONT_BUFFERS_MAX, 0);
    for (const bool full : {true, false}) {
        SCOPED_TRACE(full);
        auto &queue = queues[0];
        backend->serve_tx = false;
        for (unsigned i = 0; i < 40; i++)
            ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        backend->answer(*backend->take());
        settle();
        ASSERT_FALSE(netfront_rearm(device, 0)); // for half of them
        while (full && !queue.full)
            ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        queue.waits = true;
        if (!full) {
            ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        }
        for (unsigned i = 0, before = events; i < 10; i++, before = events) {
            backend->answer(*backend->take());
            settle();
            ASSERT_EQ(events, before + 1);
        }
        queue.waits = false;
        backend->serve_tx = true;
        backend->serve();
        settle();
    }
}

// A completion that comes while the queue begins to wait is no event.
TEST_F(Offload, QueueThatWaitsLooksOnceMore)
{
    netfront_set_coalesce(device, NETFRONT_BUFFERS_MAX, 0);
    backend->serve_tx = false;
    for (unsigned i = 0; i < 40; i++)
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    backend->answer(*backend->take());
    settle();
    ASSERT_FALSE(netfront_rearm(device, 0));
    backend->answer(*backend->take());
    settle();
    const unsigned left = queues[0].packets_queued;
    queues[0].waits = true;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    settle();
    EXPECT_EQ(queues[0].packets_queued, left); // one more, one fewer
    backend->serve_tx = true;
    backend->serve();
    settle();
}

TEST_F(FullTest, PausesBetweenEvents)
{
    netfront_set_coalesce(device, 256, 5'000'000);
    const unsigned before = events;
    for (unsigned i = 0; i < 100; i++) {
        ASSERT_TRUE(backend->deliver(packet(100, i)));
        if (poll_wanted)
            poll();
        sim::advance(1'000'000);
    }
    EXPECT_LE(events - before, 22u);
    EXPECT_GE(events - before, 15u);
    sim::advance(6'000'000);
    settle();
    EXPECT_EQ(received.size(), 100u);
}

} // namespace
} // namespace netfront_test
