// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The network frontend in xenstore: negotiation, bad keys, close, reconnect, detach, and a backend
// that vanishes at any point.
#include <sim/names.hpp>
#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

using Lifecycle = NetFrontTest;

TEST_F(Lifecycle, Connects)
{
    connect();
    EXPECT_EQ(mac, (std::array<uint8_t, 6>{0x00, 0x16, 0x3e, 0x01, 0x02, 0x03}));
    EXPECT_EQ(key("request-rx-copy"), "1");
    EXPECT_EQ(key("feature-rx-notify"), "1");
    EXPECT_EQ(key("feature-sg"), "1");
    EXPECT_EQ(key("feature-no-csum-offload"), "0");
    EXPECT_EQ(key("feature-ipv6-csum-offload"), "1");
    EXPECT_EQ(key("feature-gso-tcpv4"), "1");
    EXPECT_EQ(key("feature-gso-tcpv6"), "1");
    EXPECT_EQ(key("request-multicast-control"), "0");
    EXPECT_EQ(backend->state(), 4u);
    EXPECT_EQ(link_changes, 1u);
    EXPECT_EQ(backend->receive_buffers(), 256u);
    expect_traffic();
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Lifecycle, PassesNothingBeforeTheBackendIsConnected)
{
    prepare(false);
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_EQ(front_state(), "4");
    EXPECT_FALSE(link);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
    EXPECT_EQ(counters().tx_dropped, 1u);
}

TEST_F(Lifecycle, WaitsForALateBackend)
{
    create_directories();
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_EQ(front_state(), "1");
    EXPECT_EQ(sim::pages_in_use(), 0u);
    backend = std::make_unique<Backend>();
    settle();
    expect_traffic();
}

TEST_F(Lifecycle, RefusesBadMacs)
{
    for (const char *bad : {"", "00:16:3e:01:02", "00:16:3e:01:02:03:", "00:16:3e:01:02:0x",
                            "01:16:3e:01:02:03", "00:00:00:00:00:00",
                            "a very long text that is "
                            "no address, whatever it was meant to be, and goes on and on and on"}) {
        create_directories(bad);
        EXPECT_EQ(probe(), -22) << bad;
    }
    EXPECT_EQ(sim::complaints().size(), 7u);
    sim::store::remove(front_path + "/mac");
    EXPECT_EQ(probe(), -2);
    EXPECT_EQ(sim::complaints().size(), 8u);
    create_directories(std::string("00:16:3e:01:02:03\0", 18));
    EXPECT_NE(probe(), 0);
}

TEST_F(Lifecycle, RequiresReceiveCopy)
{
    prepare(false);
    sim::store::remove(back_path + "/feature-rx-copy");
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_EQ(sim::complaints().size(), 1u);
    EXPECT_EQ(front_state(), "6");
    EXPECT_EQ(sim::pages_in_use(), 0u);
    for (const char *bad : {"0", "2", "", "yes", "1 ", "-1", "18446744073709551617"}) {
        sim::store::write(back_path + "/feature-rx-copy", bad);
        const size_t complaints = sim::complaints().size();
        sim::store::write(back_path + "/state", "1"); // the backend follows with InitWait
        settle();
        later();
        EXPECT_EQ(front_state(), "6") << bad;
        EXPECT_EQ(sim::complaints().size(), complaints + 1) << bad;
        EXPECT_FALSE(link);
    }
    expect_reconnect();
}

// ---- close, reconnect, detach ----

