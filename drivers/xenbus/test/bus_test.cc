// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The bus against a simulated xenstored: what is a device, when it comes and goes, and what its
// driver is told.
#include "fake_kernel.hpp"

#include <cerrno>

using States = std::vector<unsigned>;

namespace {

class Bus : public BusTest {
protected:
    void start()
    {
        ASSERT_EQ(xenbus_core_start_bus(), 0);
        kernel_.run();
    }
    static bool is_read(const std::vector<uint8_t> &message) { return message[0] == 2; }
    static void make_error(std::vector<uint8_t> &message, const std::string &error)
    {
        message.resize(16);
        message[0] = 16;
        message[12] = static_cast<uint8_t>(error.size() + 1);
        message[13] = 0;
        message.insert(message.end(), error.c_str(), error.c_str() + error.size() + 1);
    }
    static void fail_reads(const std::string &error)
    {
        sim::store::filter_replies([error](std::vector<uint8_t> &message) {
            if (is_read(message))
                make_error(message, error);
        });
    }
    void set_state(const std::string &type, const std::string &id, const std::string &state)
    {
        sim::store::write(backend(type, id) + "/state", state);
        kernel_.run();
    }
};

TEST_F(Bus, FindsTheDevicesThatAreThere)
{
    plug("vbd", "51713");
    plug("vif", "0", 2, 3);
    start();
    ASSERT_EQ(kernel_.present_count(), 2u);
    const FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    EXPECT_EQ(disk->nodename, "device/vbd/51713");
    EXPECT_EQ(disk->type, "vbd");
    EXPECT_EQ(disk->id, 51713u);
    EXPECT_EQ(disk->otherend, "/local/domain/0/backend/vbd/5/51713");
    EXPECT_EQ(disk->domain, 0);
    EXPECT_EQ(disk->states, States{2});
    ASSERT_NE(kernel_.present("vif-0"), nullptr);
    EXPECT_EQ(kernel_.present("vif-0")->domain, 3);
}

TEST_F(Bus, HasNoDevicesWithoutADirectory)
{
    start();
    EXPECT_EQ(kernel_.present_count(), 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Bus, FollowsHotPlug)
{
    start();
    const unsigned watches = sim::store::guest_watches();
    for (int round = 0; round < 50; round++) {
        plug("vbd", "51728");
        kernel_.run();
        ASSERT_NE(kernel_.present("vbd-51728"), nullptr);
        unplug("vbd", "51728");
        kernel_.run();
        ASSERT_EQ(kernel_.present("vbd-51728"), nullptr);
        ASSERT_TRUE(kernel_.devices.empty());
        ASSERT_EQ(sim::store::guest_watches(), watches);
    }
}

TEST_F(Bus, TakesManyDevices)
{
    for (unsigned id = 0; id < 40; id++)
        plug("vbd", std::to_string(51712 + 16 * id));
    start();
    EXPECT_EQ(kernel_.present_count(), 40u);
    for (unsigned id = 0; id < 40; id += 2)
        unplug("vbd", std::to_string(51712 + 16 * id));
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 20u);
    EXPECT_EQ(kernel_.present("vbd-51712"), nullptr);
    EXPECT_NE(kernel_.present("vbd-51728"), nullptr);
}

TEST_F(Bus, PassesOverGarbage)
{
    start();
    for (const char *id :
         {"abc", "01", "-1", "+1", "1a", "4294967296", "99999999999999999999", "0x10"})
        plug("vbd", id);
    for (const char *type : {"Vbd", "v-bd", "_vbd", "averyveryverylongtype", "v bd"})
        plug(type, "1");
    sim::store::write(frontend("vbd", "2"), "");                 // no backend
    sim::store::write(frontend("suspend", "event-channel"), ""); // not a device
    sim::store::write(sim::guest_home + "/device/vfb", "not a directory");
    for (const char *domain : {"", "x", "-1", "32752", "65536", "18446744073709551616", "0 "}) {
        plug("vbd", "3");
        sim::store::write(frontend("vbd", "3") + "/backend-id", domain);
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 0u) << domain;
    }
    plug("vbd", "3");
    for (const std::string &path :
         {std::string(), std::string("backend"), "/" + std::string(79, 'x')}) {
        sim::store::write(path.starts_with('/') ? path + "/state" : "/" + path + "/state", "2");
        sim::store::write(frontend("vbd", "3") + "/backend", path);
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 0u) << path;
    }
    plug("vbd", "4294967295");
    plug("vbd", "0");
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 2u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Bus, DeliversEachChangeOnce)
{
    plug("vbd", "51713", 1);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    for (const char *state : {"2", "2", "4", "4", "5"})
        set_state("vbd", "51713", state);
    EXPECT_EQ(disk->states, (States{1, 2, 4, 5}));
}

