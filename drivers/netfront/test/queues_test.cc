// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Several queues, split event channels, and connections with other numbers than the one before
// (public/io/netif.h).
#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

class Queues : public FullTest {
protected:
    static bool has(const std::string &name)
    {
        return sim::store::read(front_path + "/" + name).has_value();
    }

    // The keys of this connection are there, and no others.
    void expect_keys()
    {
        const unsigned count = features.queues;
        EXPECT_EQ(has("multi-queue-num-queues"), count > 1);
        EXPECT_EQ(has("tx-ring-ref"), count == 1);
        EXPECT_EQ(has("ctrl-ring-ref"), features.control_ring);
        for (unsigned i = 0; i <= queues_max; i++) {
            const std::string queue = count == 1 ? "" : "queue-" + std::to_string(i) + "/";
            const bool exists = count == 1 || i < count;
            for (const char *ring : {"tx-ring-ref", "rx-ring-ref"})
                EXPECT_EQ(has(queue + ring), exists) << queue << ring;
            EXPECT_EQ(has(queue + "event-channel"), exists && !features.split_events);
            EXPECT_EQ(has(queue + "event-channel-tx"), exists && features.split_events);
            EXPECT_EQ(has(queue + "event-channel-rx"), exists && features.split_events);
        }
        EXPECT_EQ(has("queue-0"), count > 1);
    }

    unsigned pages() const
    {
        return features.queues * (2u + features.tx_buffers + features.rx_buffers) +
               (features.control_ring ? 2 : 0);
    }
};

TEST_F(Queues, AllPassPackets)
{
    EXPECT_EQ(features.queues, 4u);
    EXPECT_TRUE(features.split_events);
    EXPECT_TRUE(features.send_gso_ipv4 && features.send_gso_ipv6 && features.send_sg);
    expect_keys();
    for (unsigned i = 0; i < 10; i++)
        expect_traffic();
    for (unsigned queue = 0; queue < 4; queue++) {
        EXPECT_EQ(counters(queue).tx_packets, 50u);
        EXPECT_EQ(counters(queue).rx_packets, 50u);
        EXPECT_GT(counters(queue).events, 0u);
    }
    netfront_statistics statistics;
    EXPECT_FALSE(netfront_get_statistics(device, queues_max, &statistics));
    EXPECT_EQ(send(packet(100), {}, queues_max), NETFRONT_DROPPED);
    EXPECT_EQ(sim::leaked(), "");
    EXPECT_EQ(sim::delayed_events(), 0u);
}

