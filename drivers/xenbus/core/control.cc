// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the toolstack asks of the guest (docs/misc/xenstore-paths: control/shutdown, control/sysrq,
// control/feature-*). A request is acknowledged by emptying its key.

#include <xen/format.hpp>
#include <xen/xenstore.hpp>

#include "xenbus_core.h"

using namespace xen;

namespace {

constinit Watch shutdown_watch;
constinit Watch sysrq_watch;

void changed(void *, const char *) { xenbus_port_kick_control(); }

// Reads a request and empties its key, both or neither.
Result<Value> take(const char *key)
{
    for (int tries = 0; tries < 10; tries++) {
        const Transaction t = TRY(xenstore::begin());
        const Result<Value> request = xenstore::read(t, "control", key);
        if (!request.ok() || request.value().length == 0) {
            xenstore::abort(t);
            return request;
        }
        if (const Status status = xenstore::write(t, "control", key, ""); !status.ok()) {
            xenstore::abort(t);
            return status.error();
        }
        const Status status = xenstore::commit(t);
        if (status.ok())
            return request;
        if (status.error() != Error::again)
            return status.error();
    }
    return Error::again;
}

} // namespace

extern "C" void xenbus_core_restore_control()
{
    // Not every toolstack makes all of these keys; a guest cannot make them itself.
    for (const char *key :
         {"feature-poweroff", "feature-halt", "feature-reboot", "feature-suspend"})
        (void)xenstore::write({}, "control", key, "1");
}

extern "C" int xenbus_core_start_control()
{
    xenbus_core_restore_control();
    if (const Status status = xenstore::watch(sysrq_watch, "control", "sysrq", changed);
        !status.ok())
        return to_errno(status.error());
    return to_errno(xenstore::watch(shutdown_watch, "control", "shutdown", changed).error());
}

extern "C" xenbus_command xenbus_core_take_command(char *sysrq)
{
    const Result<Value> key = take("sysrq");
    *sysrq = key.ok() ? key.value().data[0] : 0;

    const Result<Value> request = take("shutdown");
    if (!request.ok() || request.value().length == 0)
        return XENBUS_NONE;
    const Value &command = request.value();
    if (text_equal(command.c_str(), "poweroff") || text_equal(command.c_str(), "halt"))
        return XENBUS_POWEROFF;
    if (text_equal(command.c_str(), "reboot"))
        return XENBUS_REBOOT;
    if (text_equal(command.c_str(), "suspend"))
        return XENBUS_SUSPEND;
    Line line;
    log_warning(line.text("control/shutdown: refused: ").untrusted(command.c_str()));
    return XENBUS_NONE;
}