TEST_F(Bus, ReadsMalformedStatesAsUnknown)
{
    plug("vbd", "51713", 4);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    for (const char *state : {"", "x", "9", "-4", "4294967300", "4 ", "44444444444444444444444"}) {
        set_state("vbd", "51713", "4");
        set_state("vbd", "51713", state);
        ASSERT_EQ(disk->states.back(), 0u) << state;
    }
    EXPECT_NE(kernel_.present("vbd-51713"), nullptr);
}

TEST_F(Bus, IsReadyOnceConnectedWasDelivered)
{
    plug("vbd", "51713");
    start();
    ASSERT_EQ(kernel_.devices.size(), 1u);
    auto *core = kernel_.devices.begin()->first;
    EXPECT_FALSE(xenbus_core_is_ready(core));
    set_state("vbd", "51713", "4");
    EXPECT_TRUE(xenbus_core_is_ready(core));
    kernel_.bind("vbd-51713"); // again, to another driver
    EXPECT_FALSE(xenbus_core_is_ready(core));
    kernel_.run();
    EXPECT_TRUE(xenbus_core_is_ready(core));
}

TEST_F(Bus, TellsALateDriverTheState)
{
    kernel_.drivers.clear();
    plug("vbd", "51713", 2);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    set_state("vbd", "51713", "3");
    EXPECT_TRUE(disk->states.empty());
    kernel_.bind("vbd-51713");
    kernel_.run();
    EXPECT_EQ(disk->states, States{3});
}

TEST_F(Bus, KeepsADeviceWhoseBackendRestarts)
{
    plug("vbd", "51713", 4);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    for (const char *state : {"5", "6", "1", "2"})
        set_state("vbd", "51713", state);
    EXPECT_EQ(kernel_.present("vbd-51713"), disk);
    EXPECT_EQ(disk->states, (States{4, 5, 6, 1, 2}));
}

TEST_F(Bus, RemovesADetachedDevice)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::write(backend("vbd", "51713") + "/online", "0");
    set_state("vbd", "51713", "5");
    EXPECT_NE(kernel_.present("vbd-51713"), nullptr); // it may be in use
    set_state("vbd", "51713", "6");
    EXPECT_EQ(kernel_.present_count(), 0u);
    kernel_.scan_kicked = true;
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u); // what is left of it is not a new device

    plug("vbd", "51713", 2); // attached again
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(kernel_.added, 2u);
}

TEST_F(Bus, RemovesADeviceWhoseBackendVanishes)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::remove(backend("vbd", "51713"));
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
    EXPECT_EQ(kernel_.added, 1u);
}

TEST_F(Bus, RemovesADeviceWithoutDirectory)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::remove(frontend("vbd", "51713"));
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
}

TEST_F(Bus, ReplacesADeviceThatGetsAnotherBackend)
{
    plug("vbd", "51713", 4, 0);
    start();
    plug("vbd", "51713", 2, 7);
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(kernel_.present("vbd-51713")->domain, 7);
    EXPECT_EQ(kernel_.added, 2u);
}

TEST_F(Bus, ReplacesADeviceWhoseBackendMoves)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::write("/elsewhere/state", "2");
    sim::store::write(frontend("vbd", "51713") + "/backend", "/elsewhere");
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(kernel_.present("vbd-51713")->otherend, "/elsewhere");
}

