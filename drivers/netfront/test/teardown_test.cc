// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The end of a connection in any order of events, and a backend that does not let go.
#include <algorithm>

#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

using Teardown = ConnectedTest;

// ---- XSA-396: only what was revoked is used again ----

// Pages that the backend keeps mapped are not used again before it lets go.
TEST_F(Teardown, Xsa396BrokenWhilePagesAreHeld)
{
    backend->map_packets = true;
    for (unsigned i = 0; i < 10; i++) {
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        ASSERT_TRUE(backend->deliver(packet(100)));
        settle();
    }
    received.clear();
    backend->respond_rx({.id = 5, .offset = 0, .flags = 0, .status = 100});
    settle();
    EXPECT_EQ(front_state(), "6");
    // Which transmit buffers were used is the frontend's business; the receive ones go round.
    const unsigned held = sim::grants_in_force();
    EXPECT_GE(held, 11u);
    EXPECT_LE(held, 20u);
    EXPECT_EQ(sim::pages_in_use(), held);

    // There is no new connection before it lets go.
    sim::store::write(back_path + "/state", "1");
    for (unsigned second = 0; second < 10; second++) {
        settle();
        later();
        EXPECT_EQ(front_state(), "1");
        EXPECT_FALSE(link);
    }
    EXPECT_EQ(sim::complaints().size(), 2u);
    EXPECT_EQ(sim::grants_in_force(), held);
    EXPECT_EQ(sim::pages_in_use(), held);
    backend->drop_packet_mappings();
    later();
    EXPECT_EQ(front_state(), "4");
    expect_traffic();
}

// However often it connects, a backend gets hold of no more than one connection's pages.
TEST_F(Teardown, Xsa396CollectsPagesInManyConnections)
{
    backend->map_packets = true;
    for (unsigned round = 0; round < 10; round++) {
        while (backend->connected() && backend->deliver(packet(100)))
            ;
        backend->set_state(5);
        settle();
        backend->set_state(2);
        settle();
        later();
        ASSERT_LE(sim::grants_in_force(), pages_of_a_connection) << round;
        ASSERT_LE(sim::pages_in_use(), pages_of_a_connection) << round;
    }
    EXPECT_FALSE(link);
    backend->drop_packet_mappings();
    backend->map_packets = false;
    later();
    expect_traffic();
}

// Any one page, the rings' too: mapped right before the end, it stays what it was until it is let
// go.
TEST_F(Teardown, Xsa396EachPageMayBeHeld)
{
    const auto first = static_cast<uint32_t>(std::stoul(key("tx-ring-ref")));
    const auto second = static_cast<uint32_t>(std::stoul(key("rx-ring-ref")));
    std::vector<uint32_t> references{first, second};
    xen::netif::TxRequest request;
    backend->serve_tx = false;
    ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
    ASSERT_TRUE(backend->next_tx(request));
    references.push_back(request.grant);
    for (const uint32_t reference : references) {
        SCOPED_TRACE(reference);
        sim::Peer holder;
        ASSERT_EQ(front_state(), "4");
        const uint8_t *page = holder.map(reference, false);
        ASSERT_NE(page, nullptr);
        const std::vector<uint8_t> content(page, page + 4096);
        backend->set_state(5);
        settle();
        EXPECT_FALSE(link);
        EXPECT_EQ(sim::pages_in_use(), 1u);
        EXPECT_EQ(sim::grants_in_force(), 1u);
        EXPECT_EQ(std::vector<uint8_t>(page, page + 4096), content);
        backend->set_state(2); // no connection while it is held
        settle();
        later();
        EXPECT_FALSE(link);
        EXPECT_EQ(sim::pages_in_use(), 1u);
        remove(); // nor does it go back to the kernel
        EXPECT_EQ(xen::reclaim_grants(), 1u);
        EXPECT_EQ(sim::pages_in_use(), 1u);
        EXPECT_EQ(std::vector<uint8_t>(page, page + 4096), content);
        holder.unmap(const_cast<uint8_t *>(page));
        expect_nothing_held();
        sim::store::write(front_path + "/state", "1");
        backend->set_state(2);
        ASSERT_EQ(probe(), 0);
        settle();
        ASSERT_TRUE(link);
    }
}

// ---- XSA-465: each part of the end may come at any time, and more than once ----

enum class Step { closing, closed, vanish, restart, violate, repair, leave };
constexpr const char *step_names[] = {"closing", "closed", "vanish", "restart",
                                      "violate", "repair", "leave"};

