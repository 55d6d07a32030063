// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The choice between the console ring and Xen's own console (console_io in public/xen.h), and waiting for
// a daemon that is behind: bounded, and not again until it moves.

#include <xen/console.hpp>
#include <xen/hypercall.hpp>
#include <xen/lock.hpp>

#include "console_core.h"

using namespace xen;

namespace {

constexpr uint64_t patience = 1'000'000'000; // nanoseconds
constexpr uint32_t patience_yields = 500'000; // early in a boot the clock stands still

constinit Console console;
constinit Atomic<uint32_t> yields; // 0: the last write had room
constinit Atomic<uint64_t> waiting_since;

} // namespace

extern "C" void console_core_attach(void *ring, uint32_t port)
{
    if (ring)
        console.attach(ring, EventPort{port});
}

extern "C" size_t console_core_write(const char *data, size_t length)
{
    if (!console.attached()) {
        (void)hypercall(abi::hypercall_console_io, abi::consoleio_write, length, data);
        return length;
    }
    const size_t written = console.write(data, length);
    if (written) {
        yields.store(0);
    } else if (!yields.load()) {
        waiting_since.store(xen_port_now());
        yields.store(1);
    }
    return written;
}

extern "C" int console_core_is_stalled()
{
    return console.broken() || yields.load() > patience_yields ||
           (yields.load() && xen_port_now() - waiting_since.load() > patience);
}

extern "C" void console_core_wait()
{
    if (!yields.load() || console_core_is_stalled())
        return;
    yields.add(1);
    (void)hypercall(abi::hypercall_sched_op, abi::schedop_yield, nullptr);
}

extern "C" void console_core_write_all(const char *data, size_t length)
{
    while (length) {
        const size_t written = console_core_write(data, length);
        if (!written && console_core_is_stalled())
            return;
        if (!written)
            console_core_wait();
        data += written;
        length -= written;
    }
}

extern "C" size_t console_core_read(char *data, size_t size) { return console.read(data, size); }
