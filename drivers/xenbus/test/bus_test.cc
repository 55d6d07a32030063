// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The bus against a simulated xenstored: what is a device, when it comes and goes, and what its
// driver is told.
#include "fake_kernel.hpp"

#include <cerrno>
#include <functional>

#include <xenstore_wire.hpp>

namespace {

using xen::xenstore::Message;
using Bus = BusTest;
using Disk = DiskTest;

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

TEST_F(Disk, DeliversEachChangeOnce)
{
    for (const char *state : {"2", "2", "4", "5", "5"})
        set_state(state);
    EXPECT_EQ(states(), (States{4, 2, 4, 5}));
}

// That is how a backend says that the device has changed.
TEST_F(Disk, DeliversEachRewriteOfConnected)
{
    set_state("4");
    set_state("4");
    EXPECT_EQ(states(), (States{4, 4, 4}));
    xenbus_core_step(core()); // a look without an event
    EXPECT_EQ(states(), (States{4, 4, 4}));
    set_state("5");
    set_state("4");
    EXPECT_EQ(states(), (States{4, 4, 4, 5, 4}));
}

// What is written before the driver is told, it will see; what is written later, it is told again.
TEST_F(Disk, LosesNoRewriteToADeliveryThatRuns)
{
    kernel_.on_deliver = [this, writes = 2](unsigned) mutable {
        if (writes-- > 0)
            sim::store::write(back_ + "/state", "4");
    };
    set_state("4");
    EXPECT_EQ(states(), (States{4, 4, 4, 4}));
}

TEST_F(Disk, IsReadyOnceConnectedWasDelivered)
{
    EXPECT_TRUE(xenbus_core_is_ready(core()));
    kernel_.bind("vbd-51713"); // again, to another driver
    EXPECT_FALSE(xenbus_core_is_ready(core()));
    kernel_.run();
    EXPECT_TRUE(xenbus_core_is_ready(core()));
    set_state("2");
    kernel_.bind("vbd-51713");
    kernel_.run();
    EXPECT_FALSE(xenbus_core_is_ready(core()));
    set_state("4");
    EXPECT_TRUE(xenbus_core_is_ready(core()));
}

TEST_F(Bus, TellsALateDriverTheState)
{
    kernel_.drivers.clear();
    plug("vbd", "51713", 2);
    start();
    sim::store::write(backend("vbd", "51713") + "/state", "3");
    kernel_.run();
    const FakeDevice *disk = kernel_.present("vbd-51713");
    ASSERT_NE(disk, nullptr);
    EXPECT_TRUE(disk->states.empty());
    kernel_.bind("vbd-51713");
    kernel_.run();
    EXPECT_EQ(disk->states, States{3});
}

TEST_F(Disk, StaysWhileItsBackendRestarts)
{
    const FakeDevice *before = disk();
    for (const char *state : {"5", "6", "1", "2"})
        set_state(state);
    EXPECT_EQ(disk(), before);
    EXPECT_EQ(states(), (States{4, 5, 6, 1, 2}));
}

TEST_F(Disk, LeavesWhenItIsDetached)
{
    set_online(false);
    set_state("5");
    EXPECT_NE(disk(), nullptr); // it may be in use
    set_state("6");
    EXPECT_EQ(kernel_.present_count(), 0u);
    kernel_.scan_kicked = true;
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u); // what is left of it is not a new device

    plug("vbd", "51713", 2); // attached again
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(kernel_.added, 2u);
}

TEST_F(Disk, LeavesWhenItsBackendVanishes)
{
    sim::store::remove(back_);
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
    EXPECT_EQ(kernel_.added, 1u);
}

TEST_F(Disk, LeavesWithItsDirectory)
{
    sim::store::remove(front_);
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 0u);
}

TEST_F(Disk, IsReplacedByOneWithAnotherBackend)
{
    plug("vbd", "51713", 2, 7);
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(disk()->domain, 7);
    EXPECT_EQ(kernel_.added, 2u);
}

TEST_F(Disk, IsReplacedWhenItsBackendMoves)
{
    sim::store::write("/elsewhere/state", "2");
    sim::store::write(front_ + "/backend", "/elsewhere");
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 1u);
    EXPECT_EQ(disk()->otherend, "/elsewhere");
}

TEST_F(Disk, StaysWhileXenstoredIsSilent)
{
    sim::store::answer(false);
    xenbus_core_scan();
    xenbus_core_step(core());
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_TRUE(kernel_.scan_kicked_later); // to be repeated
    sim::store::answer(true);
    kernel_.run();
    EXPECT_EQ(states(), (States{4, 4})); // what happened meanwhile, nobody knows
}