class Ends : public ConnectedTest {
protected:
    void take(Step step)
    {
        switch (step) {
        case Step::closing:
            backend->set_state(5);
            break;
        case Step::closed:
            backend->set_state(6);
            break;
        case Step::vanish:
            sim::store::remove(back_path);
            break;
        case Step::restart:
            backend->set_state(2);
            break;
        case Step::violate:
            if (backend->connected())
                backend->tx.shared().rsp_prod = 77;
            poll_wanted = device != nullptr;
            break;
        case Step::repair: // asked for or not
            if (device != nullptr)
                netfront_work(device);
            break;
        case Step::leave:
            if (device == nullptr)
                break;
            netfront_remove(device);
            netfront_remove(device);
            netfront_work(device);
            EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
            EXPECT_FALSE(netfront_rearm(device, 0));
            EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
            work_wanted = false;
            remove();
            break;
        }
    }

    // The device, or a new one after it, works with an honest backend.
    void expect_all_well()
    {
        if (device != nullptr) {
            expect_reconnect();
        } else {
            backend.reset();
            expect_nothing_held();
            connect();
            expect_traffic();
        }
        EXPECT_EQ(sim::pages_in_use(), pages_of_a_connection);
        EXPECT_EQ(sim::grants_in_force(), pages_of_a_connection);
    }
};

TEST_F(Ends, Xsa465Cve202248914InEveryOrder)
{
    constexpr size_t steps = std::size(step_names);
    for (size_t a = 0; a < steps; a++) {
        for (size_t b = 0; b < steps; b++) {
            for (size_t c = 0; c < steps; c++) {
                // Each step has its effect before the next, or all of them come at once.
                for (const bool at_once : {false, true}) {
                    SCOPED_TRACE(std::string(step_names[a]) + ", " + step_names[b] + ", " +
                                 step_names[c] + (at_once ? " at once" : ""));
                    backend->serve_tx = false;
                    ASSERT_EQ(send(packet(100)), NETFRONT_SENT); // in flight
                    for (const size_t step : {a, b, c}) {
                        take(static_cast<Step>(step));
                        if (!at_once)
                            settle();
                    }
                    settle();
                    ASSERT_NO_FATAL_FAILURE(expect_all_well());
                    ASSERT_FALSE(HasFailure());
                }
            }
        }
    }
}

TEST_F(Teardown, Xsa465RemovedWhileBroken)
{
    backend->respond_rx({.id = 9, .offset = 0, .flags = 0, .status = 100});
    sim::run();
    poll();
    ASSERT_TRUE(work_wanted);
    netfront_remove(device);
    netfront_work(device); // the work that was queued
    EXPECT_EQ(netfront_poll(device, 0, 64), 0u);
    EXPECT_EQ(send(packet(100)), NETFRONT_DROPPED);
    work_wanted = false;
    remove();
}

// A device that is removed does not wait for an xenstored that does not answer.
TEST_F(Teardown, RemovedWhileXenstoredIsSilent)
{
    sim::store::answer(false);
    const uint64_t before = sim::now();
    netfront_remove(device);
    EXPECT_LE(sim::now() - before, 15'000'000'000u);
    backend.reset();
    expect_nothing_held();
    sim::store::answer(true);
    remove();
}

// ---- states that no honest backend goes through ----

TEST_F(NetFrontTest, Xsa376EveryOrderOfStates)
{
    create_directories();
    ASSERT_EQ(probe(), 0);
    sim::store::write(back_path + "/feature-rx-copy", "1");
    const auto step = [&](unsigned state) {
        const bool before = link;
        sim::store::write(back_path + "/state", std::to_string(state));
        settle();
        // What says nothing about the connection leaves it as it is.
        const bool same = state == 3 || state == 7 || state == 8;
        EXPECT_EQ(link, same ? before : state == 4 && front_state() == "4");
        EXPECT_TRUE(sim::pages_in_use() == 0 || sim::pages_in_use() == pages_of_a_connection);
        EXPECT_EQ(sim::grants_in_force(), sim::pages_in_use());
    };
    for (unsigned a = 0; a <= 9; a++) {
        for (unsigned b = 0; b <= 9; b++) {
            for (unsigned c = 0; c <= 9; c++) {
                for (const unsigned state : {a, b, c})
                    step(state);
                ASSERT_FALSE(HasFailure()) << "states " << a << ", " << b << ", " << c;
            }
        }
        expect_reconnect();
        backend.reset();
    }
    EXPECT_TRUE(sim::complaints().empty());
}

} // namespace
} // namespace netfront_test
