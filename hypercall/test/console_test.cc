// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The console ring, with a daemon that behaves, sleeps, or writes impossible indices.
#include <string>

#include <sim/access.hpp>
#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/console.hpp>
#include <xen/event.hpp>

namespace {

class ConsoleTest : public sim::MachineTest {
protected:
    void SetUp() override
    {
        sim::MachineTest::SetUp();
        console_.attach(&ring_, xen::EventPort{2});
        sim::filter_hypercalls([this](unsigned number, const unsigned long *) {
            notified_ += number == xen::abi::hypercall_event_channel_op;
            yields_ += number == xen::abi::hypercall_sched_op;
            if (number == xen::abi::hypercall_sched_op && awake_)
                drain(7);
            return 0;
        });
    }

    // The daemon takes up to `most` bytes.
    std::string drain(size_t most = 4096)
    {
        std::string text;
        while (ring_.out_cons != ring_.out_prod && text.size() < most)
            text += ring_.out[ring_.out_cons++ % sizeof(ring_.out)];
        output_ += text;
        return text;
    }

    void type(const std::string &text)
    {
        for (const char c : text)
            ring_.in[ring_.in_prod++ % sizeof(ring_.in)] = c;
    }

    std::string read(size_t size = 4096)
    {
        std::string text(size, 0);
        text.resize(console_.read(text.data(), size));
        return text;
    }

