// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a hostile backend does to the rings: each violation breaks the device, with one line of log
// that names field and value, and a new backend heals it.
#include <algorithm>

#include "fixture.hpp"

namespace netfront_test {
namespace {

using Hostile = ConnectedTest;

// ---- receive responses ----

struct BadReceive {
    const char *name;
    xen::netif::RxResponse response; // id: added to the right one
    std::string complaint;
};

void PrintTo(const BadReceive &bad, std::ostream *out) { *out << bad.name; }

class HostileReceive : public Hostile, public testing::WithParamInterface<BadReceive> {};

TEST_P(HostileReceive, BreaksTheDevice)
{
    backend->respond_rx(GetParam().response);
    expect_broken(GetParam().complaint);
}

TEST_P(HostileReceive, BreaksTheDeviceInTheMiddle)
{
    // The bad one in slot 0 again, behind packets that are delivered before it.
    for (unsigned i = 0; i < 256; i++) {
        ASSERT_TRUE(backend->deliver(packet(100)));
        if (i % 50 == 0)
            settle();
    }
    settle();
    received.clear();
    backend->respond_rx(GetParam().response);
    // What comes later is not looked at.
    backend->respond_rx({.id = 1, .offset = 9999, .flags = 4, .status = 100});
    ASSERT_TRUE(backend->deliver(packet(100)));
    expect_broken(GetParam().complaint);
}

const auto receive_name = [](const testing::TestParamInfo<BadReceive> &info) {
    return std::string(info.param.name);
};

INSTANTIATE_TEST_SUITE_P(
    Xsa376, HostileReceive,
    testing::Values(
        BadReceive{"next_id", {1, 0, 0, 100}, "rx id = 1"},
        BadReceive{"id_of_ring_size", {256, 0, 0, 100}, "rx id = 256"},
        BadReceive{"id_of_a_failed_one", {7, 0, 0, -1}, "rx id = 7"},
        BadReceive{"one_byte_over", {0, 0, 0, 4097}, "rx offset + status = 4097"},
        BadReceive{"largest_size", {0, 0, 0, 32767}, "rx offset + status = 32767"},
        BadReceive{"offset_pushes_it_over", {0, 3997, 0, 100}, "rx offset + status = 4097"},
        BadReceive{"offset_beyond", {0, 4097, 0, 0}, "rx offset + status = 4097"},
        BadReceive{"sum_that_wraps_in_16_bits", {0, 0xffff, 0, 100}, "rx offset + status = 65635"},
        BadReceive{"gso_prefix", {0, 0, 16, 100}, "rx flags = 16"},
        BadReceive{"unknown_flag", {0, 0, 0x8001, 100}, "rx flags = 32769"}),
    receive_name);

INSTANTIATE_TEST_SUITE_P(
    Cve202672380, HostileReceive,
    testing::Values(BadReceive{"highest_id", {0xffff, 0, 0, 100}, "rx id = 65535"},
                    BadReceive{"negative_id", {0x8000, 0, 0, 100}, "rx id = 32768"}),
    receive_name);

// Alone in its slot, what is shorter than a header is dropped, and its buffer is used again.
TEST_F(Hostile, Xsa522Cve202698375ShorterThanAHeaderIsDropped)
{
    for (unsigned round = 0; round < 50; round++) {
        for (int16_t size = 0; size < 14; size++)
            backend->respond_rx({.id = 0, .offset = 0, .flags = 0, .status = size});
        settle();
    }
    EXPECT_EQ(counters().rx_errors, 50u * 14);
    EXPECT_TRUE(received.empty());
    EXPECT_EQ(backend->receive_buffers(), 256u);
    ASSERT_TRUE(backend->deliver(packet(14)));
    settle();
    ASSERT_EQ(received.size(), 1u);
    EXPECT_EQ(received[0], packet(14));
    EXPECT_TRUE(sim::complaints().empty());
}

// ---- transmit responses ----

struct BadTransmit {
    const char *name;
    uint16_t id; // added to the right one
    int16_t status;
    unsigned times;
    std::string complaint;
};

void PrintTo(const BadTransmit &bad, std::ostream *out) { *out << bad.name; }

class HostileTransmit : public Hostile, public testing::WithParamInterface<BadTransmit> {};

TEST_P(HostileTransmit, BreaksTheDevice)
{
    backend->serve_tx = false;
    xen::netif::TxRequest first, second;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    ASSERT_TRUE(backend->next_tx(first));
    ASSERT_TRUE(backend->next_tx(second));
    ASSERT_EQ(first.id, 127); // the table counts on it
    const auto id = static_cast<uint16_t>(first.id + GetParam().id);
    for (unsigned i = 0; i < GetParam().times; i++)
        backend->respond_tx({.id = id, .status = GetParam().status});
    expect_broken(GetParam().complaint);
}

const auto transmit_name = [](const testing::TestParamInfo<BadTransmit> &info) {
    return std::string(info.param.name);
};

// The null responses answer extra-info slots, of which none was sent; nor do more of them, or
// behind good ones, stall the queue: the device is broken, and heals.
INSTANTIATE_TEST_SUITE_P(
    Xsa376, HostileTransmit,
    testing::Values(BadTransmit{"answered_twice", 0, 0, 2, "tx id = 127"},
                    BadTransmit{"never_sent", 0xffff - 126, 0, 1, "tx id = 0"},
                    BadTransmit{"id_of_pool_size", 1, 0, 1, "tx id = 128"},
                    BadTransmit{"id_of_ring_size", 129, 0, 1, "tx id = 256"},
                    BadTransmit{"null_response", 0, 1, 1, "tx status = 1"},
                    BadTransmit{"null_responses_to_all", 0, 1, 2, "tx status = 1"},
                    BadTransmit{"surplus_null_responses", 0, 1, 3, "tx rsp_prod = 3"}),
    transmit_name);

INSTANTIATE_TEST_SUITE_P(
    Cve202672380, HostileTransmit,
    testing::Values(BadTransmit{"highest_id", 0xffff - 127, 0, 1, "tx id = 65535"},
                    BadTransmit{"negative_id", 0x8000 - 127, 0, 1, "tx id = 32768"}),
    transmit_name);

// ---- producer indices ----

TEST_F(Hostile, Xsa376ReceiveProducerBeyondRequests)
{
    // 256 requests are out: 257 responses are too many.
    backend->rx.shared().rsp_prod = 257;
    backend->notify();
    expect_broken("rx rsp_prod = 257");
}

TEST_F(Hostile, Xsa376ReceiveProducerFarAway)
{
    backend->rx.shared().rsp_prod = 0x80000000;
    backend->notify();
    expect_broken("rx rsp_prod = 2147483648");
}

TEST_F(Hostile, Xsa376ReceiveProducerBackwards)
{
    for (unsigned i = 0; i < 10; i++)
        ASSERT_TRUE(backend->deliver(packet(100)));
    settle();
    received.clear();
    backend->rx.shared().rsp_prod = 9;
    backend->notify();
    expect_broken("rx rsp_prod = 9");
}

TEST_F(Hostile, Xsa376ReceiveProducerBackwardsBetweenPolls)
{
    for (unsigned i = 0; i < 10; i++)
        ASSERT_TRUE(backend->deliver(packet(100)));
    sim::run();
    poll(4);
    received.clear();
    backend->rx.shared().rsp_prod = 6;
    poll_wanted = true;
    expect_broken("rx rsp_prod = 6");
}

TEST_F(Hostile, Xsa376TransmitProducerBeyondRequests)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    backend->tx.shared().rsp_prod = 2;
    backend->notify();
    expect_broken("tx rsp_prod = 2");
}

TEST_F(Hostile, Xsa376TransmitProducerBackwards)
{
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    settle();
    backend->tx.shared().rsp_prod = 0;
    backend->notify();
    expect_broken("tx rsp_prod = 0");
}

// ---- everything else ----

// req_event decides about notifications alone: the packets are there.
TEST_F(Hostile, RequestEventNonsenseOnlyCostsEvents)
{
    for (uint32_t event : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        backend->tx.shared().req_event = event;
        backend->rx.shared().req_event = event;
        ASSERT_EQ(send(packet(100, event)), NETFRONT_SENT);
        ASSERT_TRUE(backend->deliver(packet(100, event)));
        settle();
        backend->serve();
        settle();
        ASSERT_EQ(backend->sent.back(), packet(100, event));
        ASSERT_EQ(received.back(), packet(100, event));
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// Own requests are never read back.
TEST_F(Hostile, Xsa155OwnRequestsAreNotReadBack)
{
    backend->serve_tx = false;
    for (unsigned slot = 0; slot < 256; slot++) {
        std::fill_n(backend->tx.slot(slot), 12, 0xff);
        std::fill_n(backend->rx.slot(slot), 8, 0xff);
    }
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    backend->tx.shared().req_prod = 77;
    backend->rx.shared().req_prod = 77;
    settle();
    netfront_poll(device, 0, 64);
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    EXPECT_EQ(backend->tx.shared().req_prod, 2u);
    EXPECT_TRUE(sim::complaints().empty());
}

// Transmit responses in the window between the event channel and the link: there is nothing yet
// that they could answer.
TEST_F(NetFrontTest, Xsa376TransmitResponseBeforeTheLinkIsUp)
{
    prepare(false);
    ASSERT_EQ(probe(), 0);
    settle();
    ASSERT_EQ(front_state(), "4");
    uint8_t *page = backend->peer.map(static_cast<uint32_t>(std::stoul(key("tx-ring-ref"))));
    ASSERT_NE(page, nullptr);
    const auto channel = static_cast<uint32_t>(std::stoul(key("event-channel")));
    const uint32_t port = backend->peer.bind(channel);
    ASSERT_NE(port, 0u);
    Backend::TxRing ring(page, 4096);
    backend->peer.notify(port); // an event alone does nothing
    settle();
    EXPECT_TRUE(sim::complaints().empty());
    ring.put(xen::netif::TxResponse{.id = 0, .status = 0});
    EXPECT_TRUE(ring.push());
    backend->peer.notify(port);
    sim::run();
    poll();
    EXPECT_TRUE(work_wanted);
    backend->peer.unmap(page);
    expect_broken("tx rsp_prod = 1");
}

// One line of log, one report, and no look at what comes later.
TEST_F(Hostile, Xsa376BreaksOnceAndIsQuietThen)
{
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
    EXPECT_FALSE(netfront_rearm(device, 0));
    EXPECT_TRUE(work_wanted);
    expect_broken("rx id = 9");
}

} // namespace
} // namespace netfront_test
