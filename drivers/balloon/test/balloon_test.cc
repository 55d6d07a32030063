// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The balloon's core with a kernel that has numbers for pages.
#include <balloon/core/balloon.h>
#include <sim/sim.hpp>

namespace {

struct Kernel {
    uint64_t boot = 10'000;
    uint64_t given = 0;
    unsigned free = 1'000'000;   // pages that it can do without
    unsigned at_xen = 1'000'000; // pages that Xen has for it
    unsigned kicks = 0;
};
Kernel *kernel;

class Balloon : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        kernel = &kernel_;
        ASSERT_EQ(balloon_core_start(), 0);
        sim::run();
        EXPECT_GE(kernel_.kicks, 1u);
    }
    static void set_target(uint64_t pages)
    {
        sim::store::write(sim::guest_home + "/memory/target", std::to_string(pages * 4));
        kernel->kicks = 0;
        sim::run();
        EXPECT_GE(kernel->kicks, 1u);
    }
    // Steps until there is none due at once; returns when the next one is.
    static int run()
    {
        for (unsigned steps = 0; steps < 1000; steps++)
            if (const int delay = balloon_core_step(); delay != 0)
                return delay;
        ADD_FAILURE() << "no end";
        return 0;
    }
    Kernel kernel_;
};

TEST_F(Balloon, DoesNothingWithoutATarget)
{
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(kernel_.given, 0u);
}

TEST_F(Balloon, GoesDownAndUp)
{
    for (const uint64_t target : {9'999u, 4'000u, 7'777u, 10'000u, 1u, 0u, 10'000u}) {
        set_target(target);
        EXPECT_EQ(run(), -1);
        EXPECT_EQ(balloon_port_pages(), target);
    }
}

TEST_F(Balloon, GoesNoFurtherThanItOnceWas)
{
    set_target(20'000);
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(balloon_port_pages(), 10'000u);
    set_target(5'000);
    EXPECT_EQ(run(), -1);
    set_target(UINT64_MAX / 4096);
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(balloon_port_pages(), 10'000u);
}

TEST_F(Balloon, ComesBackMoreSeldomWhenThereIsNothingToGive)
{
    kernel_.free = 500;
    set_target(1'000);
    int last = 0;
    for (unsigned i = 0; i < 10; i++) {
        const int delay = run();
        EXPECT_GE(delay, last);
        EXPECT_GE(delay, 1000);
        EXPECT_LE(delay, 32'000);
        last = delay;
    }
    EXPECT_EQ(kernel_.given, 500u);
    EXPECT_EQ(last, 32'000);
    kernel_.free = 1;
    EXPECT_EQ(run(), 1000); // it got on, and may do so soon
    set_target(9'499);
    EXPECT_EQ(run(), -1);
}

TEST_F(Balloon, ComesBackWhenXenHasNothing)
{
    set_target(5'000);
    run();
    kernel_.at_xen = 100;
    set_target(9'000);
    EXPECT_GE(run(), 1000);
    EXPECT_EQ(balloon_port_pages(), 5'100u);
    kernel_.at_xen = 10'000;
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(balloon_port_pages(), 9'000u);
}

TEST_F(Balloon, KeepsWhatItHasWithoutAClearWord)
{
    for (const char *word : {"", "-4", "4k", "99999999999999999999999", "0x10"}) {
        sim::store::write(sim::guest_home + "/memory/target", word);
        EXPECT_EQ(run(), -1) << word;
    }
    EXPECT_EQ(kernel_.given, 0u);
}

TEST_F(Balloon, IsAskedForAgainInARestoredDomain)
{
    kernel_.kicks = 0;
    sim::restore();
    sim::run();
    EXPECT_GE(kernel_.kicks, 1u);
}

} // namespace

void balloon_port_kick() { kernel->kicks++; }
uint64_t balloon_port_pages() { return kernel->boot - kernel->given; }
uint64_t balloon_port_given() { return kernel->given; }

unsigned balloon_port_give(unsigned count)
{
    EXPECT_LE(count, unsigned{BALLOON_BATCH});
    count = count < kernel->free ? count : kernel->free;
    kernel->free -= count;
    kernel->given += count;
    return count;
}

unsigned balloon_port_take(unsigned count)
{
    EXPECT_LE(count, unsigned{BALLOON_BATCH});
    count = count < kernel->at_xen ? count : kernel->at_xen;
    kernel->at_xen -= count;
    kernel->given -= count;
    EXPECT_LE(kernel->given, kernel->boot);
    return count;
}