// An xenstored in trouble says nothing about the backend.
TEST_F(Disk, IsAskedForAgainWhereThereWasNoAnswer)
{
    States expected{4};
    unsigned state = 5;
    for (const std::string error : {"ENOMEM", "EAGAIN", "EIO", "ENOSPC", "EBUSY", "what"}) {
        fail_reads(error);
        set_state(std::to_string(state));
        EXPECT_EQ(states(), expected) << error;
        EXPECT_TRUE(kernel_.kicked_later.contains(core())) << error;
        fail_reads("");
        kernel_.run();
        expected.push_back(state);
        EXPECT_EQ(states(), expected) << error;
        state ^= 1; // 4, 5
    }
}

// The stream starts over in the middle of an answer.
TEST_F(Disk, IsAskedForAgainAfterTheStreamBroke)
{
    bool once = true;
    sim::store::filter_replies([&](std::vector<uint8_t> &message) {
        if (is_read(message) && std::exchange(once, false))
            message[4] ^= 0x80; // the request's id
    });
    set_state("5");
    kernel_.run();
    EXPECT_FALSE(once);
    EXPECT_EQ(states(), (States{4, 5}));
}

TEST_F(Disk, IsAskedForAgainWhetherItStays)
{
    set_online(false);
    unsigned reads = 0;
    sim::store::filter_replies([&](std::vector<uint8_t> &message) {
        if (is_read(message) && ++reads == 2) // state, online
            make_error(message, "ENOMEM");
    });
    set_state("6");
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
    fail_reads("");
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 1u);
    EXPECT_FALSE(kernel_.scan_kicked_later);
}

// A scan is made anyway when another device goes, which is what makes room for a watch.
TEST_F(Bus, DoesNotScanAgainForAWatchBeyondTheQuota)
{
    start();
    for (const std::string error : {"EQUOTA", "ENOSPC", "E2BIG", "EPERM", "EACCES"}) {
        sim::store::refuse([&error](Message request, const std::string &) {
            return request == Message::watch ? error.c_str() : nullptr;
        });
        plug("vbd", "51713", 4);
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 0u) << error;
        EXPECT_FALSE(kernel_.scan_kicked_later) << error;
        sim::store::refuse({});
        plug("vif", "0");
        kernel_.run();
        EXPECT_EQ(kernel_.present_count(), 2u) << error;
        unplug("vif", "0");
        unplug("vbd", "51713");
        kernel_.run();
    }
}

// That is an answer: it stays the same until somebody writes.
TEST_F(Disk, IsNotAskedForAgainWhereNobodyMayLook)
{
    for (const std::string error : {"EACCES", "EPERM"}) {
        fail_reads(error);
        set_state("5");
        EXPECT_EQ(states().back(), 0u) << error;
        EXPECT_TRUE(kernel_.kicked_later.empty()) << error;
        fail_reads("");
        set_state("4");
    }
    EXPECT_EQ(states(), (States{4, 0, 4, 0, 4}));
    set_state(std::string(2000, '4'));
    EXPECT_EQ(states().back(), 0u);
    EXPECT_TRUE(kernel_.kicked_later.empty());
}

