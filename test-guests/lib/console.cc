// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Where a test guest prints: the console ring, or as the first domain Xen's own console
// (console_io, public/xen.h).
#include <xen/console.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include "guest.hpp"
#include "internal.hpp"

using namespace xen;

namespace {

constinit Console console;
constinit ConsoleRing *ring;
constexpr uint64_t drain_ns = 5'000'000'000;

// The daemon reads when it gets round to it: sleeps a little, or until something else happens.
void pause() { guest::wait_for_event(xen_port_now() + 1'000'000); }

} // namespace

void guest::console_init()
{
    if (first_domain())
        return;
    void *page = frame_to_virt(start_info().console_mfn);
    ring = static_cast<ConsoleRing *>(page);
    console.attach(page, EventPort{start_info().console_evtchn});
}

void guest::print(const char *text, size_t length)
{
    if (first_domain()) {
        (void)hypercall(abi::hypercall_console_io, abi::consoleio_write, length, text);
        return;
    }
    uint64_t deadline = xen_port_now() + drain_ns;
    while (length && !console.broken() && xen_port_now() < deadline) {
        size_t written = console.write(text, length);
        text += written;
        length -= written;
        if (length)
            pause();
    }
}

Status guest::print_drain()
{
    if (!ring)
        return {};
    uint64_t deadline = xen_port_now() + drain_ns;
    while (load_shared(ring->out_cons) != load_shared(ring->out_prod)) {
        if (xen_port_now() > deadline)
            return Error::timed_out;
        pause();
    }
    return {};
}
