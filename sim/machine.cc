// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated machine's clock, interrupts, log and hypercalls, and the order in which things
// happen.
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <xen/event.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include "internal.hpp"
#include "sim.hpp"

namespace sim {

namespace {

uint64_t clock_now;
uint64_t idle_time;
std::function<void()> ahead_of_request;
unsigned interrupts_off; // depth
bool in_handler;
bool store_locked;
uint64_t activity;
std::vector<std::string> logged;
HypercallFilter hypercall_filter;

} // namespace

namespace internal {

void fatal(const std::string &reason)
{
    std::fprintf(stderr, "sim: %s\n", reason.c_str());
    std::abort();
}

void must_be_able_to_sleep(const char *function)
{
    if (interrupts_off != 0)
        fatal(std::string(function) + " may sleep, but interrupts are off");
}

void note_activity() { ++activity; }
bool interrupts_on() { return interrupts_off == 0; }

void enter_handler()
{
    ++interrupts_off;
    in_handler = true;
}

void leave_handler()
{
    --interrupts_off;
    in_handler = false;
}

} // namespace internal

using namespace internal;

void boot(unsigned grant_frames)
{
    clock_now = 1'000'000'000;
    idle_time = 1'000'000;
    ahead_of_request = {};
    interrupts_off = 0;
    in_handler = store_locked = false;
    logged.clear();
    hypercall_filter = {};
    boot_access();
    boot_memory(grant_frames);
    boot_events();
    boot_store();
    boot_ring();
    const uint32_t port = open_store_port();
    if (!xen::xenstore::start(store::ring_page(), xen::EventPort{port}).ok())
        fatal("xenstore does not start");
    settle_memory();
}

void shutdown()
{
    filter_hypercalls({});
    xen::xenstore::stop();
    boot_events();
    boot_store();
    shutdown_memory();
}

void restore()
{
    if (!xen::xenstore::suspend().ok())
        fatal("xenstore cannot be suspended");
    shutdown_memory();
    boot_events();
    restore_ring();
    xen::forget_event_ports();
    open_store_port(); // the console's: the numbers are not those of before
    const uint32_t port = open_store_port();
    if (!xen::xenstore::resume_restored(store::ring_page(), xen::EventPort{port}).ok())
        fatal("xenstore does not start again");
}

bool step()
{
    bool any = step_ring();
    any |= step_store();
    any |= step_events();
    any |= step_ring();
    if (interrupts_on())
        deliver_events();
    return any;
}

void run()
{
    unsigned rounds = 0;
    for (unsigned quiet = 0; quiet < 3;) {
        if (++rounds > 1'000'000)
            fatal("run() does not come to rest");
        const uint64_t before = activity;
        step();
        xen::xenstore::run_once();
        quiet = activity == before ? quiet + 1 : 0;
    }
}

bool run_until(const std::function<bool()> &condition, uint64_t milliseconds)
{
    const uint64_t deadline = clock_now + milliseconds * 1'000'000;
    while (!condition()) {
        if (clock_now >= deadline)
            return false;
        step();
        xen::xenstore::run_once();
    }
    return true;
}

uint64_t now() { return clock_now; }
void advance(uint64_t nanoseconds)
{
    clock_now += nanoseconds;
    if (interrupts_on())
        deliver_events(); // of ports that were masked until now
}
void set_idle_time(uint64_t nanoseconds) { idle_time = nanoseconds; }
void before_request(std::function<void()> function) { ahead_of_request = std::move(function); }
const std::vector<std::string> &complaints() { return logged; }
void filter_hypercalls(HypercallFilter filter) { hypercall_filter = std::move(filter); }

} // namespace sim

using namespace sim::internal;

// ---- what the cores call ----

long xen_hypercall(unsigned long number, unsigned long a1, unsigned long a2, unsigned long a3,
                   unsigned long a4, unsigned long a5)
{
    const unsigned long arguments[] = {a1, a2, a3, a4, a5};
    if (sim::hypercall_filter) {
        if (const auto result = sim::hypercall_filter(static_cast<unsigned>(number), arguments))
            return *result;
    }
    const auto command = static_cast<unsigned>(a1);
    auto *argument = reinterpret_cast<void *>(a2);
    switch (number) {
    case xen::abi::hypercall_event_channel_op:
        return event_hypercall(command, argument);
    case xen::abi::hypercall_grant_table_op:
        return grant_hypercall(command, argument, static_cast<unsigned>(a3));
    case xen::abi::hypercall_sched_op:
        if (command != xen::abi::schedop_yield)
            return -ENOSYS;
        sim::step();
        return 0;
    default:
        return -ENOSYS;
    }
}

extern "C" {

void xen_port_log(int level, const char *line)
{
    // XSA-441: a kernel's log comes back, by way of its console, and then waits for ever.
    if (sim::interrupts_off > sim::in_handler)
        fatal(std::string("logged while a lock is held: ") + line);
    static const bool shown = std::getenv("SIM_LOG") != nullptr;
    if (shown)
        std::fprintf(stderr, "guest: %s\n", line);
    if (level <= XEN_PORT_WARNING)
        sim::logged.emplace_back(line);
}

uint64_t xen_port_now(void) { return sim::clock_now; }

unsigned long xen_port_irq_save(void) { return sim::interrupts_off++; }

void xen_port_irq_restore(unsigned long flags)
{
    if (sim::interrupts_off != flags + 1)
        fatal("xen_port_irq_restore() out of order");
    sim::interrupts_off = static_cast<unsigned>(flags);
    if (flags == 0)
        deliver_events();
}

void xen_port_xenstore_lock(void)
{
    must_be_able_to_sleep(__func__);
    if (const auto ahead = std::exchange(sim::ahead_of_request, {}))
        ahead();
    if (sim::store_locked)
        fatal("xenstore lock taken twice: it would never be released");
    sim::store_locked = true;
}

void xen_port_xenstore_unlock(void) { sim::store_locked = false; }

void xen_port_xenstore_wait(const uint32_t *counter, uint32_t seen, uint32_t timeout_ms)
{
    must_be_able_to_sleep(__func__);
    if (*counter != seen || timeout_ms == 0)
        return;
    if (!sim::step())
        sim::advance(sim::idle_time);
}

void xen_port_xenstore_wake(void) {}

} // extern "C"
