// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Packets through the network frontend, and a backend that follows the rules.
#include <algorithm>

#include "fixture.hpp"

namespace netfront_test {
namespace {

// Nothing of this is slowed down as an event storm, or shows the backend more than the packets.
class Data : public ConnectedTest {
protected:
    void TearDown() override
    {
        EXPECT_EQ(sim::delayed_events(), 0u);
        EXPECT_EQ(sim::leaked(), "");
        ConnectedTest::TearDown();
    }
};

TEST_F(Data, SendsEverySize)
{
    for (unsigned size = 14; size <= 1514; size++) {
        ASSERT_EQ(send(packet(size)), NETFRONT_SENT);
        settle();
        ASSERT_EQ(backend->sent.size(), 1u);
        ASSERT_EQ(backend->sent[0], packet(size));
        backend->sent.clear();
    }
    ASSERT_EQ(send(packet(4096)), NETFRONT_SENT);
    settle();
    EXPECT_EQ(backend->sent.at(0), packet(4096));
    EXPECT_EQ(backend->crossings.back().slots, 1u);
    EXPECT_EQ(counters().tx_packets, 1502u);
    EXPECT_EQ(counters().tx_bytes, 1501u * (14 + 1514) / 2 + 4096);
    EXPECT_EQ(counters().tx_dropped + counters().tx_errors, 0u);
}

TEST_F(Data, DropsImpossibleSizes)
{
    for (size_t size : {0, 1, 13, 4097, 65549})
        EXPECT_EQ(send(packet(size)), NETFRONT_DROPPED) << size;
    settle();
    EXPECT_TRUE(backend->sent.empty());
    EXPECT_EQ(counters().tx_dropped, 5u);
    expect_traffic();
}

TEST_F(Data, ReceivesEverySize)
{
    for (unsigned size = 14; size <= 1514; size++) {
        for (unsigned offset : {0u, 1u, 4096 - size}) {
            ASSERT_TRUE(backend->deliver(packet(size, offset), static_cast<uint16_t>(offset)));
            settle();
            ASSERT_EQ(received.size(), 1u);
            ASSERT_EQ(received[0], packet(size, offset));
            received.clear();
        }
    }
    ASSERT_TRUE(backend->deliver(packet(4096)));
    settle();
    ASSERT_EQ(received.size(), 1u);
    EXPECT_EQ(received[0], packet(4096));
    EXPECT_EQ(counters().rx_packets, 3 * 1501u + 1);
    EXPECT_EQ(counters().rx_bytes, 3 * 1501u * (14 + 1514) / 2 + 4096);
    EXPECT_EQ(counters().rx_errors + counters().rx_dropped, 0u);
}

// "Validated" is the backend's word, which nothing here depends on.
TEST_F(Data, IgnoresValidatedFlag)
{
    ASSERT_TRUE(backend->deliver(packet(100), 0, xen::netif::rx_data_validated));
    settle();
    EXPECT_EQ(received.size(), 1u);
}

// Bursts of all lengths both ways at once, often round the rings.
TEST_F(Data, KeepsOrderAndContentInBothDirections)
{
    unsigned to_send = 0, to_deliver = 0;
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < round % 97; i++, to_send++)
            ASSERT_EQ(send(packet(14 + to_send % 1501, to_send)), NETFRONT_SENT);
        for (unsigned i = 0; i < round % 89; i++, to_deliver++)
            ASSERT_TRUE(backend->deliver(packet(14 + to_deliver % 1501, to_deliver)));
        settle();
    }
    ASSERT_EQ(backend->sent.size(), to_send);
    ASSERT_EQ(received.size(), to_deliver);
    for (unsigned i = 0; i < to_send; i++)
        ASSERT_EQ(backend->sent[i], packet(14 + i % 1501, i));
    for (unsigned i = 0; i < to_deliver; i++)
        ASSERT_EQ(received[i], packet(14 + i % 1501, i));
}

TEST_F(Data, FullTransmitQueueStopsAndGoesOn)
{
    for (unsigned round = 0; round < 5; round++) {
        backend->serve_tx = false;
        backend->sent.clear();
        unsigned queued = 0;
        while (!full) {
            ASSERT_EQ(send(packet(64, queued)), NETFRONT_SENT);
            queued++;
            ASSERT_LE(queued, 256u);
        }
        EXPECT_GE(queued, 64u);
        settle();
        EXPECT_EQ(send(packet(64)), NETFRONT_FULL);
        EXPECT_TRUE(full);
        backend->serve_tx = true;
        backend->serve();
        settle();
        EXPECT_FALSE(full);
        ASSERT_EQ(backend->sent.size(), queued);
        for (unsigned i = 0; i < queued; i++)
            ASSERT_EQ(backend->sent[i], packet(64, i));
    }
    EXPECT_EQ(counters().tx_dropped, 0u);
    expect_traffic();
}

TEST_F(Data, AnswersOutOfOrderAreFine)
{
    backend->serve_tx = false;
    std::vector<xen::netif::TxRequest> requests(50);
    for (auto &request : requests) {
        ASSERT_EQ(send(packet(64)), NETFRONT_SENT);
        ASSERT_TRUE(backend->next_tx(request));
    }
    for (size_t i = requests.size(); i-- > 0;)
        backend->respond_tx({.id = requests[i].id, .status = 0});
    settle();
    EXPECT_EQ(counters().tx_packets, 50u);
    backend->serve_tx = true;
    backend->serve();
    expect_traffic();
}

