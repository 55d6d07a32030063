// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A kernel for the network frontend's core, on the simulated machine: implements netfront_port.h
// and plays the bus, NAPI and the work queue, in one thread.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <netfront/core/netfront.h>
#include <netfront/core/netfront_port.h>

#include "backend.hpp"

namespace netfront_test {

constexpr unsigned queues_max = 4;

class NetFrontTest : public sim::MachineTest {
public:
    // What the port's functions left here, of each queue.
    struct Queue {
        bool full = false;
        bool waits = false; // for another reason
        bool poll_wanted = false;
        bool locked[2]{};          // for receiving, for transmitting
        uint64_t bytes_queued = 0; // and not reported as completed
        unsigned packets_queued = 0;
    };
    std::array<Queue, queues_max> queues;
    bool link = false;
    netfront_features features{};
    bool work_wanted = false;
    bool retry_wanted = false;
    unsigned link_changes = 0;
    unsigned updates = 0; // of features while connected
    unsigned events = 0;
    unsigned refused_multicasts = 0;
    std::vector<Packet> received;
    std::vector<netfront_packet> descriptions; // of those
    Packet filling;

    // ---- behaviour ----
    netfront_wishes wishes{.queues = queues_max,
                           .tx_buffers = 128,
                           .rx_buffers = 256,
                           .split_events = true,
                           .receive_gso = true,
                           .receive_checksum = true,
                           .static_grants = true};
    netfront_hash hash{};
    bool out_of_buffers = false;    // refuse buffers for received packets
    uint32_t memory_piece = ~0u;    // gives at most so much at once
    bool last_of_burst = false;     // what the core hears of each packet that is queued
    std::function<void()> on_event; // what another CPU does while the handler still runs

    bool locked() const;

protected:
    void SetUp() override;
    // Removes the device if the test did not, and expects that nothing of it is left.
    void TearDown() override;

    // Makes the device; 0 or a negative errno.
    int probe();
    void remove();
    // Directories, and a backend that goes further than InitWait when it is ready.
    void prepare(bool ready = true);
    // The same with the device, and all of it connected.
    void connect();
    // What the bus, a poll and the work queue have to do, once. False: nothing.
    bool turn();
    // Runs machine, bus, polls and works until nothing happens any more.
    void settle();
    // The same a second later.
    void later();
    void poll(unsigned budget = 64, unsigned queue = 0);
    netfront_verdict send(const Packet &packet);
    netfront_verdict send(const Packet &packet, netfront_packet description, unsigned queue = 0,
                          bool more = false);
    netfront_statistics counters(unsigned queue = 0);
    static std::string key(const std::string &name); // of the frontend's directory
    static std::string front_state() { return key("state"); }
    // Packets pass both ways, through every queue.
    void expect_traffic();
    // The device works with a new backend.
    void expect_reconnect();
    // The device broke because of `complaint`, gave up everything, and works again with a new
    // backend.
    void expect_broken(const std::string &complaint);
    // No device, or a device that has no connection: it holds nothing.
    static void expect_nothing_held();

    static Packet packet(size_t length, unsigned seed = 1);

    netfront *device = nullptr;
    std::unique_ptr<Backend> backend;
    std::array<uint8_t, 6> mac{};
    bool &full = queues[0].full;
    bool &poll_wanted = queues[0].poll_wanted;

private:
    std::unique_ptr<std::max_align_t[]> memory_;
    unsigned watch_ = 0;
    bool backend_changed_ = false;
    unsigned free_grants_ = 0;
    size_t complaints_ = 0; // that expect_broken() has seen
};

// The same with a device that is connected.
class ConnectedTest : public NetFrontTest {
protected:
    void SetUp() override
    {
        NetFrontTest::SetUp();
        connect();
    }
};

// The same with a backend that offers everything.
class FullTest : public NetFrontTest {
protected:
    void SetUp() override
    {
        NetFrontTest::SetUp();
        prepare();
        offer_everything();
        ASSERT_EQ(probe(), 0);
        settle();
        ASSERT_TRUE(link);
    }
};

constexpr unsigned pages_of_a_connection = 2 + 128 + 256; // rings, and buffers each way

} // namespace netfront_test
