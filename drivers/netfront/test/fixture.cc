// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel around the network frontend's core in tests: netfront_port.h, bus and NAPI.
#include "fixture.hpp"

#include <algorithm>

#include <xen/grant.hpp>
#include <xen/port.h>

using netfront_test::NetFrontTest;

namespace {

NetFrontTest &test(void *context) { return *static_cast<NetFrontTest *>(context); }

} // namespace

// ---- netfront_port.h ----

void netfront_port_lock(void *context, unsigned queue, bool transmit)
{
    bool &locked = test(context).queues.at(queue).locked[transmit];
    EXPECT_FALSE(locked);
    // In this order only; and no queue's locks with another's, but to transmit what was received.
    EXPECT_TRUE(transmit || !test(context).locked());
    locked = true;
}

void netfront_port_unlock(void *context, unsigned queue, bool transmit)
{
    bool &locked = test(context).queues.at(queue).locked[transmit];
    EXPECT_TRUE(locked);
    locked = false;
}

void netfront_port_wishes(void *context, netfront_wishes *wishes)
{
    EXPECT_FALSE(test(context).locked());
    *wishes = test(context).wishes;
}

void netfront_port_hash(void *context, netfront_hash *hash)
{
    EXPECT_FALSE(test(context).locked());
    *hash = test(context).hash;
}

void netfront_port_connected(void *context, const netfront_features *features)
{
    EXPECT_FALSE(test(context).locked());
    test(context).features = *features;
    if (std::exchange(test(context).link, true)) {
        test(context).updates++;
        return;
    }
    test(context).link_changes++;
    for (auto &queue : test(context).queues)
        queue.full = false;
}

void netfront_port_disconnected(void *context)
{
    EXPECT_FALSE(test(context).locked());
    EXPECT_TRUE(test(context).link);
    test(context).link = false;
    test(context).link_changes++;
    for (auto &queue : test(context).queues)
        queue.bytes_queued = queue.packets_queued = 0;
}

void netfront_port_multicast_refused(void *context) { test(context).refused_multicasts++; }

void netfront_port_wake(void *context) { test(context).work_wanted = true; }

void *netfront_port_page_alloc(void) { return xen_port_page_alloc(); }

void netfront_port_retry_later(void *context) { test(context).retry_wanted = true; }

void netfront_port_event(void *context, unsigned queue)
{
    test(context).queues.at(queue).poll_wanted = true;
    if (test(context).on_event)
        test(context).on_event();
    test(context).events++;
}

void netfront_port_tx_full(void *context, unsigned queue)
{
    EXPECT_TRUE(test(context).queues.at(queue).locked[true]);
    test(context).queues[queue].full = true;
}

void netfront_port_tx_room(void *context, unsigned queue)
{
    EXPECT_TRUE(test(context).queues.at(queue).locked[true]);
    test(context).queues[queue].full = false;
}

bool netfront_port_tx_queued(void *context, unsigned queue, uint32_t bytes, bool)
{
    EXPECT_TRUE(test(context).queues.at(queue).locked[true]);
    test(context).queues[queue].bytes_queued += bytes;
    test(context).queues[queue].packets_queued++;
    return test(context).last_of_burst;
}

bool netfront_port_tx_waits(void *context, unsigned queue)
{
    auto &of = test(context).queues.at(queue);
    EXPECT_TRUE(of.locked[true]);
    return of.full || of.waits;
}

void netfront_port_tx_completed(void *context, unsigned queue, unsigned packets, unsigned bytes)
{
    EXPECT_TRUE(test(context).link);
    auto &of = test(context).queues.at(queue);
    EXPECT_TRUE(of.locked[true]);
    ASSERT_LE(packets, of.packets_queued);
    ASSERT_LE(bytes, of.bytes_queued);
    of.packets_queued -= packets;
    of.bytes_queued -= bytes;
    EXPECT_EQ(of.packets_queued == 0, of.bytes_queued == 0);
}

