// SPDX-License-Identifier: MIT OR GPL-2.0-only
// xenbus_port_* for tests.
#include "fake_kernel.hpp"

#include <cerrno>
#include <cstdlib>

FakeKernel *kernel;

namespace {

FakeDevice &get(xenbus_core_device *device)
{
    auto found = kernel->devices.find(device);
    if (found == kernel->devices.end())
        std::abort(); // the core used a device that it had released
    return found->second;
}

std::string name_of(const FakeDevice &device)
{
    return device.type + "-" + std::to_string(device.id);
}

} // namespace

void FakeKernel::run()
{
    kicked.merge(std::exchange(kicked_later, {}));
    scan_kicked |= std::exchange(scan_kicked_later, false);
    do {
        sim::run();
        if (scan_kicked) {
            scan_kicked = false;
            scans++;
            xenbus_core_scan();
        }
        for (const std::set<xenbus_core_device *> now = std::exchange(kicked, {});
             auto *device : now)
            if (devices.contains(device))
                xenbus_core_step(device);
    } while (scan_kicked || !kicked.empty() || sim::step());
}

FakeDevice *FakeKernel::present(const std::string &name)
{
    for (auto &[core, device] : devices)
        if (device.present && name_of(device) == name)
            return &device;
    return nullptr;
}

unsigned FakeKernel::present_count() const
{
    unsigned count = 0;
    for (const auto &[core, device] : devices)
        count += device.present;
    return count;
}

void FakeKernel::bind(const std::string &name)
{
    for (auto &[core, device] : devices) {
        if (device.present && name_of(device) == name) {
            device.bound = true;
            xenbus_core_bound(core);
            xenbus_port_kick(core);
        }
    }
}

void BusTest::SetUp()
{
    MachineTest::SetUp();
    kernel = &kernel_;
}

// The core's list of devices outlives a test, so each test ends with an empty directory.
void BusTest::TearDown()
{
    sim::store::filter_replies({});
    sim::store::answer(true);
    sim::store::remove(sim::guest_home + "/device");
    kernel_.scan_kicked = true;
    kernel_.run();
    EXPECT_TRUE(kernel_.devices.empty());
    EXPECT_EQ(kernel_.added, kernel_.removed);
    MachineTest::TearDown();
}

std::string BusTest::frontend(const std::string &type, const std::string &id)
{
    return sim::guest_home + "/device/" + type + "/" + id;
}

std::string BusTest::backend(const std::string &type, const std::string &id, unsigned domain)
{
    return "/local/domain/" + std::to_string(domain) + "/backend/" + type + "/5/" + id;
}

void BusTest::plug(const std::string &type, const std::string &id, unsigned state, unsigned domain)
{
    sim::store::write(backend(type, id, domain) + "/online", "1");
    sim::store::write(backend(type, id, domain) + "/state", std::to_string(state));
    sim::store::write(frontend(type, id) + "/backend-id", std::to_string(domain));
    sim::store::write(frontend(type, id) + "/backend", backend(type, id, domain));
}

void BusTest::unplug(const std::string &type, const std::string &id, unsigned domain)
{
    sim::store::remove(frontend(type, id));
    sim::store::remove(backend(type, id, domain));
}

void BusTest::start()
{
    ASSERT_EQ(xenbus_core_start_bus(), 0);
    kernel_.run();
}

void BusTest::make_error(std::vector<uint8_t> &message, const std::string &error)
{
    message.resize(16);
    message[0] = 16;
    message[12] = static_cast<uint8_t>(error.size() + 1);
    message[13] = 0;
    message.insert(message.end(), error.c_str(), error.c_str() + error.size() + 1);
}

void BusTest::fail_reads(const std::string &error)
{
    sim::store::filter_replies([error](std::vector<uint8_t> &message) {
        if (!error.empty() && is_read(message))
            make_error(message, error);
    });
}

void DiskTest::SetUp()
{
    BusTest::SetUp();
    plug("vbd", "51713", 4);
    start();
    ASSERT_EQ(kernel_.devices.size(), 1u);
    ASSERT_EQ(states(), States{4});
}

void DiskTest::set_state(const std::string &state)
{
    sim::store::write(back_ + "/state", state);
    kernel_.run();
}

// ---- the port ----

xenbus_core_device *xenbus_port_allocate()
{
    if (kernel->out_of_memory)
        return nullptr;
    auto *device = static_cast<xenbus_core_device *>(std::calloc(1, xenbus_core_device_size()));
    kernel->devices[device];
    return device;
}

void xenbus_port_release(xenbus_core_device *device)
{
    EXPECT_FALSE(get(device).present);
    kernel->devices.erase(device);
    std::free(device);
}

int xenbus_port_add(xenbus_core_device *device, const char *nodename, const char *type, uint32_t id,
                    const char *otherend, uint16_t otherend_id)
{
    if (kernel->add_result)
        return kernel->add_result;
    FakeDevice &fake = get(device);
    fake.nodename = nodename;
    fake.type = type;
    fake.id = id;
    fake.otherend = otherend;
    fake.domain = otherend_id;
    EXPECT_EQ(kernel->present(name_of(fake)), nullptr) << "two devices of one name";
    fake.present = true;
    kernel->added++;
    if (kernel->drivers.contains(type))
        kernel->bind(name_of(fake));
    return 0;
}

void xenbus_port_remove(xenbus_core_device *device)
{
    EXPECT_TRUE(get(device).present);
    EXPECT_FALSE(get(device).locked);
    get(device).present = get(device).bound = false;
    kernel->removed++;
}

void xenbus_port_lock(xenbus_core_device *device) { get(device).locked = true; }
void xenbus_port_unlock(xenbus_core_device *device) { get(device).locked = false; }

int xenbus_port_deliver(xenbus_core_device *device, unsigned state)
{
    FakeDevice &fake = get(device);
    EXPECT_TRUE(fake.locked);
    if (!fake.bound)
        return -ENODEV;
    fake.states.push_back(state);
    if (kernel->on_deliver)
        kernel->on_deliver(state);
    return 0;
}

void xenbus_port_kick(xenbus_core_device *device) { kernel->kicked.insert(device); }
void xenbus_port_kick_later(xenbus_core_device *device) { kernel->kicked_later.insert(device); }
void xenbus_port_kick_scan() { kernel->scan_kicked = true; }
void xenbus_port_kick_scan_later() { kernel->scan_kicked_later = true; }
void xenbus_port_kick_control() { kernel->controls++; }
void xenbus_port_kick_vcpus() { kernel->vcpu_kicks++; }

void *xenbus_port_map_frames(const uint64_t *frames, unsigned count)
{
    if (kernel->grant_table != nullptr)
        kernel->mapped.assign(frames, frames + count);
    return kernel->grant_table;
}

void xenbus_port_remap_frames(void *address, const uint64_t *frames, unsigned count)
{
    EXPECT_EQ(address, kernel->grant_table);
    kernel->mapped.clear();
    if (frames != nullptr)
        kernel->mapped.assign(frames, frames + count);
}

void xenbus_port_restored(xenbus_core_device *device, const char *otherend, uint16_t otherend_id)
{
    FakeDevice &fake = get(device);
    EXPECT_TRUE(fake.present);
    fake.otherend = otherend;
    fake.domain = otherend_id;
    fake.restored++;
}
