// SPDX-License-Identifier: MIT OR GPL-2.0-only
// An interface whose domain is suspended and restored: what was on its way is lost, nothing else.
#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

class Restore : public NetFrontTest {
protected:
    // In a domain whose backend is where it was, and another one.
    void restore()
    {
        backend.reset();
        sim::restore();
        sim::store::write(front_path + "/state", "1");
        sim::store::write(back_path + "/state", "1");
        netfront_restored(device, back_path.c_str(), 0);
        EXPECT_FALSE(link);
        expect_nothing_held();
        EXPECT_EQ(front_state(), "1");
        settle();
        backend = std::make_unique<Backend>();
        settle();
    }
};

TEST_F(Restore, Idle)
{
    connect();
    const unsigned watches = sim::store::guest_watches();
    restore();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
    EXPECT_EQ(sim::store::guest_watches(), watches);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, PacketsOnTheirWayAreLost)
{
    connect();
    backend->serve_tx = false;
    backend->map_packets = true;
    for (unsigned i = 0; i < 10; i++) {
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        ASSERT_TRUE(backend->deliver(packet(100)));
    }
    restore();
    expect_traffic();
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, EverythingThatCanBeAgreed)
{
    prepare();
    offer_everything();
    ASSERT_EQ(probe(), 0);
    settle();
    ASSERT_TRUE(features.control_ring);
    for (unsigned round = 0; round < 20; round++) {
        restore();
        ASSERT_TRUE(features.control_ring);
        ASSERT_EQ(features.queues, queues_max);
        expect_traffic();
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, BeforeThereWasAConnection)
{
    prepare(false);
    ASSERT_EQ(probe(), 0);
    settle();
    ASSERT_FALSE(link);
    restore();
    expect_traffic();
}

// Nobody knows yet which backend it has: the one of before is not gone on with.
TEST_F(Restore, WaitsUntilItsBackendIsKnown)
{
    connect();
    const unsigned watches = sim::store::guest_watches();
    backend->respond_rx({.id = 5, .offset = 0, .flags = 0, .status = 100}); // it is to be left
    sim::restore();
    const unsigned requests = sim::store::requests();
    netfront_restored(device, "", 0x7ff4);
    EXPECT_FALSE(link);
    netfront_work(device);
    netfront_reconnect(device);
    netfront_retry(device);
    EXPECT_EQ(sim::store::requests(), requests);
    expect_nothing_held();
    restore();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
    EXPECT_EQ(sim::store::guest_watches(), watches);
}

// One that is given up, too.
TEST_F(Restore, BrokenInterfacesHeal)
{
    connect();
    backend->respond_rx({.id = 5, .offset = 0, .flags = 0, .status = 100});
    settle();
    ASSERT_FALSE(link);
    restore();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
}

// In whatever state: each of them twice would be once too often.
TEST_F(Restore, Xsa465RemovedRightAfterwards)
{
    for (const char *state : {"", "1", "2", "5", "6"}) {
        connect();
        backend.reset();
        sim::restore();
        netfront_restored(device, back_path.c_str(), 0);
        if (*state != 0) {
            sim::store::write(back_path + "/state", state);
            settle();
        }
        remove();
        expect_nothing_held();
        sim::store::remove(front_path);
        sim::store::remove(back_path);
        settle();
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// The keys that are followed are the new backend's.
TEST_F(Restore, SettingsOfTheNewBackendAreHeard)
{
    connect();
    ASSERT_TRUE(features.carrier);
    restore();
    sim::store::write(back_path + "/carrier", "0");
    settle();
    EXPECT_FALSE(features.carrier);
}

} // namespace
} // namespace netfront_test
