// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A kernel and a Xen around the dispatch of events, for its tests.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <channels.hpp>
#include <xen/abi.hpp>
#include <xen/dispatch.h>

namespace kit {

extern xen::abi::SharedInfo shared;
extern sim::Channels channels;
extern thread_local unsigned this_cpu;
extern std::map<unsigned, std::function<void()>> handlers; // by irq
extern std::function<void()> on_stray;
extern unsigned strays;
extern std::function<void()> before_bind_vcpu, after_bind_vcpu; // what another vCPU does then
extern bool out_of_memory;
extern uint32_t pages_left; // of the event array, which Xen takes

enum Kind { two_level, fifo };
inline std::string name_of(const ::testing::TestParamInfo<Kind> &info)
{
    return info.param == fifo ? "Fifo" : "TwoLevel";
}

void reset();
void boot(Kind kind);
void restore(Kind kind);        // the domain goes on in another Xen
void dispatch_on(unsigned cpu); // this thread is that vCPU for a while
inline void notify(uint32_t port) { channels.notify(port); }
inline bool masked(uint32_t port) { return channels.masked(port); }

class EventsTest : public ::testing::TestWithParam<Kind> {
protected:
    void SetUp() override
    {
        reset();
        boot(GetParam());
    }

    // As glue/irq.c binds a device's port: the flow handler masks and clears.
    void bind(uint32_t port, unsigned irq, std::function<void()> handler)
    {
        handlers[irq] = [port, handler] {
            xen_event_mask(port);
            xen_event_ack(port);
            handler();
        };
        ASSERT_EQ(xen_port_room(port), 0);
        xen_port_assign(port, irq, 0);
        xen_event_unmask(port);
    }

    static void unbind(uint32_t port)
    {
        xen_event_mask(port);
        xen_port_assign(port, 0, 0);
    }
};

} // namespace kit
