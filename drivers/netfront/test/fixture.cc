// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel around the network frontend's core in tests: netfront_port.h, bus and NAPI.
#include "fixture.hpp"

#include <xen/grant.hpp>

using netfront_test::NetFrontTest;

namespace {

NetFrontTest &test(void *context) { return *static_cast<NetFrontTest *>(context); }

} // namespace

// ---- netfront_port.h ----

void netfront_port_lock(void *context)
{
    EXPECT_FALSE(test(context).locked);
    test(context).locked = true;
}

void netfront_port_unlock(void *context)
{
    EXPECT_TRUE(test(context).locked);
    test(context).locked = false;
}

void netfront_port_event(void *context)
{
    test(context).poll_wanted = true;
    if (test(context).on_event)
        test(context).on_event();
    test(context).events++;
}

void netfront_port_link(void *context, bool up)
{
    EXPECT_FALSE(test(context).locked);
    EXPECT_NE(test(context).link, up);
    test(context).link = up;
    test(context).full = false;
    test(context).link_changes++;
}

void netfront_port_tx_full(void *context)
{
    EXPECT_TRUE(test(context).locked);
    test(context).full = true;
}

void netfront_port_tx_room(void *context)
{
    EXPECT_TRUE(test(context).locked);
    test(context).full = false;
}

void *netfront_port_rx_buffer(void *context, size_t length)
{
    EXPECT_TRUE(test(context).locked);
    if (test(context).out_of_buffers)
        return nullptr;
    test(context).filling.assign(length, 0xaa);
    return test(context).filling.data();
}

void netfront_port_rx_packet(void *context)
{
    EXPECT_TRUE(test(context).locked);
    test(context).received.push_back(std::move(test(context).filling));
}

void netfront_port_broken(void *context)
{
    EXPECT_TRUE(test(context).locked);
    EXPECT_FALSE(test(context).broken_reported);
    test(context).broken_reported = true;
}

namespace netfront_test {

// ---- the fixture ----

void NetFrontTest::SetUp()
{
    MachineTest::SetUp();
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
    memory_ =
        std::make_unique<std::max_align_t[]>(netfront_object_size() / sizeof(std::max_align_t) + 1);
    const netfront_config config{
        .nodename = "device/vif/0", .backend = back_path.c_str(), .backend_id = 0, .context = this};
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
    if (poll_wanted) {
        busy = true;
        poll();
    }
    if (broken_reported) {
        broken_reported = false;
        busy = true;
        netfront_handle_broken(device);
    }
    return busy;
}

void NetFrontTest::settle()
{
    do
        sim::run();
    while (turn());
}

// One turn of NAPI.
void NetFrontTest::poll(unsigned budget)
{
    poll_wanted = false;
    const unsigned done = netfront_poll(device, budget);
    EXPECT_LE(done, budget);
    if (done == budget || netfront_rearm(device))
        poll_wanted = true;
}

netfront_verdict NetFrontTest::send(const Packet &packet)
{
    // A block of its own, so that the sanitizer sees any read beyond the packet.
    return netfront_transmit(device, packet.data(), packet.size());
}

netfront_counters NetFrontTest::counters()
{
    netfront_counters counters;
    netfront_get_counters(device, &counters);
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
    received.clear();
    backend->sent.clear();
    for (unsigned seed = 0; seed < 5; seed++) {
        ASSERT_EQ(send(packet(60 + seed, seed)), NETFRONT_SENT);
        ASSERT_TRUE(backend->deliver(packet(1514 - seed, seed)));
    }
    settle();
    ASSERT_EQ(backend->sent.size(), 5u);
    ASSERT_EQ(received.size(), 5u);
    for (unsigned seed = 0; seed < 5; seed++) {
        EXPECT_EQ(backend->sent[seed], packet(60 + seed, seed));
        EXPECT_EQ(received[seed], packet(1514 - seed, seed));
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
