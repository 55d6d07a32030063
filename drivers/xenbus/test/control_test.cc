// SPDX-License-Identifier: MIT OR GPL-2.0-only
// control/shutdown and control/sysrq against a simulated xenstored.
#include "fake_kernel.hpp"

namespace {

class Control : public BusTest {
protected:
    void SetUp() override
    {
        BusTest::SetUp();
        write("shutdown", "");
        ASSERT_EQ(xenbus_core_start_control(), 0);
        sim::run();
        kernel_.controls = 0;
    }
    static void write(const std::string &key, const std::string &value)
    {
        sim::store::write(sim::guest_home + "/control/" + key, value);
    }
    static std::string read(const std::string &key)
    {
        return sim::store::read(sim::guest_home + "/control/" + key).value_or("(none)");
    }
    xenbus_command take() { return xenbus_core_take_command(&sysrq_); }

    char sysrq_ = 'x';
};

TEST_F(Control, SaysWhatItUnderstands)
{
    EXPECT_EQ(read("feature-poweroff"), "1");
    EXPECT_EQ(read("feature-reboot"), "1");
    EXPECT_EQ(read("feature-halt"), "1");
    EXPECT_EQ(read("feature-suspend"), "1");
}

TEST_F(Control, SaysItAgainInARestoredDomain)
{
    sim::restore();
    sim::store::remove(sim::guest_home + "/control");
    xenbus_core_restore_control();
    EXPECT_EQ(read("feature-poweroff"), "1");
    EXPECT_EQ(read("feature-suspend"), "1");
    write("shutdown", "suspend");
    kernel_.controls = 0;
    sim::run();
    EXPECT_GE(kernel_.controls, 1u);
    EXPECT_EQ(take(), XENBUS_SUSPEND);
}

TEST_F(Control, TakesAndAcknowledgesEachCommand)
{
    const std::pair<const char *, xenbus_command> table[] = {
        {"poweroff", XENBUS_POWEROFF}, {"halt", XENBUS_POWEROFF}, {"reboot", XENBUS_REBOOT},
        {"suspend", XENBUS_SUSPEND},   {"rm -rf", XENBUS_NONE},   {"", XENBUS_NONE},
    };
    for (const auto &[text, command] : table) {
        write("shutdown", text);
        sim::run();
        EXPECT_GE(kernel_.controls, 1u) << text;
        EXPECT_EQ(take(), command) << text;
        EXPECT_EQ(read("shutdown"), "") << text;
        EXPECT_EQ(sysrq_, 0);
        EXPECT_EQ(take(), XENBUS_NONE) << text;
    }
    EXPECT_EQ(sim::complaints().size(), 1u); // rm
}

TEST_F(Control, TakesASysrqKey)
{
    write("sysrq", "s");
    sim::run();
    EXPECT_GE(kernel_.controls, 1u);
    EXPECT_EQ(take(), XENBUS_NONE);
    EXPECT_EQ(sysrq_, 's');
    EXPECT_EQ(read("sysrq"), "");
    EXPECT_EQ(take(), XENBUS_NONE);
    EXPECT_EQ(sysrq_, 0);
}

TEST_F(Control, RepeatsATransactionThatCollided)
{
    write("shutdown", "reboot");
    sim::store::fail_commits(3);
    EXPECT_EQ(take(), XENBUS_REBOOT);
    write("shutdown", "reboot");
    sim::store::fail_commits(1000); // but not for ever
    EXPECT_EQ(take(), XENBUS_NONE);
    sim::store::fail_commits(0);
    EXPECT_EQ(take(), XENBUS_REBOOT);
}

TEST_F(Control, SurvivesMissingKeysAndSilence)
{
    sim::store::remove(sim::guest_home + "/control");
    EXPECT_EQ(take(), XENBUS_NONE);
    sim::store::answer(false);
    EXPECT_EQ(take(), XENBUS_NONE);
    EXPECT_EQ(sysrq_, 0);
}

} // namespace