    xen::ConsoleRing ring_{};
    xen::Console console_;
    std::string output_;
    unsigned notified_ = 0;
    unsigned yields_ = 0;
    bool awake_ = false;
};

TEST_F(ConsoleTest, Writes)
{
    EXPECT_EQ(console_.write("hello", 5), 5u);
    EXPECT_EQ(notified_, 1u);
    EXPECT_EQ(drain(), "hello");
    EXPECT_EQ(console_.write("", 0), 0u);
    EXPECT_EQ(notified_, 1u) << "nothing moved";
}

TEST_F(ConsoleTest, WritesAcrossTheWrap)
{
    for (unsigned i = 0; i < 100; ++i) {
        const std::string text = std::to_string(i) + std::string(150, 'x');
        ASSERT_EQ(console_.write(text.data(), text.size()), text.size());
        ASSERT_EQ(drain(), text);
    }
}

TEST_F(ConsoleTest, FullIsNotBroken)
{
    const std::string text(3000, 'y');
    EXPECT_EQ(console_.write(text.data(), text.size()), 2048u);
    EXPECT_EQ(console_.write("z", 1), 0u);
    EXPECT_FALSE(console_.broken());
    drain(1);
    EXPECT_EQ(console_.write("zz", 2), 1u);
}

TEST_F(ConsoleTest, WriteAllWaitsForTheDaemon)
{
    awake_ = true;
    const std::string text(5000, 'w');
    console_.write_all(text.data(), text.size());
    drain();
    EXPECT_EQ(output_, text);
    EXPECT_FALSE(console_.stalled());
}

TEST_F(ConsoleTest, WriteAllGivesUpOnceAndStaysQuick)
{
    const std::string text(5000, 'w');
    console_.write_all(text.data(), text.size());
    const unsigned first = yields_;
    EXPECT_GT(first, 0u);
    EXPECT_TRUE(console_.stalled());
    console_.write_all("more", 4);
    EXPECT_EQ(yields_, first) << "nobody waits for a dead daemon twice";
    drain();
    console_.write_all("back", 4);
    EXPECT_FALSE(console_.stalled());
    EXPECT_EQ(drain(), "back");
}

TEST_F(ConsoleTest, TheClockBoundsTheWaitWhereItRuns)
{
    const uint64_t start = sim::now();
    sim::filter_hypercalls([](unsigned, const unsigned long *) {
        sim::advance(1'000'000);
        return 0;
    });
    const std::string text(5000, 'w');
    console_.write_all(text.data(), text.size());
    EXPECT_TRUE(console_.stalled());
    EXPECT_NEAR(static_cast<double>(sim::now() - start), 1e9, 1e7);
}

// Each byte is progress, but a printk of 80 of them must not take as many seconds.
TEST_F(ConsoleTest, TricklingRoomDoesNotRenewThePatience)
{
    const std::string full(2048, 'f');
    ASSERT_EQ(console_.write(full.data(), full.size()), full.size());
    const uint64_t start = sim::now();
    uint64_t freed = start;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *) {
        if (number == xen::abi::hypercall_sched_op)
            sim::advance(1'000'000);
        if (sim::now() - freed >= 900'000'000) {
            freed = sim::now();
            drain(1);
        }
        return 0;
    });
    const std::string text(80, 'w');
    console_.write_all(text.data(), text.size());
    EXPECT_TRUE(console_.stalled());
    EXPECT_LT(sim::now() - start, 1'100'000'000u);
    sim::advance(1'000'000'000);
    drain(1);
    console_.write_all(text.data(), text.size());
    EXPECT_LT(sim::now() - start, 2'200'000'000u) << "the patience is used up";

    // A good part of the ring is free again: so is the patience.
    drain();
    console_.write_all(full.data(), full.size());
    const uint64_t again = sim::now();
    freed = again;
    console_.write_all(text.data(), text.size());
    EXPECT_GT(sim::now() - again, 900'000'000u);
}

// Time that ends with a byte's room is time waited for as well.
TEST_F(ConsoleTest, SlowRoomUsesUpThePatience)
{
    const std::string full(2048, 'f');
    ASSERT_EQ(console_.write(full.data(), full.size()), full.size());
    const uint64_t start = sim::now();
    sim::filter_hypercalls([&](unsigned number, const unsigned long *) {
        if (number == xen::abi::hypercall_sched_op) {
            sim::advance(50'000'000);
            drain(1);
        }
        return 0;
    });
    const std::string text(500, 'w');
    console_.write_all(text.data(), text.size());
    EXPECT_TRUE(console_.stalled());
    EXPECT_LE(sim::now() - start, 1'100'000'000u);
}

TEST_F(ConsoleTest, Reads)
{
    EXPECT_EQ(read(), "");
    for (unsigned i = 0; i < 30; ++i) {
        const std::string text = std::to_string(i) + std::string(100, 'k');
        type(text);
        ASSERT_EQ(read(50), text.substr(0, 50));
        ASSERT_EQ(read(), text.substr(50));
    }
    EXPECT_EQ(ring_.in_cons, ring_.in_prod);
    EXPECT_GT(notified_, 0u) << "the daemon may be waiting for room";
}

TEST_F(ConsoleTest, GoesOnWhereAnEarlierUserStopped)
{
    console_.write("early ", 6);
    type("abc");
    read(1);
    xen::Console late;
    late.attach(&ring_, xen::EventPort{2});
    late.write("late", 4);
    EXPECT_EQ(drain(), "early late");
    char c[2];
    EXPECT_EQ(late.read(c, 2), 2u);
    EXPECT_EQ(c[0], 'b');
}

TEST_F(ConsoleTest, Xsa376ImpossibleInputIndices)
{
    for (const uint32_t bad : {1025u, 2048u, 0x80000000u, 0xffffffffu}) {
        console_.attach(&ring_, xen::EventPort{2});
        ring_.in_prod = ring_.in_cons + bad;
        EXPECT_EQ(read(), "") << bad;
        EXPECT_TRUE(console_.broken());
        EXPECT_EQ(console_.write("x", 1), 0u) << "it stays broken";
        ring_.in_prod = ring_.in_cons;
        EXPECT_EQ(console_.write("x", 1), 0u);
        EXPECT_FALSE(console_.wait_for_room());
    }
    EXPECT_EQ(sim::complaints().size(), 4u) << "one line each";
}

TEST_F(ConsoleTest, Xsa376ImpossibleOutputIndices)
{
    for (const uint32_t bad : {1u, 2048u, 0x80000000u, 0xfffff7ffu}) {
        console_.attach(&ring_, xen::EventPort{2});
        ring_.out_cons = ring_.out_prod + bad;
        EXPECT_EQ(console_.write("x", 1), 0u) << bad;
        EXPECT_TRUE(console_.broken()) << bad;
    }
    EXPECT_EQ(sim::complaints().size(), 4u);
}

TEST_F(ConsoleTest, Xsa155EverythingIsReadOnce)
{
    type("typed");
    sim::clear_loads();
    EXPECT_EQ(read(), "typed");
    console_.write("written", 7);
    EXPECT_EQ(sim::loads(&ring_.in_prod, 4), 1u);
    EXPECT_EQ(sim::loads(ring_.in, 5), 1u);
    EXPECT_EQ(sim::loads(&ring_.out_cons, 4), 1u);
    EXPECT_EQ(sim::loads(ring_.out, sizeof(ring_.out)), 0u) << "own bytes are never read back";
}

TEST_F(ConsoleTest, OwnIndicesInThePageDoNotMatter)
{
    console_.write("ab", 2);
    ring_.out_prod = 777;
    ring_.in_cons = 777;
    console_.write("c", 1);
    EXPECT_EQ(drain(), "abc");
    type("in");
    EXPECT_EQ(read(), "in");
}

TEST_F(ConsoleTest, UnattachedIsSilent)
{
    xen::Console console;
    EXPECT_EQ(console.write("x", 1), 0u);
    console.write_all("x", 1);
    char c;
    EXPECT_EQ(console.read(&c, 1), 0u);
}

TEST_F(ConsoleTest, Xsa376OutputIndexThatGoesBackInAWait)
{
    const std::string text(3000, 'y');
    sim::filter_hypercalls([&](unsigned number, const unsigned long *) {
        if (number == xen::abi::hypercall_sched_op)
            --ring_.out_cons;
        return 0;
    });
    ring_.out_cons = ring_.out_prod;
    console_.write_all(text.data(), text.size());
    EXPECT_TRUE(console_.broken());
    EXPECT_EQ(sim::complaints().size(), 1u);
}

// ---- the console's events ----

// The terminal that a kernel has behind the console's port.
class ConsoleEvents : public ConsoleTest {
protected:
    void SetUp() override
    {
        ConsoleTest::SetUp();
        sim::filter_hypercalls({});
        ASSERT_TRUE(channel_.listen(xen::DomId{0}, on_event, this).ok());
        port_ = daemon_.bind(channel_.port().value);
        console_.attach(&ring_, channel_.port());
    }

    static void on_event(void *context)
    {
        auto &test = *static_cast<ConsoleEvents *>(context);
        ++test.events_;
        test.console_.event_begins();
        test.console_.event_ends();
    }

    sim::Peer daemon_{0};
    xen::EventChannel channel_;
    uint32_t port_ = 0;
    unsigned events_ = 0;
};

TEST_F(ConsoleEvents, Xsa391EventsWithoutProgressAreSlowedDown)
{
    for (unsigned i = 0; i < 100; ++i) { // nobody reads, but it is no storm either
        type("x");
        daemon_.notify(port_);
        EXPECT_EQ(console_.write("y", 1), 1u);
        drain();
        daemon_.notify(port_);
    }
    EXPECT_EQ(events_, 200u);
    EXPECT_EQ(sim::delayed_events(), 0u);
    for (unsigned i = 0; i < 1000; ++i)
        daemon_.notify(port_);
    EXPECT_EQ(sim::delayed_events(), 1u);
    EXPECT_LE(events_, 240u);
}

// Each index stays within its window and seems to move with every event.
TEST_F(ConsoleEvents, Xsa391OutputIndexThatGoesBackIsNoProgress)
{
    EXPECT_EQ(console_.write("yy", 2), 2u);
    drain();
    for (unsigned i = 0; i < 1000; ++i) {
        ring_.out_cons = ring_.out_prod - i % 2;
        daemon_.notify(port_);
    }
    EXPECT_TRUE(console_.broken());
    EXPECT_LE(events_, 40u);
    EXPECT_EQ(sim::complaints().size(), 1u);
}

TEST_F(ConsoleEvents, Xsa391InputIndexThatGoesBackIsNoProgress)
{
    for (unsigned i = 0; i < 1000; ++i) {
        ring_.in_prod = ring_.in_cons + i % 2;
        daemon_.notify(port_);
    }
    EXPECT_TRUE(console_.broken());
    EXPECT_LE(events_, 40u);
    EXPECT_EQ(sim::complaints().size(), 1u);
}

TEST_F(ConsoleTest, Xsa376InputIndexThatGoesBack)
{
    type("typed");
    EXPECT_EQ(read(1), "t");
    ring_.in_prod -= 1; // what was there may be overwritten
    EXPECT_EQ(read(), "");
    EXPECT_TRUE(console_.broken());
    EXPECT_EQ(sim::complaints().size(), 1u);
}

TEST_F(ConsoleEvents, Xsa376WildIndexInAnEvent)
{
    ring_.in_prod = 1025;
    for (unsigned i = 0; i < 100; ++i) {
        daemon_.notify(port_);
        sim::advance(2'000'000'000);
    }
    EXPECT_TRUE(console_.broken());
    EXPECT_EQ(events_, 1u); // its port stays masked
    EXPECT_EQ(sim::complaints().size(), 1u);
}

// The machine ends a test whose guest logs while it holds a lock: the line would come back through
// the console. All that events make the cores say:
TEST_F(ConsoleEvents, Xsa441NothingIsLoggedWithALockHeld)
{
    for (unsigned i = 0; i < 50; ++i) {
        daemon_.notify(port_);
        sim::advance(2'000'000'000);
    }
    ASSERT_EQ(sim::complaints().size(), 1u); // in the handler
    ring_.out_cons = ring_.out_prod + 1;
    daemon_.notify(port_);
    sim::advance(2'000'000'000);
    ASSERT_EQ(sim::complaints().size(), 2u); // in the handler
    sim::filter_hypercalls([](unsigned, const unsigned long *) { return -22; });
    channel_.close();
    ASSERT_EQ(sim::complaints().size(), 3u); // while the port goes
    sim::filter_hypercalls({});
}

} // namespace
