// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What cannot be done at once is tried again a second later, and no backend gets connections as
// fast as it asks for them (public/io/netif.h, xenbus.h).
#include "fixture.hpp"

namespace netfront_test {
namespace {

class Retry : public ConnectedTest {
protected:
    void break_it()
    {
        backend->respond_rx({.id = 5, .offset = 0, .flags = 0, .status = 100});
        settle();
        ASSERT_EQ(front_state(), "6");
    }
};

// A backend that is bound anew may have old pages for a while, and says nothing when it let go.
TEST_F(Retry, PagesAreStillMappedByTheBackendOfBefore)
{
    backend->map_packets = true;
    expect_traffic();
    for (const unsigned state : {1u, 2u}) {
        backend->disconnect();
        backend->set_state(state);
        settle();
    }
    for (unsigned second = 0; second < 5; second++) {
        EXPECT_EQ(front_state(), "1");
        EXPECT_FALSE(link);
        later();
    }
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_EQ(sim::complaints()[0],
              "device/vif/0: waiting: the backend holds pages of an earlier connection: error 16");
    backend->drop_packet_mappings();
    backend->map_packets = false;
    later();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
    later(); // once was enough
    EXPECT_FALSE(retry_wanted);
    EXPECT_EQ(link_changes, 3u);
}

// The pause does not end before its time, whatever the backend does meanwhile.
TEST_F(Retry, BackendThatBreaksItIsNotAskedAgainAtOnce)
{
    for (unsigned round = 0; round < 3; round++) {
        break_it();
        const size_t complaints = sim::complaints().size();
        for (const unsigned state : {1u, 2u, 6u, 5u, 1u, 2u}) {
            backend->set_state(state);
            sim::store::write(back_path + "/carrier", std::to_string(state % 2));
            settle();
            EXPECT_EQ(sim::pages_in_use(), 0u);
            EXPECT_FALSE(link);
        }
        later();
        EXPECT_EQ(sim::complaints().size(), complaints);
        backend->set_state(1);
        settle();
        backend->set_state(2);
        settle();
        later();
        expect_traffic();
    }
}

TEST_F(Retry, BackendThatCannotBeUsedIsNotAskedAgainAtOnce)
{
    sim::store::write(back_path + "/feature-rx-copy", "0");
    for (unsigned round = 0; round < 100; round++) {
        backend->set_state(round % 2 ? 2 : 1);
        settle();
    }
    EXPECT_EQ(sim::complaints().size(), 1u);
    sim::store::write(back_path + "/feature-rx-copy", "1");
    later();
    expect_traffic();
}

// One that does not start again is left alone for ever.
TEST_F(Retry, GivenUpForGood)
{
    break_it();
    for (unsigned second = 0; second < 5; second++)
        later();
    EXPECT_EQ(front_state(), "6");
    EXPECT_FALSE(retry_wanted);
    backend.reset();
    sim::store::write(back_path + "/feature-rx-copy", "0");
    for (const char *state : {"1", "2"}) { // and then stays there
        sim::store::write(back_path + "/state", state);
        settle();
    }
    for (unsigned second = 0; second < 5; second++)
        later();
    EXPECT_EQ(sim::complaints().size(), 2u);
    EXPECT_FALSE(retry_wanted);
    expect_reconnect();
}

// Whether the backend stays ("online") cannot be read: that is no answer.
TEST_F(Retry, ClosedWhileXenstoreIsSilent)
{
    backend.reset();
    sim::store::answer(false);
    netfront_backend_changed(device, 6);
    EXPECT_FALSE(link);
    EXPECT_TRUE(retry_wanted);
    netfront_retry(device);
    sim::store::answer(true);
    sim::store::write(back_path + "/state", "6");
    later();
    EXPECT_EQ(front_state(), "1");
    backend = std::make_unique<Backend>();
    settle();
    later();
    expect_traffic();
}

// A backend that was not told would serve rings that are gone.
TEST_F(Retry, LeavesWhileXenstoreIsSilent)
{
    sim::store::answer(false);
    netfront_reconnect(device);
    EXPECT_FALSE(link);
    netfront_retry(device);
    EXPECT_TRUE(retry_wanted);
    sim::store::answer(true);
    settle();
    for (unsigned second = 0; second < 3; second++)
        later();
    EXPECT_FALSE(retry_wanted);
    expect_traffic();
}

TEST_F(Retry, RemovedWhileItWaits)
{
    break_it();
    ASSERT_TRUE(retry_wanted);
    backend->set_state(1);
    settle();
    backend->set_state(2);
    settle();
    netfront_remove(device);
    netfront_retry(device); // that was on its way
    EXPECT_EQ(sim::pages_in_use(), 0u);
    EXPECT_FALSE(link);
}

} // namespace
} // namespace netfront_test
