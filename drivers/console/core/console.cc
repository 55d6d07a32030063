// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The choice between the console ring and Xen's own console (console_io in public/xen.h).

#include <xen/console.hpp>
#include <xen/hypercall.hpp>

#include "console_core.h"

using namespace xen;

static constinit Console console;

extern "C" void console_core_attach(void *ring, uint32_t port)
{
    if (ring)
        console.attach(ring, EventPort{port});
}

extern "C" size_t console_core_write(const char *data, size_t length)
{
    if (console.attached())
        return console.write(data, length);
    (void)hypercall(abi::hypercall_console_io, abi::consoleio_write, length, data);
    return length;
}

extern "C" void console_core_write_all(const char *data, size_t length)
{
    if (console.attached())
        console.write_all(data, length);
    else
        console_core_write(data, length);
}

extern "C" void console_core_wait() { (void)console.wait_for_room(); }

extern "C" int console_core_is_stalled() { return console.stalled(); }

extern "C" void console_core_event_begins() { console.event_begins(); }

extern "C" void console_core_event_ends() { console.event_ends(); }

extern "C" size_t console_core_read(char *data, size_t size) { return console.read(data, size); }
