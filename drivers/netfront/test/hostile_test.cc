// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a hostile backend does to the rings: each violation breaks the device, with one line of log
// that names field and value, and a new backend heals it.
#include <algorithm>

#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

class Hostile : public NetFrontTest {
protected:
    void SetUp() override
    {
        NetFrontTest::SetUp();
        connect();
    }

    // The device broke because of `complaint`, gave up everything, and works again with a new
    // backend.
    void expect_broken(const std::string &complaint)
    {
        settle();
        ASSERT_EQ(sim::complaints().size(), 1u);
        EXPECT_EQ(sim::complaints()[0], "device/vif/0: broken by its backend: " + complaint);
        EXPECT_FALSE(link);
        EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
        EXPECT_TRUE(received.empty());
        // The backend followed to Closed, and the frontend does not start again by itself.
        EXPECT_EQ(front_state(), "6");
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::grants_in_force(), 0u);
        EXPECT_EQ(sim::pages_in_use(), 0u);
        expect_reconnect();
        EXPECT_EQ(sim::complaints().size(), 1u);
    }
};

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

INSTANTIATE_TEST_SUITE_P(
    Table, HostileReceive,
    testing::Values(
        BadReceive{"next_id", {.id = 1, .offset = 0, .flags = 0, .status = 100}, "rx id = 1"},
        BadReceive{
            "id_of_ring_size", {.id = 256, .offset = 0, .flags = 0, .status = 100}, "rx id = 256"},
        BadReceive{
            "highest_id", {.id = 0xffff, .offset = 0, .flags = 0, .status = 100}, "rx id = 65535"},
        BadReceive{
            "id_of_a_failed_one", {.id = 7, .offset = 0, .flags = 0, .status = -1}, "rx id = 7"},
        BadReceive{"one_byte_over",
                   {.id = 0, .offset = 0, .flags = 0, .status = 4097},
                   "rx offset + status = 4097"},
        BadReceive{"largest_size",
                   {.id = 0, .offset = 0, .flags = 0, .status = 32767},
                   "rx offset + status = 32767"},
        BadReceive{"offset_pushes_it_over",
                   {.id = 0, .offset = 3997, .flags = 0, .status = 100},
                   "rx offset + status = 4097"},
        BadReceive{"offset_beyond",
                   {.id = 0, .offset = 4097, .flags = 0, .status = 0},
                   "rx offset + status = 4097"},
        BadReceive{"sum_that_wraps_in_16_bits",
                   {.id = 0, .offset = 0xffff, .flags = 0, .status = 100},
                   "rx offset + status = 65635"},
        BadReceive{"more_data", {.id = 0, .offset = 0, .flags = 4, .status = 100}, "rx flags = 4"},
        BadReceive{"more_data_after_a_stub",
                   {.id = 0, .offset = 0, .flags = 4, .status = 1},
                   "rx flags = 4"},
        BadReceive{"extra_info", {.id = 0, .offset = 0, .flags = 8, .status = 100}, "rx flags = 8"},
        BadReceive{"extra_info_on_a_failed_one",
                   {.id = 0, .offset = 0, .flags = 8, .status = -1},
                   "rx flags = 8"},
        BadReceive{
            "gso_prefix", {.id = 0, .offset = 0, .flags = 16, .status = 100}, "rx flags = 16"},
        BadReceive{"unknown_flag",
                   {.id = 0, .offset = 0, .flags = 0x8001, .status = 100},
                   "rx flags = 32769"}),
    [](const auto &info) { return std::string(info.param.name); });

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

INSTANTIATE_TEST_SUITE_P(
    Table, HostileTransmit,
    testing::Values(BadTransmit{"answered_twice", 0, 0, 2, "tx id = 127"},
                    BadTransmit{"never_sent", 0xffff - 126, 0, 1, "tx id = 0"},
                    BadTransmit{"id_of_pool_size", 1, 0, 1, "tx id = 128"},
                    BadTransmit{"id_of_ring_size", 129, 0, 1, "tx id = 256"},
                    BadTransmit{"highest_id", 0xffff - 127, 0, 1, "tx id = 65535"},
                    BadTransmit{"negative_id", 0x8000 - 127, 0, 1, "tx id = 32768"},
                    BadTransmit{"null_response", 0, 1, 1, "tx status = 1"}),
    [](const auto &info) { return std::string(info.param.name); });