TEST_F(Bus, KeepsDevicesWhileXenstoredIsSilent)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::answer(false);
    xenbus_core_scan();
    for (const auto &[core, device] : kernel_.devices)
        xenbus_core_step(core);
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_TRUE(kernel_.scan_kicked_later); // to be repeated
    sim::store::answer(true);
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(kernel_.present("vbd-51713")->states, States{4});
}

// An xenstored in trouble says nothing about the backend.
TEST_F(Bus, AsksAgainWhereThereWasNoAnswer)
{
    plug("vbd", "51713", 4);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    States expected{4};
    unsigned state = 5;
    for (const std::string error : {"ENOMEM", "EAGAIN", "EIO", "ENOSPC", "EBUSY", "what"}) {
        fail_reads(error);
        set_state("vbd", "51713", std::to_string(state));
        EXPECT_EQ(disk->states, expected) << error;
        EXPECT_TRUE(kernel_.kicked_later.contains(kernel_.devices.begin()->first)) << error;
        sim::store::filter_replies({});
        kernel_.run();
        expected.push_back(state);
        EXPECT_EQ(disk->states, expected) << error;
        state ^= 1; // 4, 5
    }
}

// The stream starts over in the middle of an answer.
TEST_F(Bus, AsksAgainAfterTheStreamBroke)
{
    plug("vbd", "51713", 4);
    start();
    bool once = true;
    sim::store::filter_replies([&](std::vector<uint8_t> &message) {
        if (is_read(message) && std::exchange(once, false))
            message[4] ^= 0x80; // the request's id
    });
    set_state("vbd", "51713", "5");
    kernel_.run();
    EXPECT_FALSE(once);
    ASSERT_NE(kernel_.present("vbd-51713"), nullptr);
    EXPECT_EQ(kernel_.present("vbd-51713")->states, (States{4, 5}));
}

TEST_F(Bus, AsksAgainWhetherTheBackendStays)
{
    plug("vbd", "51713", 4);
    start();
    sim::store::write(backend("vbd", "51713") + "/online", "0");
    unsigned reads = 0;
    sim::store::filter_replies([&](std::vector<uint8_t> &message) {
        if (is_read(message) && ++reads == 2) // state, online
            make_error(message, "ENOMEM");
    });
    set_state("vbd", "51713", "6");
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
}

TEST_F(Bus, ScansAgainWhereThereWasNoAnswer)
{
    start();
    fail_reads("ENOMEM");
    plug("vbd", "51713", 4);
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
    EXPECT_TRUE(kernel_.scan_kicked_later);
    sim::store::filter_replies({});
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_FALSE(kernel_.scan_kicked_later);
}

// That is an answer: it stays the same until somebody writes.
TEST_F(Bus, DoesNotAskAgainWhereItMayNotLook)
{
    plug("vbd", "51713", 4);
    start();
    FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    fail_reads("EACCES");
    set_state("vbd", "51713", "5");
    EXPECT_EQ(disk->states, (States{4, 0}));
    EXPECT_TRUE(kernel_.kicked_later.empty());
    sim::store::filter_replies({});
    set_state("vbd", "51713", std::string(2000, '4'));
    EXPECT_EQ(disk->states, (States{4, 0}));
    EXPECT_TRUE(kernel_.kicked_later.empty());
}

TEST_F(Bus, IgnoresTheDriversOwnKeys)
{
    plug("vbd", "51713", 2);
    start();
    const unsigned scans = kernel_.scans;
    for (const char *key : {"state", "ring-ref", "event-channel", "protocol"}) {
        sim::store::write(frontend("vbd", "51713") + "/" + key, "1");
        kernel_.run();
    }
    EXPECT_EQ(kernel_.scans, scans);
}

TEST_F(Bus, SurvivesAKernelThatRefusesDevices)
{
    plug("vbd", "51713");
    kernel_.add_result = -ENOMEM;
    start();
    EXPECT_TRUE(kernel_.devices.empty());
    EXPECT_EQ(sim::store::guest_watches(), 1u);
    kernel_.add_result = 0;
    kernel_.out_of_memory = true;
    kernel_.scan_kicked = true;
    kernel_.run();
    EXPECT_TRUE(kernel_.devices.empty());
    kernel_.out_of_memory = false;
    kernel_.scan_kicked = true;
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 1u);
}

} // namespace