void *netfront_port_rx_memory(void *context, unsigned queue, const netfront_packet *packet,
                              uint32_t offset, uint32_t *size)
{
    auto &kernel = test(context);
    EXPECT_TRUE(kernel.queues.at(queue).locked[false]);
    EXPECT_EQ(*size, packet->length - offset);
    if (kernel.out_of_buffers)
        return nullptr;
    if (offset == 0)
        kernel.filling.assign(packet->length, 0xaa);
    EXPECT_EQ(kernel.filling.size(), packet->length);
    *size = std::min(*size, kernel.memory_piece);
    return kernel.filling.data() + offset;
}

void netfront_port_rx_packet(void *context, unsigned queue, const netfront_packet *packet)
{
    EXPECT_TRUE(test(context).queues.at(queue).locked[false]);
    test(context).received.push_back(std::move(test(context).filling));
    test(context).descriptions.push_back(*packet);
}

namespace netfront_test {

namespace {

// The source of a transmit: each byte of it is taken once, in order.
struct Source {
    const Packet &packet;
    size_t taken = 0;
};

void copy_packet(void *cookie, size_t offset, void *to, size_t size)
{
    auto &source = *static_cast<Source *>(cookie);
    ASSERT_EQ(offset, source.taken);
    ASSERT_LE(offset + size, source.packet.size());
    std::memcpy(to, source.packet.data() + offset, size);
    source.taken += size;
}

} // namespace

// ---- the fixture ----

bool NetFrontTest::locked() const
{
    return std::any_of(queues.begin(), queues.end(),
                       [](const Queue &queue) { return queue.locked[0] || queue.locked[1]; });
}

void NetFrontTest::SetUp()
{
    sim::boot(16); // as many grants as twice the largest device takes, and more
    free_grants_ = xen::free_grants();
    watch_ = sim::store::watch(back_path + "/state",
                               [this](const std::string &) { backend_changed_ = true; });
}

void NetFrontTest::TearDown()
{
    remove();
    backend.reset();
    expect_nothing_held();
    EXPECT_EQ(xen::free_grants(), free_grants_);
    sim::store::unwatch(watch_);
    MachineTest::TearDown();
}

int NetFrontTest::probe()
{
    memory_ = std::make_unique<std::max_align_t[]>(
        netfront_object_size(queues_max) / sizeof(std::max_align_t) + 1);
    const netfront_config config{.nodename = "device/vif/0",
                                 .backend = back_path.c_str(),
                                 .backend_id = 0,
                                 .queues_max = queues_max,
                                 .context = this};
    netfront *created = nullptr;
    const int error = netfront_create(memory_.get(), &config, mac.data(), &created);
    if (error == 0) {
        device = created;
        backend_changed_ = true;
    }
    return error;
}

void NetFrontTest::remove()
{
    if (device == nullptr)
        return;
    netfront_remove(device);
    EXPECT_FALSE(link);
    device = nullptr;
    memory_.reset();
    settle();
}

void NetFrontTest::prepare(bool ready)
{
    create_directories();
    backend = std::make_unique<Backend>();
    backend->ready = ready;
}

void NetFrontTest::connect()
{
    prepare();
    ASSERT_EQ(probe(), 0);
    settle();
    ASSERT_TRUE(link);
    ASSERT_EQ(front_state(), "4");
}

bool NetFrontTest::turn()
{
    if (device == nullptr)
        return false;
    bool busy = false;
    if (backend_changed_) {
        backend_changed_ = false;
        busy = true;
        const auto text = sim::store::read(back_path + "/state");
        netfront_backend_changed(device, text && text->size() == 1 ? (*text)[0] - '0' : 0);
    }
    for (unsigned queue = 0; queue < queues_max; queue++) {
        if (queues[queue].poll_wanted) {
            busy = true;
            poll(64, queue);
        }
    }
    if (std::exchange(work_wanted, false)) {
        busy = true;
        netfront_work(device);
    }
    return busy;
}

void NetFrontTest::settle()
{
    do
        sim::run();
    while (turn());
}

void NetFrontTest::later()
{
    if (std::exchange(retry_wanted, false) && device != nullptr)
        netfront_retry(device);
    settle();
}

// One turn of NAPI.
void NetFrontTest::poll(unsigned budget, unsigned queue)
{
    bool &wanted = queues[queue].poll_wanted;
    wanted = false;
    const unsigned done = netfront_poll(device, queue, budget);
    EXPECT_LE(done, budget);
    if (done == budget || netfront_rearm(device, queue))
        wanted = true;
}

netfront_verdict NetFrontTest::send(const Packet &packet) { return send(packet, {}); }

netfront_verdict NetFrontTest::send(const Packet &packet, netfront_packet description,
                                    unsigned queue, bool more)
{
    Source source{packet};
    description.length = static_cast<uint32_t>(packet.size());
    const auto verdict = netfront_transmit(device, queue, &description, copy_packet, &source, more);
    EXPECT_EQ(source.taken, verdict == NETFRONT_SENT ? packet.size() : 0);
    EXPECT_FALSE(locked());
    return verdict;
}

netfront_statistics NetFrontTest::counters(unsigned queue)
{
    netfront_statistics counters{};
    EXPECT_TRUE(netfront_get_statistics(device, queue, &counters));
    return counters;
}

std::string NetFrontTest::key(const std::string &name)
{
    return sim::store::read(front_path + "/" + name).value_or("none");
}

Packet NetFrontTest::packet(size_t length, unsigned seed)
{
    Packet bytes(length);
    uint32_t state = seed * 2654435761u + static_cast<uint32_t>(length);
    for (uint8_t &byte : bytes) {
        state = state * 1664525u + 1013904223u;
        byte = static_cast<uint8_t>(state >> 24);
    }
    return bytes;
}

void NetFrontTest::expect_traffic()
{
    ASSERT_TRUE(link);
    ASSERT_EQ(features.queues, backend->queues());
    for (unsigned queue = 0; queue < features.queues; queue++) {
        received.clear();
        descriptions.clear();
        backend->sent.clear();
        backend->crossings.clear();
        for (unsigned seed = 0; seed < 5; seed++) {
            ASSERT_EQ(send(packet(60 + seed, seed), {}, queue), NETFRONT_SENT);
            ASSERT_TRUE(backend->deliver(packet(1514 - seed, seed), 0, 0, {}, queue));
        }
        settle();
        ASSERT_EQ(backend->sent.size(), 5u);
        ASSERT_EQ(received.size(), 5u);
        for (unsigned seed = 0; seed < 5; seed++) {
            EXPECT_EQ(backend->sent[seed], packet(60 + seed, seed));
            EXPECT_EQ(backend->crossings[seed].queue, queue);
            EXPECT_EQ(received[seed], packet(1514 - seed, seed));
        }
        EXPECT_EQ(queues[queue].packets_queued, 0u);
    }
}

void NetFrontTest::expect_reconnect()
{
    backend.reset();
    sim::store::write(back_path + "/state", "1");
    sim::store::write(back_path + "/online", "1");
    settle();
    backend = std::make_unique<Backend>();
    settle();
    later();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
}

void NetFrontTest::expect_broken(const std::string &complaint)
{
    settle();
    ASSERT_EQ(sim::complaints().size(), ++complaints_);
    EXPECT_EQ(sim::complaints().back(), "device/vif/0: broken by its backend: " + complaint);
    EXPECT_FALSE(link);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    EXPECT_TRUE(received.empty());
    // The backend followed to Closed, and the frontend does not start again by itself.
    EXPECT_EQ(front_state(), "6");
    expect_nothing_held();
    expect_reconnect();
    EXPECT_EQ(sim::complaints().size(), complaints_);
}

void NetFrontTest::expect_nothing_held()
{
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

} // namespace netfront_test
