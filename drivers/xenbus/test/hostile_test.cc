// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a backend, or a toolstack gone wrong, can write into xenstore: names, numbers, paths and
// states of any shape and in any order.
#include "fake_kernel.hpp"

namespace {

using Hostile = BusTest;
using HostileDisk = DiskTest;

// ---- what is a device ----

TEST_F(Hostile, Xsa376PassesOverNames)
{
    start();
    for (const char *id : {"abc", "01", "00", "-1", "+1", "1a", " 1", "1 ", "0x10", "4294967296",
                           "4294967297", "99999999999999999999", "18446744073709551617"}) {
        plug("vbd", id);
        kernel_.run();
        EXPECT_EQ(kernel_.added, 0u) << id;
    }
    for (const char *type : {"Vbd", "v-bd", "_vbd", "averyveryverylongtype", "v bd"}) {
        plug(type, "1");
        kernel_.run();
        EXPECT_EQ(kernel_.added, 0u) << type;
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Hostile, Xsa376PassesOverWhatHasNoBackend)
{
    start();
    sim::store::write(frontend("vbd", "2"), "");
    sim::store::write(frontend("suspend", "event-channel"), "");
    sim::store::write(sim::guest_home + "/device/vfb", "not a directory");
    kernel_.run();
    EXPECT_EQ(kernel_.added, 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Hostile, Xsa376PassesOverBackendDomains)
{
    start();
    for (const char *domain :
         {"", "x", "-1", "32752", "65535", "65536", "4294967296", "18446744073709551616", "0 "}) {
        plug("vbd", "3");
        sim::store::write(frontend("vbd", "3") + "/backend-id", domain);
        kernel_.run();
        EXPECT_EQ(kernel_.added, 0u) << domain;
    }
    sim::store::write(frontend("vbd", "3") + "/backend-id", "32751");
    kernel_.run();
    ASSERT_NE(kernel_.present("vbd-3"), nullptr);
    EXPECT_EQ(kernel_.present("vbd-3")->domain, 32751);
}

// One that is too long is not cut short either: that would be somebody else's directory.
TEST_F(Hostile, Xsa376PassesOverBackendPaths)
{
    start();
    const std::string longest = "/" + std::string(78, 'x');
    sim::store::write(longest + "/state", "2");
    sim::store::write(longest + "y/state", "2");
    sim::store::write("/relative/state", "2");
    plug("vbd", "3");
    for (const std::string &path : {std::string(), std::string("relative"), longest + "y"}) {
        sim::store::write(frontend("vbd", "3") + "/backend", path);
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 0u) << path;
    }
    EXPECT_EQ(kernel_.added, 0u);
    sim::store::write(frontend("vbd", "3") + "/backend", longest);
    kernel_.run();
    ASSERT_NE(kernel_.present("vbd-3"), nullptr);
    EXPECT_EQ(kernel_.present("vbd-3")->otherend, longest);
}

TEST_F(Hostile, Cve202672380IdsAreUnsigned)
{
    for (const char *id : {"0", "2147483647", "2147483648", "4294967295"})
        plug("vbd", id);
    start();
    EXPECT_EQ(kernel_.present_count(), 4u);
    for (const uint32_t id : {0u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        const FakeDevice *disk = kernel_.present("vbd-" + std::to_string(id));
        ASSERT_NE(disk, nullptr) << id;
        EXPECT_EQ(disk->nodename, "device/vbd/" + std::to_string(id));
    }
}

// ---- states ----

TEST_F(HostileDisk, Xsa376StatesOutOfRangeAreUnknown)
{
    for (const char *state : {"", "x", "9", "10", "-4", "+4", "04x", "4 ", "256", "260",
                              "4294967300", "18446744073709551620", "44444444444444444444444"}) {
        set_state("4");
        set_state(state);
        ASSERT_EQ(states().back(), 0u) << state;
    }
    EXPECT_EQ(kernel_.added, 1u);
}

// Whatever the order, the driver is told each state that the backend is in, and no other. Connected
// it is told whenever that is written.
TEST_F(HostileDisk, Xsa376EveryOrderOfStates)
{
    const std::vector<std::string> texts{"none", "1", "2", "3", "4", "5", "6", "7", "8", "9", "x"};
    States expected{4};
    const auto step = [&](size_t state) {
        if (state == 0)
            sim::store::remove(back_ + "/state");
        else
            sim::store::write(back_ + "/state", texts[state]);
        kernel_.run();
        const unsigned now = state <= 8 ? static_cast<unsigned>(state) : 0;
        if (expected.back() != now || now == 4)
            expected.push_back(now);
        ASSERT_NE(disk(), nullptr);
        ASSERT_EQ(states().size(), expected.size());
        ASSERT_EQ(states().back(), now);
    };
    for (size_t a = 0; a < texts.size(); a++) {
        for (size_t b = 0; b < texts.size(); b++) {
            for (size_t c = 0; c < texts.size(); c++) {
                SCOPED_TRACE("states " + texts[a] + ", " + texts[b] + ", " + texts[c]);
                for (const size_t state : {a, b, c})
                    ASSERT_NO_FATAL_FAILURE(step(state));
            }
        }
    }
    EXPECT_EQ(states(), expected);
    EXPECT_EQ(kernel_.added, 1u);
}

// The same when the backend is not to stay: Closed, or no state, is its end, nothing before it.
TEST_F(HostileDisk, Xsa376EveryOrderOfStatesUntilItIsFinished)
{
    const std::vector<std::string> texts{"none", "1", "2", "3", "4", "5", "6", "7", "8", "9", "x"};
    for (const std::string &a : texts) {
        for (const std::string &b : texts) {
            plug("vbd", "51713", 4);
            kernel_.run();
            ASSERT_NE(disk(), nullptr);
            set_online(false);
            bool finished = false;
            for (const std::string &text : {a, b}) {
                if (text == "none")
                    sim::store::remove(back_ + "/state");
                else
                    sim::store::write(back_ + "/state", text);
                kernel_.run();
                finished |= text == "6";
                // Without the key it has closed as well, once "online" says so.
                finished |= text == "none";
                ASSERT_EQ(disk() == nullptr, finished) << a << ", " << b;
            }
        }
    }
}

// ---- numbers of events ----

// However many, they are one look at the backend's state; what is the same is not told again, but
// for Connected, and that once for them all.
TEST_F(HostileDisk, Xsa349WatchEventsAreMerged)
{
    for (const char *state : {"4", "5"}) {
        for (unsigned i = 0; i < 100'000; i++)
            sim::store::write(back_ + "/state", state);
        const unsigned before = sim::store::requests();
        kernel_.run();
        EXPECT_LT(sim::store::requests() - before, 100u);
        EXPECT_EQ(kernel_.devices.size(), 1u);
    }
    for (unsigned i = 0; i < 100; i++)
        set_state("5");
    EXPECT_EQ(states(), (States{4, 4, 5}));
}

} // namespace