TEST_F(Data, PollKeepsItsBudgetAndOffersAllBuffers)
{
    ASSERT_EQ(backend->receive_buffers(), 256u);
    unsigned delivered = 0;
    while (backend->deliver(packet(100, delivered)))
        delivered++;
    EXPECT_EQ(delivered, 256u);
    sim::run();
    poll(0);
    EXPECT_EQ(received.size(), 0u);
    poll(10);
    EXPECT_EQ(received.size(), 10u);
    EXPECT_EQ(backend->receive_buffers(), 10u);
    settle();
    EXPECT_EQ(received.size(), 256u);
    EXPECT_EQ(backend->receive_buffers(), 256u);
}

TEST_F(Data, NoMemoryDropsPacketsAndKeepsBuffers)
{
    out_of_buffers = true;
    for (unsigned i = 0; i < 600; i++) {
        ASSERT_TRUE(backend->deliver(packet(100)));
        settle();
    }
    EXPECT_EQ(counters().rx_dropped, 600u);
    EXPECT_EQ(backend->receive_buffers(), 256u);
    out_of_buffers = false;
    expect_traffic();
}

// A response between the last look of a poll and the next request for an event is not lost.
TEST_F(Data, RearmSeesWhatCameInBetween)
{
    EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
    ASSERT_TRUE(backend->deliver(packet(100)));
    EXPECT_TRUE(netfront_rearm(device, 0));
    EXPECT_EQ(netfront_poll(device, 0, 64), 1u);
    EXPECT_FALSE(netfront_rearm(device, 0));

    backend->serve_tx = false;
    xen::netif::TxRequest request;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    ASSERT_TRUE(backend->next_tx(request));
    backend->respond_tx({.id = request.id, .status = 0});
    EXPECT_TRUE(netfront_rearm(device, 0));
    EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
    EXPECT_EQ(counters().tx_packets, 1u);
    EXPECT_FALSE(netfront_rearm(device, 0));

    // And what comes afterwards makes an event, once.
    poll_wanted = false;
    ASSERT_TRUE(backend->deliver(packet(100)));
    sim::run();
    EXPECT_TRUE(poll_wanted);
}

// A granted page shows the backend packets of this interface and nothing else.
TEST_F(Data, Xsa403GrantedPagesShowNothingElse)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    xen::netif::TxRequest request;
    ASSERT_TRUE(backend->next_tx(request));
    Packet page(4096);
    ASSERT_TRUE(backend->peer.read(request.grant, 0, page.data(), 4096));
    EXPECT_EQ(Packet(page.begin(), page.begin() + 100), packet(100));
    EXPECT_EQ(Packet(page.begin() + 100, page.end()), Packet(3996, 0));
    // And it can only be read.
    EXPECT_FALSE(backend->peer.write(request.grant, 0, page.data(), 1));
}

// What lies around a packet in the guest's memory is in no page that the backend can reach, whether
// the toolstack says that it is trusted or not: packets are always copied.
class Trusted : public NetFrontTest, public testing::WithParamInterface<const char *> {};

TEST_P(Trusted, Xsa403NeighboursOfPacketsStayPrivate)
{
    prepare();
    if (*GetParam() != 0)
        sim::store::write(front_path + "/trusted", GetParam());
    ASSERT_EQ(probe(), 0);
    settle();
    Packet memory(3 * 4096, 0xc5);
    for (unsigned size = 14; size <= 1514; size++) {
        const Packet content = packet(size, size);
        std::copy(content.begin(), content.end(), memory.begin() + 4096);
        netfront_packet description{};
        description.length = size;
        const auto copy = [](void *cookie, size_t offset, void *to, size_t part) {
            std::memcpy(to, static_cast<uint8_t *>(cookie) + offset, part);
        };
        ASSERT_EQ(netfront_transmit(device, 0, &description, copy, memory.data() + 4096, false),
                  NETFRONT_SENT);
        std::fill_n(memory.begin() + 4096, size, 0xc5);
        ASSERT_TRUE(backend->deliver(content));
        settle();
        ASSERT_EQ(backend->sent.back(), content);
    }
    EXPECT_EQ(received.size(), 1501u);
    EXPECT_EQ(sim::grants_in_force(), pages_of_a_connection);
    EXPECT_EQ(sim::leaked(), "");
}

INSTANTIATE_TEST_SUITE_P(Key, Trusted, testing::Values("", "0", "1", "x"), [](const auto &info) {
    return *info.param == 0 ? std::string("absent") : std::string("is_") + info.param;
});

TEST_F(Data, BackendsErrorsAreCounted)
{
    backend->serve_tx = false;
    for (int16_t status : {-1, -2, -3, -32768, 2, 32767}) {
        xen::netif::TxRequest request;
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        ASSERT_TRUE(backend->next_tx(request));
        backend->respond_tx({.id = request.id, .status = status});
        settle();
    }
    EXPECT_EQ(counters().tx_errors, 6u);
    EXPECT_EQ(counters().tx_packets, 0u);

    for (int16_t status : {-1, -2, -3, -32768, 0, 1, 13})
        backend->respond_rx({.id = 0, .offset = 0, .flags = 0, .status = status});
    // Nothing of a failed packet matters, not even an offset.
    backend->respond_rx({.id = 0, .offset = 0xffff, .flags = 0, .status = -1});
    backend->respond_rx({.id = 0, .offset = 4096, .flags = 0, .status = 0});
    settle();
    EXPECT_EQ(counters().rx_errors, 9u);
    EXPECT_TRUE(received.empty());
    EXPECT_EQ(backend->receive_buffers(), 256u);

    EXPECT_TRUE(sim::complaints().empty());
    backend->serve_tx = true;
    backend->serve();
    expect_traffic();
}

} // namespace
} // namespace netfront_test