TEST_F(Lifecycle, Detaches)
{
    connect();
    expect_traffic();
    const auto port = static_cast<uint32_t>(std::stoul(key("event-channel")));
    sim::store::write(back_path + "/online", "0");
    backend->set_state(5);
    settle();
    EXPECT_FALSE(link);
    EXPECT_EQ(front_state(), "6");
    EXPECT_EQ(backend->state(), 6u);
    EXPECT_EQ(backend->peer.bind(port), 0u); // closed
    // The backend had let go before the pages were taken back: nothing is in quarantine.
    EXPECT_EQ(sim::grants_in_force(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    sim::store::remove(front_path);
    sim::store::remove(back_path);
    settle();
    remove();
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Lifecycle, RemovedAtOnce)
{
    connect();
    sim::store::remove(front_path);
    sim::store::remove(back_path);
    remove();
    EXPECT_FALSE(sim::store::read(front_path).has_value()) << "it was made again";
    backend.reset();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

// `xl network-detach --force`
TEST_F(Lifecycle, LosesBothDirectoriesBeforeItIsRemoved)
{
    connect();
    sim::store::remove(front_path);
    sim::store::remove(back_path);
    settle();
    EXPECT_FALSE(link);
    EXPECT_FALSE(sim::store::read(front_path).has_value()) << "it was made again";
    remove();
    EXPECT_FALSE(sim::store::read(front_path).has_value()) << "it was made again";
}

TEST_F(Lifecycle, UnboundAndBoundAgain)
{
    connect();
    for (unsigned i = 0; i < 5; i++) {
        remove();
        EXPECT_EQ(backend->state(), 6u);
        ASSERT_EQ(probe(), 0);
        settle();
        expect_traffic();
    }
}

TEST_F(Lifecycle, ReconnectsAHundredTimes)
{
    connect();
    for (unsigned i = 0; i < 100; i++) {
        // The backend ends the connection, the device stays ("online").
        backend->set_state(5);
        settle();
        ASSERT_EQ(backend->state(), 4u);
        expect_traffic();
        ASSERT_EQ(xen::reclaim_grants(), 0u);
        ASSERT_EQ(sim::pages_in_use(), pages_of_a_connection);
        ASSERT_EQ(sim::grants_in_force(), pages_of_a_connection);
    }
    EXPECT_TRUE(sim::complaints().empty());
}

// Packets that were in flight are lost, and nothing else.
TEST_F(Lifecycle, ReconnectsWithAFullQueue)
{
    connect();
    backend->serve_tx = false;
    while (!full)
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    backend->set_state(5);
    settle();
    ASSERT_TRUE(link);
    EXPECT_FALSE(full);
    backend->serve_tx = true;
    expect_traffic();
}

TEST_F(Lifecycle, BackendRestarts)
{
    connect();
    for (unsigned i = 0; i < 5; i++)
        expect_reconnect();
}

// A backend that finds fault with the connection is not asked again and again.
TEST_F(Lifecycle, RefusedConnectionIsNotMadeForEver)
{
    prepare();
    backend->refuse = true;
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_EQ(front_state(), "6");
    EXPECT_FALSE(link);
    EXPECT_LT(sim::store::requests(), 100u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    backend->refuse = false;
    expect_reconnect();
    backend->refuse = true; // one that it took part in is, once
    backend->set_state(5);
    settle();
    EXPECT_EQ(front_state(), "6");
    expect_reconnect();
}

// The driver in the backend's domain is unbound and bound again: Closed, then InitWait.
TEST_F(Lifecycle, BackendDriverReloads)
{
    connect();
    backend.reset();
    sim::store::write(back_path + "/state", "6");
    settle();
    EXPECT_FALSE(link);
    EXPECT_EQ(front_state(), "1");
    EXPECT_EQ(sim::pages_in_use(), 0u);
    backend = std::make_unique<Backend>();
    settle();
    expect_traffic();
}

// The same so quickly that nobody saw the states in between: the new backend tries the old keys.
TEST_F(Lifecycle, BackendReturnsUnnoticed)
{
    connect();
    backend.reset();
    backend = std::make_unique<Backend>();
    netfront_backend_changed(device, 2);
    EXPECT_FALSE(link);
    settle();
    expect_traffic();
}

TEST_F(Lifecycle, Xsa396HeldPagesStayUntilTheyAreReleased)
{
    connect();
    backend->map_packets = true;
    expect_traffic();
    sim::store::write(back_path + "/online", "0");
    backend->set_state(5);
    settle();
    const unsigned held = sim::grants_in_force();
    EXPECT_GE(held, 6u);
    EXPECT_EQ(sim::pages_in_use(), held);
    remove();
    EXPECT_EQ(xen::reclaim_grants(), held);
    EXPECT_EQ(sim::pages_in_use(), held);
    backend->drop_packet_mappings();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

// ---- the backend vanishes in each of its states ----

class Vanishing : public NetFrontTest, public testing::WithParamInterface<unsigned> {
protected:
    // Brings the pair to where the backend's state is the parameter.
    void SetUp() override
    {
        NetFrontTest::SetUp();
        prepare(GetParam() >= 4);
        sim::store::write(back_path + "/online", "0");
        ASSERT_EQ(probe(), 0);
        settle();
        if (GetParam() == 4) {
            expect_traffic();
        } else if (GetParam() >= 5) {
            backend.reset(); // so that nobody moves on
            sim::store::write(back_path + "/state", std::to_string(GetParam()));
        } else {
            backend->set_state(GetParam());
        }
        settle();
        backend.reset();
    }
};

TEST_P(Vanishing, WithItsDirectoryThenTheDeviceIsRemoved)
{
    sim::store::remove(back_path);
    settle();
    EXPECT_FALSE(link);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    remove();
}

TEST_P(Vanishing, SilentlyThenTheDeviceIsRemoved)
{
    settle();
    remove();
}

TEST_P(Vanishing, AndComesBack)
{
    sim::store::remove(back_path);
    settle();
    expect_reconnect();
}

TEST_P(Vanishing, AndComesBackWithoutLeaving)
{
    settle();
    expect_reconnect();
}

TEST_P(Vanishing, LeavesNonsense)
{
    for (const char *state : {"0", "9", "-1", "x", "", "4294967298", "3", "7", "8"}) {
        sim::store::write(back_path + "/state", state);
        settle();
    }
    expect_reconnect();
}

INSTANTIATE_TEST_SUITE_P(States, Vanishing, testing::Values(1, 2, 3, 4, 5, 6, 7, 8),
                         sim::PrintedName());

// ---- nothing is left over when something is missing ----

TEST_F(Lifecycle, OutOfMemoryAtAnyPage)
{
    prepare(false);
    for (unsigned after = 0; after < pages_of_a_connection;
         after += after < 4 || after > 380 ? 1 : 37) {
        backend->set_state(2);
        ASSERT_EQ(probe(), 0);
        sim::fail_page_alloc(after);
        settle();
        EXPECT_EQ(front_state(), "1");
        ASSERT_EQ(sim::pages_in_use(), 0u) << after;
        ASSERT_EQ(sim::grants_in_force(), 0u) << after;
        later();
        EXPECT_EQ(front_state(), "4") << after;
        remove();
        sim::store::write(front_path + "/state", "1");
    }
}

TEST_F(Lifecycle, OutOfGrants)
{
    prepare(false);
    for (unsigned left : {0u, 1u, 2u, 100u, 130u, 385u}) {
        xen::GrantPool others;
        ASSERT_TRUE(others.reserve(xen::free_grants() - left).ok());
        backend->set_state(2);
        ASSERT_EQ(probe(), 0);
        settle();
        EXPECT_EQ(front_state(), "1") << left;
        EXPECT_EQ(sim::pages_in_use(), 0u) << left;
        later();
        EXPECT_EQ(front_state(), "1") << left;
        others.release();
        later();
        EXPECT_EQ(front_state(), "4") << left;
        remove();
        sim::store::write(front_path + "/state", "1");
    }
    backend->set_state(2);
    backend->ready = true;
    ASSERT_EQ(probe(), 0);
    settle();
    expect_traffic();
}

TEST_F(Lifecycle, XenstoreFallsSilent)
{
    prepare();
    ASSERT_EQ(probe(), 0);
    sim::run();
    sim::store::answer(false);
    netfront_backend_changed(device, 2);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    EXPECT_FALSE(link);
    sim::store::answer(true);
    expect_reconnect();
}

TEST_F(Lifecycle, NoEventChannel)
{
    prepare();
    ASSERT_EQ(probe(), 0);
    sim::filter_hypercalls([](unsigned number, const unsigned long *arguments) {
        const bool alloc = number == xen::abi::hypercall_event_channel_op &&
                           arguments[0] == xen::abi::evtchnop_alloc_unbound;
        return alloc ? std::optional<long>(-28) : std::nullopt;
    });
    settle();
    EXPECT_EQ(front_state(), "1");
    EXPECT_EQ(sim::pages_in_use(), 0u);
    sim::filter_hypercalls({});
    later();
    expect_traffic();
    EXPECT_EQ(sim::complaints().size(), 1u);
}

} // namespace
} // namespace netfront_test
