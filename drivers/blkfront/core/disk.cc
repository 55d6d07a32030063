// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The states of a disk, and what is asked of it from outside (public/io/blkif.h, xenbus.h).
#include "disk.hpp"

#include <xen/format.hpp>

namespace xen::blk {

namespace {

Path copy(const char *text)
{
    auto path = join_path(text, "");
    return path.take();
}

} // namespace

Disk::Disk(void *owner, const char *node, const char *backend, DomId backend_domain, uint32_t id)
    : node_(copy(node)), backend_(copy(backend)), device_{owner, node_.c_str(), backend_domain,
                                                          static_cast<uint16_t>(id)}
{
}

// The backend's states that call for nothing: unknown (its directory cannot be read: it may come
// back, requests wait) and those of a reconfiguration.
void Disk::backend_changed(XenbusState backend)
{
    if (phase_ == Phase::detached)
        return;
    if (backend == XenbusState::init_wait && backend_state_ == backend)
        return; // nothing new
    backend_state_ = backend;
    start_wanted_ = false;
    retry_held();
    handle(backend);
}

void Disk::handle(XenbusState backend)
{
    switch (backend) {
    case XenbusState::initialising:
        restart();
        break;
    case XenbusState::init_wait:
        restart();
        offer();
        break;
    case XenbusState::initialised: // by a backend with nothing to negotiate, instead of init_wait
        if (phase_ == Phase::offered)
            break;
        restart();
        offer();
        break;
    case XenbusState::connected:
        connect();
        break;
    case XenbusState::closing:
        close(true);
        break;
    case XenbusState::closed:
        close(false);
        reopen();
        break;
    default:
        break;
    }
}

// The backend is at its beginning. If it knows of a ring already, it may take that as it is: so
// this side closes first, and starts when the backend has closed as well. What was in flight
// towards the earlier instance is then submitted again.
void Disk::restart()
{
    switch (phase_) {
    case Phase::offered:
    case Phase::connected:
        pause(false);
        return shut();
    case Phase::closed:
    case Phase::broken:
        if (start_again())
            pause(false);
        return;
    case Phase::waiting:
    case Phase::detached:
        return;
    }
}

void Disk::close(bool backend_answers)
{
    switch (phase_) {
    case Phase::connected:
        if (backend_answers && !online() && !blkfront_port_bar_users(device_.owner)) {
            close_wanted_ = true;
            write_state(node_.c_str(), XenbusState::closing).take();
            return;
        }
        pause(backend_answers);
        break;
    case Phase::offered:
        refused_ = true;
        break;
    case Phase::waiting:
        break;
    case Phase::broken: // this side is done; the toolstack waits for it to say so
        write_state(node_.c_str(), XenbusState::closed).take();
        return;
    case Phase::closed:
    case Phase::detached:
        return;
    }
    shut();
}

void Disk::shut()
{
    close_queues(BLKFRONT_INTERRUPTED);
    phase_ = Phase::closed;
    close_wanted_ = false;
    write_state(node_.c_str(), XenbusState::closed).take();
}

// After both sides closed: a backend that stays for another connection waits for this side to
// start. One that refused the last offer is not ready for the next, as Linux's is not while it
// still reads or writes for an earlier connection: the two would go round as fast as they can.
void Disk::reopen()
{
    if (phase_ != Phase::closed || !online())
        return;
    if (std::exchange(refused_, false)) {
        start_wanted_ = true;
        return blkfront_port_wake_later(device_.owner);
    }
    start_again();
}

// No ring before the backend has let go of all pages that it had of the last one: work() comes back
// to it.
bool Disk::start_again()
{
    if (held()) {
        if (phase_ == Phase::closed) {
            Line line;
            line.text(node_.c_str()).text(": waiting, the backend's mapped requests are ");
            log_warning(line.number(held()));
        }
        start_wanted_ = true;
        return false;
    }
    phase_ = Phase::waiting;
    write_state(node_.c_str(), XenbusState::initialising).take();
    return true;
}

// Until the backend starts again.
void Disk::break_off()
{
    phase_ = Phase::broken;
    close_wanted_ = false;
    for (Queue &queue : queues_)
        queue.fail();
    close_queues(BLKFRONT_ERROR);
    write_state(node_.c_str(), XenbusState::closing).take();
    paused_ = false;
    blkfront_port_failed(device_.owner);
}

void Disk::pause(bool drain)
{
    for (Queue &queue : queues_)
        queue.pause();
    if (paused_)
        return;
    paused_ = true;
    blkfront_port_pause(device_.owner, drain);
}

bool Disk::online() const
{
    auto online = xenstore::read_number({}, backend_.c_str(), "online");
    return online.ok() && online.value() == 1;
}

void Disk::work()
{
    if (phase_ == Phase::detached)
        return;
    if (device_.broken.load() && phase_ != Phase::broken)
        break_off();
    if (close_wanted_ && phase_ == Phase::connected && blkfront_port_bar_users(device_.owner))
        close(true);
    if (start_wanted_ && !held()) {
        start_wanted_ = false;
        handle(backend_state_);
    }
}

// A backend that is left, as opposed to one that is broken off, is told so, and may go on.
void Disk::expire(blkfront_result result)
{
    if (phase_ != Phase::connected)
        return;
    Line line;
    line.text(node_.c_str()).text(": requests take too long, ");
    if (result == BLKFRONT_INTERRUPTED) {
        log_warning(line.text("connecting anew"));
        pause(false);
        return shut();
    }
    log_error(line.text("given up"));
    break_off();
}

// The rings, ports and grants of before are void, and nobody maps a page any more.
void Disk::restored(const char *backend, DomId backend_domain)
{
    pause(false);
    close_queues(BLKFRONT_INTERRUPTED);
    retry_held();
    backend_ = copy(backend);
    device_.backend = backend_domain;
    device_.broken.store(0);
    backend_state_ = XenbusState::unknown;
    refused_ = close_wanted_ = start_wanted_ = false;
    phase_ = Phase::closed;
    if (backend_.length)
        start_again();
}

void Disk::detach()
{
    phase_ = Phase::detached;
    for (Queue &queue : queues_)
        queue.fail();
    close_queues(BLKFRONT_ERROR);
    retry_held();
    for (Queue &queue : queues_)
        queue.abandon_held();
    // A directory that is gone must not be made again by writing into it.
    if (read_state(node_.c_str()) != XenbusState::unknown)
        write_state(node_.c_str(), XenbusState::closed).take();
}

// ---- at any time ----

Queue &Disk::queue(unsigned number, bool polled)
{
    const uint32_t counts = counts_.load();
    const unsigned queues = counts & 0xffff;
    const unsigned polled_queues = counts >> 16;
    return queues_[polled && polled_queues ? queues + number % polled_queues : number % queues];
}

void Disk::retry_held()
{
    if (!held())
        return;
    for (Queue &queue : queues_)
        queue.retry_held();
    if (!held())
        blkfront_port_wake(device_.owner); // a new start may wait for it
}

void Disk::age()
{
    for (Queue &queue : queues_)
        queue.age();
}

unsigned Disk::held() const
{
    unsigned held = 0;
    for (const Queue &queue : queues_)
        held += queue.held();
    return held;
}

unsigned Disk::in_flight() const
{
    unsigned in_flight = 0;
    for (const Queue &queue : queues_)
        in_flight += queue.in_flight();
    return in_flight;
}

bool Disk::statistics(unsigned queue, blkfront_statistics &statistics) const
{
    const uint32_t counts = counts_.load();
    if (queue >= (counts & 0xffff) + (counts >> 16))
        return false;
    statistics = queues_[queue].statistics();
    return true;
}

} // namespace xen::blk
