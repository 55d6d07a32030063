// SPDX-License-Identifier: MIT OR GPL-2.0-only
// cpu/NUMBER/availability against a simulated xenstored.
#include "fake_kernel.hpp"

namespace {

class Vcpus : public BusTest {
protected:
    void SetUp() override
    {
        BusTest::SetUp();
        ASSERT_EQ(xenbus_core_start_vcpus(), 0);
        sim::run();
        EXPECT_GE(kernel_.vcpu_kicks, 1u); // at first, too
        kernel_.vcpu_kicks = 0;
    }
    static void write(unsigned vcpu, const std::string &word)
    {
        sim::store::write(sim::guest_home + "/cpu/" + std::to_string(vcpu) + "/availability", word);
    }
};

TEST_F(Vcpus, FollowTheToolstacksWord)
{
    write(0, "online");
    write(1, "offline");
    sim::run();
    EXPECT_GE(kernel_.vcpu_kicks, 1u);
    EXPECT_EQ(xenbus_core_vcpu_wanted(0), 1);
    EXPECT_EQ(xenbus_core_vcpu_wanted(1), 0);
    write(1, "online");
    EXPECT_EQ(xenbus_core_vcpu_wanted(1), 1);
}

TEST_F(Vcpus, StayAsTheyAreWithoutAClearWord)
{
    EXPECT_EQ(xenbus_core_vcpu_wanted(7), -1);
    for (const char *word : {"", "onlin", "onlinee", "0", "ONLINE"}) {
        write(7, word);
        EXPECT_EQ(xenbus_core_vcpu_wanted(7), -1) << word;
    }
    write(7, std::string(300, 'o'));
    EXPECT_EQ(xenbus_core_vcpu_wanted(7), -1);
    write(4294967295u, "offline");
    EXPECT_EQ(xenbus_core_vcpu_wanted(4294967295u), 0);
    sim::store::answer(false);
    EXPECT_EQ(xenbus_core_vcpu_wanted(7), -1);
}

TEST_F(Vcpus, AreAskedForAgainInARestoredDomain)
{
    sim::restore();
    sim::run();
    EXPECT_GE(kernel_.vcpu_kicks, 1u);
}

} // namespace
