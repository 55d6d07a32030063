// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A vCPU's stolen time, and what Xen is asked for it.
#include <cerrno>

#include <xen/abi.hpp>
#include <xen/abi_pv.hpp>
#include <xen/vcpu.h>

#include <sim/sim.hpp>

namespace {

class Vcpu : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        sim::filter_hypercalls([this](unsigned number, const unsigned long *arguments) {
            if (number != xen::abi::hypercall_vcpu_op)
                return std::optional<long>();
            command_ = arguments[0];
            vcpu_ = arguments[1];
            if (command_ == xen::abi::vcpuop_get_runstate_info && result_ == 0)
                *reinterpret_cast<xen::abi::VcpuRunstateInfo *>(arguments[2]) = info_;
            return std::optional<long>(result_);
        });
    }
    xen::abi::VcpuRunstateInfo info_{};
    long result_ = 0;
    unsigned long command_ = 0, vcpu_ = 0;
};

TEST_F(Vcpu, TimeIsStolenWhileItCouldRun)
{
    info_ = {.state = 0, .state_entry_time = 1, .time = {2, 30, 400, 5000}};
    EXPECT_EQ(xen_steal_time(7), 30u);
    EXPECT_EQ(vcpu_, 7u);
    info_.time[1] = 31;
    EXPECT_EQ(xen_steal_time(7), 31u);
    EXPECT_EQ(xen_steal_time(8), 31u); // its own
    info_.time[1] = 0;
    EXPECT_EQ(xen_steal_time(8), 31u);
}

// Another domain's vCPUs count from 0.
TEST_F(Vcpu, StolenTimeGoesOnInARestoredDomain)
{
    uint64_t last = 0;
    for (unsigned life = 0; life < 3; ++life)
        for (const uint64_t time : {100u, 200u, 200u, 250u}) {
            info_.time[1] = time;
            EXPECT_EQ(xen_steal_time(3), life * 250 + time);
            EXPECT_GE(xen_steal_time(3), last);
            last = xen_steal_time(3);
        }
}

TEST_F(Vcpu, NothingIsStolenIfXenDoesNotSay)
{
    info_.time[1] = 100;
    result_ = -EINVAL;
    EXPECT_EQ(xen_steal_time(4), 0u);
    result_ = 0;
    EXPECT_EQ(xen_steal_time(4), 100u);
    result_ = -EINVAL;
    EXPECT_EQ(xen_steal_time(4), 100u);
}

TEST_F(Vcpu, XenSaysWhetherItRuns)
{
    for (const long result : {0L, 1L, -ENOENT * 1L}) {
        result_ = result;
        EXPECT_EQ(xen_vcpu_is_up(5), result);
        EXPECT_EQ(command_, xen::abi::vcpuop_is_up);
        EXPECT_EQ(vcpu_, 5u);
    }
}

} // namespace