// ---- producer indices ----

TEST_F(Hostile, ReceiveProducerBeyondRequests)
{
    // 256 requests are out: 257 responses are too many.
    backend->rx.shared().rsp_prod = 257;
    backend->notify();
    expect_broken("rx rsp_prod = 257");
}

TEST_F(Hostile, ReceiveProducerFarAway)
{
    backend->rx.shared().rsp_prod = 0x80000000;
    backend->notify();
    expect_broken("rx rsp_prod = 2147483648");
}

TEST_F(Hostile, ReceiveProducerBackwards)
{
    for (unsigned i = 0; i < 10; i++)
        ASSERT_TRUE(backend->deliver(packet(100)));
    settle();
    received.clear();
    backend->rx.shared().rsp_prod = 9;
    backend->notify();
    expect_broken("rx rsp_prod = 9");
}

TEST_F(Hostile, ReceiveProducerBackwardsBetweenPolls)
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

TEST_F(Hostile, TransmitProducerBeyondRequests)
{
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    backend->tx.shared().rsp_prod = 2;
    backend->notify();
    expect_broken("tx rsp_prod = 2");
}

TEST_F(Hostile, TransmitProducerBackwards)
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
TEST_F(Hostile, OverwrittenRequestsDoNotMatter)
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
    netfront_poll(device, 64);
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    EXPECT_EQ(backend->tx.shared().req_prod, 2u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Hostile, ManyEventsWithoutWork)
{
    for (unsigned i = 0; i < 1000; i++) {
        backend->notify();
        settle();
    }
    EXPECT_TRUE(sim::complaints().empty());
    expect_traffic();
}

// XSA-396: pages that the backend keeps mapped are not used again before it lets go.
TEST_F(Hostile, BrokenWhilePagesAreHeld)
{
    backend->map_packets = true;
    for (unsigned i = 0; i < 10; i++) {
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        ASSERT_TRUE(backend->deliver(packet(100)));
        settle();
    }
    received.clear();
    backend->respond_rx({.id = 5, .offset = 0, .flags = 0, .status = 100});
    settle();
    EXPECT_EQ(front_state(), "6");
    // Which transmit buffers were used is the frontend's business; the receive ones go round.
    const unsigned held = sim::grants_in_force();
    EXPECT_GE(held, 11u);
    EXPECT_LE(held, 20u);
    EXPECT_EQ(sim::pages_in_use(), held);

    // There is no new connection before it lets go.
    sim::store::write(back_path + "/state", "1");
    settle();
    EXPECT_EQ(front_state(), "6");
    EXPECT_FALSE(link);
    EXPECT_EQ(sim::complaints().size(), 2u);
    EXPECT_EQ(sim::grants_in_force(), held);
    EXPECT_EQ(sim::pages_in_use(), held);
    backend->drop_packet_mappings();
    sim::store::write(back_path + "/state", "1");
    settle();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
}

// However often it connects, a backend gets hold of no more than one connection's pages.
TEST_F(Hostile, CollectsPagesInManyConnections)
{
    backend->map_packets = true;
    for (unsigned round = 0; round < 10; round++) {
        while (backend->connected() && backend->deliver(packet(100)))
            ;
        backend->set_state(5);
        settle();
        backend->set_state(2);
        settle();
        ASSERT_LE(sim::grants_in_force(), 386u) << round;
        ASSERT_LE(sim::pages_in_use(), 386u) << round;
    }
    EXPECT_FALSE(link);
    backend->drop_packet_mappings();
    backend->map_packets = false;
    backend->set_state(2);
    settle();
    expect_traffic();
}

// The backend speaks before it is connected, and after it was broken.
TEST_F(Hostile, EventsAfterTheBreakAreIgnored)
{
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    EXPECT_EQ(netfront_poll(device, 64), 0u);
    EXPECT_FALSE(netfront_rearm(device));
    EXPECT_TRUE(broken_reported);
    expect_broken("rx id = 9");
}

TEST_F(Hostile, RemovedWhileBroken)
{
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    ASSERT_TRUE(broken_reported);
    netfront_remove(device);
    netfront_handle_broken(device); // the work that was queued
    EXPECT_EQ(netfront_poll(device, 64), 0u);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    broken_reported = false;
    remove();
}

} // namespace
} // namespace netfront_test