TEST_F(Disk, MayWriteItsOwnKeysWithoutAScan)
{
    const unsigned scans = kernel_.scans;
    for (const char *key : {"state", "ring-ref", "event-channel", "protocol"}) {
        sim::store::write(front_ + "/" + key, "1");
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

// The domain that was restored has another number, and so has its backend's directory.
class Restored : public DiskTest {
protected:
    void restore(unsigned backend_domain)
    {
        watches_ = sim::store::guest_watches();
        sim::restore();
        unplug("vbd", "51713");
        sim::store::write(moved_ + "/online", "1");
        sim::store::write(moved_ + "/state", "2");
        sim::store::write(front_ + "/backend-id", std::to_string(backend_domain));
        sim::store::write(front_ + "/backend", moved_);
        xenbus_core_restore_bus();
        kernel_.run();
    }
    const std::string moved_ = "/local/domain/0/backend/vbd/6/51713";
    unsigned watches_ = 0;
};

TEST_F(Restored, DevicesStayAndHaveOtherBackends)
{
    restore(3);
    ASSERT_NE(disk(), nullptr);
    EXPECT_EQ(disk()->restored, 1u);
    EXPECT_EQ(disk()->otherend, moved_);
    EXPECT_EQ(disk()->domain, 3);
    EXPECT_EQ(kernel_.added, 1u);
    EXPECT_EQ(kernel_.removed, 0u);
    EXPECT_EQ(states(), (States{4, 2}));
    EXPECT_FALSE(xenbus_core_is_ready(core()));
    EXPECT_EQ(sim::store::guest_watches(), watches_);
    sim::store::write(moved_ + "/state", "4");
    kernel_.run();
    EXPECT_EQ(states(), (States{4, 2, 4}));
    EXPECT_TRUE(xenbus_core_is_ready(core()));
    sim::store::remove(moved_);
}

TEST_F(Restored, DevicesThatAreNotThereGo)
{
    sim::restore();
    unplug("vbd", "51713");
    plug("vbd", "51728");
    xenbus_core_restore_bus();
    kernel_.run();
    EXPECT_EQ(disk(), nullptr);
    EXPECT_NE(kernel_.present("vbd-51728"), nullptr);
    EXPECT_EQ(kernel_.present_count(), 1u);
}

// A host is busy when it has just restored a domain: that is no reason to take its root away. But
// the driver must not go on with the backend that it had: the number may be a stranger's here.
TEST_F(Restored, DevicesOfWhichNothingIsKnownYetStay)
{
    for (const std::string error : {"EIO", "EAGAIN", "ENOMEM", "EBUSY", ""}) {
        SCOPED_TRACE(error);
        const unsigned before = disk()->restored;
        const States told = states();
        sim::store::answer(!error.empty());
        fail_reads(error);
        restore(3);
        kernel_.run();
        ASSERT_NE(disk(), nullptr);
        EXPECT_EQ(disk()->restored, before + 1);
        EXPECT_EQ(disk()->otherend, "");
        EXPECT_GE(disk()->domain, 0x7ff0);
        EXPECT_EQ(states(), told);
        fail_reads("");
        sim::store::answer(true);
        kernel_.run();
        ASSERT_NE(disk(), nullptr);
        EXPECT_EQ(disk()->restored, before + 2);
        EXPECT_EQ(disk()->otherend, moved_);
        EXPECT_EQ(disk()->domain, 3);
        EXPECT_EQ(states().back(), 2u);
    }
    EXPECT_EQ(sim::complaints().size(), 5u); // one for each time
    EXPECT_EQ(kernel_.added, 1u);
    EXPECT_EQ(kernel_.removed, 0u);
    EXPECT_EQ(sim::store::guest_watches(), watches_);
}

// All of the guest waits meanwhile: what one has found out, the others need not.
TEST_F(Restored, DevicesShareTheWaitForAnXenstoredThatIsSilent)
{
    for (unsigned id = 0; id < 8; id++)
        plug("vif", std::to_string(id));
    kernel_.run();
    ASSERT_EQ(kernel_.present_count(), 9u);
    sim::restore();
    sim::store::answer(false);
    const uint64_t before = sim::now();
    xenbus_core_restore_bus();
    EXPECT_LT(sim::now() - before, 6'000'000'000u);
    for (const auto &[core, device] : kernel_.devices) {
        EXPECT_EQ(device.restored, 1u);
        EXPECT_EQ(device.otherend, "");
    }
    sim::store::answer(true);
    kernel_.run();
    EXPECT_EQ(kernel_.present_count(), 9u);
    EXPECT_EQ(disk()->otherend, back_);
    EXPECT_EQ(kernel_.present("vif-7")->otherend, backend("vif", "7"));
    EXPECT_EQ(kernel_.present("vif-7")->restored, 2u);
}

// The new host allows fewer watches: a device that had none would wait for ever. xenstore's thread
// gets in between at any time.
TEST_F(Restored, DevicesHaveTheirWatchesBeforePrograms)
{
    for (unsigned turn = 1; turn <= 6; turn++) {
        SCOPED_TRACE(turn);
        xen::Watch programs[3];
        const unsigned quota = sim::store::guest_watches();
        for (xen::Watch &watch : programs)
            ASSERT_TRUE(xen::xenstore::watch(watch, "p", "", [](void *, const char *) {}).ok());
        sim::restore();
        sim::store::refuse([quota](Message request, const std::string &) {
            const bool full = sim::store::guest_watches() >= quota;
            return request == Message::watch && full ? "EQUOTA" : nullptr;
        });
        unsigned requests = 0;
        const std::function<void()> ahead = [&] {
            if (++requests == turn)
                xen::xenstore::run_once();
            else
                sim::before_request(ahead);
        };
        sim::before_request(ahead);
        const unsigned before = disk()->restored;
        xenbus_core_restore_bus();
        EXPECT_EQ(disk()->restored, before + 1);
        EXPECT_EQ(disk()->otherend, back_);
        sim::before_request({});
        kernel_.run();
        EXPECT_EQ(sim::store::guest_watches(), quota);
        sim::store::refuse({});
        for (xen::Watch &watch : programs)
            xen::xenstore::unwatch(watch);
    }
}

// ... unless it is not there when xenstored has an answer.
TEST_F(Restored, DevicesThatAreGoneWhenThereIsAnAnswerGo)
{
    fail_reads("EIO");
    restore(3);
    unplug("vbd", "51713");
    fail_reads("");
    kernel_.run();
    EXPECT_EQ(disk(), nullptr);
    EXPECT_EQ(kernel_.removed, 1u);
}

} // namespace
