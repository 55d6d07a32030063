// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The console goes to Xen as long as there is no ring, and then to the ring. (How a ring is used,
// and misused: hypercall/test/console_test.cc.)
#include <string>

#include <console/core/console_core.h>
#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/console.hpp>

namespace {

class ConsoleCore : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            return hypercall(number, arguments);
        });
    }

    long hypercall(unsigned number, const unsigned long *arguments)
    {
        if (number == xen::abi::hypercall_console_io) {
            EXPECT_EQ(arguments[0], xen::abi::consoleio_write);
            xen_ += std::string(reinterpret_cast<const char *>(arguments[2]), arguments[1]);
        }
        if (number == xen::abi::hypercall_sched_op)
            sim::advance(50'000'000);
        notified_ += number == xen::abi::hypercall_event_channel_op;
        return 0;
    }

    // What the daemon finds in the ring, which it takes.
    std::string drain()
    {
        std::string text;
        while (ring_.out_cons != ring_.out_prod)
            text += ring_.out[ring_.out_cons++ % sizeof(ring_.out)];
        return text;
    }

    xen::ConsoleRing ring_{};
    std::string xen_; // what Xen's console shows
    unsigned notified_ = 0;
};

// Before the others: a ring, once attached, is there for good.
TEST_F(ConsoleCore, GoesToXenWithoutARing)
{
    console_core_attach(nullptr, 0);
    EXPECT_EQ(console_core_write("hello", 5), 5u);
    console_core_write_all(", world", 7);
    EXPECT_EQ(xen_, "hello, world");
    char c;
    EXPECT_EQ(console_core_read(&c, 1), 0u);
    EXPECT_FALSE(console_core_is_stalled());
    console_core_wait(); // for nothing: it comes back at once
    console_core_event_begins();
    console_core_event_ends();
    EXPECT_EQ(notified_, 0u);
}

TEST_F(ConsoleCore, GoesToTheRing)
{
    console_core_attach(&ring_, 2);
    EXPECT_EQ(console_core_write("hello", 5), 5u);
    EXPECT_EQ(notified_, 1u);
    console_core_write_all(", world", 7);
    EXPECT_EQ(drain(), "hello, world");
    EXPECT_EQ(xen_, "");
    ring_.in[0] = 'x';
    ring_.in_prod = 1;
    char c = 0;
    console_core_event_begins();
    EXPECT_EQ(console_core_read(&c, 1), 1u);
    console_core_event_ends();
    EXPECT_EQ(c, 'x');
    EXPECT_EQ(console_core_read(&c, 1), 0u);
}

TEST_F(ConsoleCore, StallsWhenTheDaemonSleeps)
{
    console_core_attach(&ring_, 2);
    const std::string text(sizeof(ring_.out) + 100, 'y');
    EXPECT_EQ(console_core_write(text.data(), text.size()), sizeof(ring_.out));
    EXPECT_FALSE(console_core_is_stalled());
    const uint64_t start = sim::now();
    console_core_wait();
    EXPECT_TRUE(console_core_is_stalled());
    EXPECT_LE(sim::now() - start, 1'100'000'000u);
    console_core_write_all("z", 1); // dropped, at once
    EXPECT_EQ(drain().size(), sizeof(ring_.out));
    EXPECT_EQ(console_core_write("z", 1), 1u);
    EXPECT_FALSE(console_core_is_stalled());
    EXPECT_EQ(drain(), "z");
}

} // namespace
