// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Which of its vCPUs the toolstack wants the guest to run on (docs/misc/xenstore-paths:
// cpu/NUMBER/availability).

#include <xen/format.hpp>
#include <xen/xenstore.hpp>

#include "xenbus_core.h"

using namespace xen;

namespace {

constinit Watch vcpu_watch;

void changed(void *, const char *) { xenbus_port_kick_vcpus(); }

} // namespace

extern "C" int xenbus_core_start_vcpus()
{
    return to_errno(xenstore::watch(vcpu_watch, "cpu", "", changed).error());
}

// What is no clear word changes nothing.
extern "C" int xenbus_core_vcpu_wanted(unsigned vcpu)
{
    TextLine<16> directory;
    const Result<Value> word =
        xenstore::read({}, directory.text("cpu/").number(vcpu).c_str(), "availability");
    if (!word.ok())
        return -1;
    if (text_equal(word.value().c_str(), "online"))
        return 1;
    return text_equal(word.value().c_str(), "offline") ? 0 : -1;
}
