// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel around the bus's core, for tests: a device model of a few lines, whose work runs when
// the test says so.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <sim/sim.hpp>
#include <xenbus/core/xenbus_core.h>

struct FakeDevice {
    std::string nodename, type, otherend;
    uint32_t id = 0;
    uint16_t domain = 0;
    bool present = false; // between add and remove
    bool bound = false;
    bool locked = false;
    unsigned restored = 0;
    std::vector<unsigned> states; // as delivered
};

// Devices that exist or existed, by core object; one that is released leaves.
class FakeKernel {
public:
    std::map<xenbus_core_device *, FakeDevice> devices;
    std::set<std::string> drivers{"vbd", "vif"}; // types that find a driver
    std::function<void(unsigned)> on_deliver;    // the driver is told of a state
    int add_result = 0;
    bool out_of_memory = false;
    unsigned scans = 0, controls = 0, vcpu_kicks = 0, added = 0, removed = 0;

    // A while has passed. Runs whatever was kicked, xenstored and the watches, until nothing
    // happens any more.
    void run();
    // The one present device of this name ("vbd-51713"), or null.
    FakeDevice *present(const std::string &name);
    unsigned present_count() const;
    // A driver that comes late.
    void bind(const std::string &name);

    std::set<xenbus_core_device *> kicked, kicked_later;
    bool scan_kicked = false, scan_kicked_later = false;

    void *grant_table = nullptr;  // null: it cannot be mapped
    std::vector<uint64_t> mapped; // the frames of it
};

extern FakeKernel *kernel;

// A fresh machine with a fresh kernel.
class BusTest : public sim::MachineTest {
protected:
    void SetUp() override;
    void TearDown() override;

    // Starts the bus; it finds what is plugged in by then.
    void start();
    // What a toolstack writes for a device, and in which state the backend starts.
    void plug(const std::string &type, const std::string &id, unsigned state = 2,
              unsigned domain = 0);
    void unplug(const std::string &type, const std::string &id, unsigned domain = 0);
    static std::string frontend(const std::string &type, const std::string &id);
    static std::string backend(const std::string &type, const std::string &id, unsigned domain = 0);

    static bool is_read(const std::vector<uint8_t> &message) { return message[0] == 2; }
    // Makes a reply of xenstored's an error.
    static void make_error(std::vector<uint8_t> &message, const std::string &error);
    // From now on each read has this error for an answer; an empty one ends that.
    static void fail_reads(const std::string &error);

    FakeKernel kernel_;
};

using States = std::vector<unsigned>;

// The same, and the bus has found one disk, vbd-51713, whose backend is connected.
class DiskTest : public BusTest {
protected:
    void SetUp() override;

    void set_state(const std::string &state); // the backend's, which then has its effect
    void set_online(bool online) { sim::store::write(back_ + "/online", online ? "1" : "0"); }
    // The disk, or null.
    FakeDevice *disk() { return kernel_.present("vbd-51713"); }
    // What its driver was told; nothing if the disk has gone.
    States states() { return disk() ? disk()->states : States{}; }
    xenbus_core_device *core() { return kernel_.devices.begin()->first; }

    const std::string front_ = frontend("vbd", "51713");
    const std::string back_ = backend("vbd", "51713");
};
