// SPDX-License-Identifier: MIT OR GPL-2.0-only
// How the guest gets from the memory that it has to what the toolstack wants it to have
// (docs/misc/xenstore-paths: memory/target, in KiB).

#include <xen/xenstore.hpp>

#include "balloon.h"

using namespace xen;

namespace {

constexpr int at_once = 0;
constexpr int never = -1;
constexpr int first_delay = 1000; // milliseconds, when there is nothing to be had
constexpr int longest_delay = 32'000;

constinit Watch target_watch;
constinit Atomic<uint32_t> retargeted;
constinit int delay = first_delay; // the step's

void changed(void *, const char *)
{
    retargeted.store(1);
    balloon_port_kick();
}

// Pages, or an error: nobody says.
Result<uint64_t> read_target()
{
    return TRY(xenstore::read_number({}, "memory", "target")) / (page_size / 1024);
}

unsigned batch(uint64_t pages)
{
    constexpr uint64_t most = BALLOON_BATCH;
    return static_cast<unsigned>(pages < most ? pages : most);
}

} // namespace

extern "C" int balloon_core_start()
{
    return to_errno(xenstore::watch(target_watch, "memory", "target", changed).error());
}

extern "C" int balloon_core_step()
{
    const Result<uint64_t> target = read_target();
    if (!target.ok())
        return never;
    const uint64_t pages = balloon_port_pages();
    const uint64_t given = balloon_port_given();
    unsigned wanted = 0;
    unsigned done = 0;
    if (target.value() < pages) {
        wanted = batch(pages - target.value());
        done = balloon_port_give(wanted);
    } else {
        // Beyond what it once had, there is nothing to put memory into.
        const uint64_t missing = target.value() - pages;
        wanted = batch(missing < given ? missing : given);
        done = wanted ? balloon_port_take(wanted) : 0;
    }
    if (wanted == 0)
        return never;
    if (retargeted.exchange(0))
        delay = first_delay;
    if (done > 0) {
        delay = first_delay;
        return at_once;
    }
    const int now = delay;
    delay = delay < longest_delay ? delay * 2 : longest_delay;
    return now;
}
