// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The rest of port.h for a test guest: log, time (vcpu_time_info, public/xen.h), and waiting for
// xenstore in a kernel with a single thread.
#include <xen/port.h>
#include <xen/shared.hpp>
#include <xen/xenstore.hpp>

#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

void xen_port_log(int, const char *line) { tap::comment(line); }

uint64_t xen_port_now()
{
    const abi::VcpuTimeInfo &time = guest::shared_info().vcpu_info[0].time;
    for (;;) {
        uint32_t version = load_shared(time.version);
        // Pairs with Xen's writes of the fields between its two increments of the version.
        read_barrier();
        uint64_t base = load_shared(time.system_time);
        uint64_t stamp = load_shared(time.tsc_timestamp);
        uint32_t factor = load_shared(time.tsc_to_system_mul);
        int8_t shift = load_shared(time.tsc_shift);
        uint32_t low, high;
        // SAFETY: reads the time stamp counter, nothing else.
        asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
        read_barrier(); // as above
        if (version & 1 || version != load_shared(time.version))
            continue;
        uint64_t delta = (static_cast<uint64_t>(high) << 32 | low) - stamp;
        delta = shift < 0 ? delta >> -shift : delta << shift;
        return base + static_cast<uint64_t>(static_cast<unsigned __int128>(delta) * factor >> 32);
    }
}

// One thread: nobody to exclude; wake comes from an event handler, which ends the sleep anyway.
void xen_port_xenstore_lock() {}
void xen_port_xenstore_unlock() {}
void xen_port_xenstore_wake() {}

void xen_port_xenstore_wait(const uint32_t *counter, uint32_t seen, uint32_t timeout_ms)
{
    guest::wait_change(*counter, seen, timeout_ms);
}