TEST_F(Queues, ReconnectsWithOtherNumbers)
{
    unsigned round = 0;
    for (const unsigned count : {1u, 4u, 2u, 3u, 1u, 2u}) {
        for (const bool split : {false, true}) {
            constexpr uint16_t buffers[] = {0, 31, 33, 64, 200, 256, 1000};
            wishes.queues = static_cast<uint16_t>(count);
            wishes.split_events = split;
            wishes.tx_buffers = buffers[round % 7];
            wishes.rx_buffers = buffers[round++ * 3 % 7];
            netfront_reconnect(device);
            EXPECT_FALSE(link);
            settle();
            ASSERT_TRUE(link);
            EXPECT_EQ(features.queues, count);
            EXPECT_EQ(features.split_events, split);
            EXPECT_GE(features.tx_buffers, std::min<unsigned>(wishes.tx_buffers, 256));
            EXPECT_LE(features.rx_buffers, std::max<unsigned>(wishes.rx_buffers, 32));
            EXPECT_EQ(backend->receive_buffers(), features.rx_buffers);
            expect_keys();
            EXPECT_EQ(sim::pages_in_use(), pages());
            EXPECT_EQ(sim::grants_in_force(), pages());
            expect_traffic();
        }
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// No more than it has, no more than the kernel likes, whatever that says.
TEST_F(Queues, NumbersAreClamped)
{
    for (const auto &[offer, wish, expected] : {std::tuple{"0", 4, 1},
                                                {"1", 4, 1},
                                                {"2", 4, 2},
                                                {"4294967295", 3, 3},
                                                {"4", 0, 1},
                                                {"8", 8, 4},
                                                {"-1", 4, 1},
                                                {"", 4, 1}}) {
        sim::store::write(back_path + "/multi-queue-max-queues", offer);
        wishes.queues = static_cast<uint16_t>(wish);
        netfront_reconnect(device);
        settle();
        EXPECT_EQ(features.queues, expected) << offer;
        expect_keys();
        expect_traffic();
    }
}

// Packets in flight in every queue are lost, and nothing else.
TEST_F(Queues, ReconnectsUnderLoad)
{
    for (unsigned round = 0; round < 20; round++) {
        backend->serve_tx = false;
        for (unsigned queue = 0; queue < features.queues; queue++) {
            while (!queues[queue].full)
                ASSERT_EQ(send(packet(5000), {}, queue, true), NETFRONT_SENT);
            ASSERT_TRUE(backend->deliver(packet(9000), 0, 0, {}, queue));
        }
        wishes.queues = static_cast<uint16_t>(1 + round % 4);
        const uint64_t dropped = counters().tx_dropped;
        const unsigned lost = queues[0].packets_queued;
        netfront_reconnect(device);
        EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
        EXPECT_GT(lost, 0u);
        EXPECT_EQ(counters().tx_dropped, dropped + lost + 1);
        settle();
        backend->serve_tx = true;
        expect_traffic();
        received.clear();
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Queues, ReconnectsAtAnyTime)
{
    netfront_reconnect(device);
    netfront_reconnect(device);
    settle();
    expect_traffic();
    sim::store::remove(back_path + "/feature-rx-copy");
    netfront_reconnect(device);
    settle();
    EXPECT_FALSE(link);
    EXPECT_EQ(sim::complaints().size(), 1u);
    netfront_reconnect(device); // nothing to leave
    settle();
    EXPECT_EQ(sim::complaints().size(), 1u);
    expect_reconnect();
}

// With fewer pages than it would like, it has fewer queues.
TEST_F(Queues, FewerPagesFewerQueues)
{
    const unsigned of_queue = 2 + 128 + 256;
    for (const unsigned after : {0u, 1u, of_queue - 1}) {
        netfront_reconnect(device);
        sim::fail_page_alloc(2 * of_queue + 2 + after); // xenstore's list, before
        settle();
        ASSERT_TRUE(link);
        EXPECT_LE(features.queues, 3u);
        EXPECT_GE(features.queues, 2u);
        expect_keys();
        expect_traffic();
        EXPECT_EQ(sim::pages_in_use(), pages());
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// Half of the grants stay for devices that come later; one queue there is always.
TEST_F(Queues, LeavesGrantsToOthers)
{
    const unsigned of_queue = 2 + 128 + 256;
    for (const auto &[left, expected] :
         {std::pair{8u, 4u}, {7u, 3u}, {4u, 2u}, {2u, 1u}, {1u, 1u}}) {
        remove();
        xen::GrantPool others;
        ASSERT_GT(xen::free_grants(), left * of_queue + 8);
        ASSERT_TRUE(others.reserve(xen::free_grants() - left * of_queue - 8).ok());
        ASSERT_EQ(probe(), 0);
        settle();
        ASSERT_TRUE(link) << left;
        EXPECT_EQ(features.queues, expected) << left;
        expect_keys();
        expect_traffic();
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// A violation in one queue ends all of them.
TEST_F(Queues, Xsa376OneQueueBreaksTheDevice)
{
    ASSERT_TRUE(backend->deliver(packet(100), 0, 0x4000, {}, 3));
    sim::run();
    poll(64, 3);
    EXPECT_TRUE(work_wanted);
    ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {}, 1));
    sim::run();
    for (unsigned queue = 0; queue < 4; queue++) {
        EXPECT_EQ(send(packet(100), {}, queue), NETFRONT_DROPPED);
        poll(64, queue);
    }
    EXPECT_TRUE(received.empty());
    expect_broken("rx flags = 16384");
}

// Events of one kind only: each channel has its own patience.
TEST_F(Queues, Xsa391StormOnOneOfTwoChannels)
{
    const unsigned before = events;
    for (unsigned i = 0; i < 50'000; i++) {
        backend->notify_tx(1);
        if (queues[1].poll_wanted)
            poll(64, 1);
        sim::advance(100'000);
    }
    EXPECT_LE(events - before, 32u + 20u);
    const unsigned delayed = sim::delayed_events();
    ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {}, 1)); // the other one is as quick as ever
    settle();
    EXPECT_EQ(received.size(), 1u);
    EXPECT_EQ(sim::delayed_events(), delayed);
}

TEST_F(Queues, Xsa465RemovedWithAllQueuesBusy)
{
    backend->serve_tx = false;
    for (unsigned queue = 0; queue < 4; queue++)
        ASSERT_EQ(send(packet(9000), {}, queue), NETFRONT_SENT);
    remove();
}

} // namespace
} // namespace netfront_test
