// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Connecting, reconnecting and closing a disk (public/io/blkif.h).
#include "disk.hpp"

#include <xen/format.hpp>

#include "properties.hpp"

namespace xen::blk {

namespace {

constexpr unsigned transaction_attempts = 100;

Path copy(const char *text)
{
    auto path = join_path(text, "");
    return path.take();
}

} // namespace

Disk::Disk(void *owner, const char *node, const char *backend, DomId backend_domain, uint32_t id)
    : owner_(owner), node_(copy(node)), backend_(copy(backend)), backend_domain_(backend_domain),
      id_(id), queue_(owner, node_.c_str())
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
    queue_.retry_held();
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

void Disk::offer()
{
    if (phase_ != Phase::waiting)
        return;
    Status status = queue_.open(backend_domain_, static_cast<uint16_t>(id_), trusted());
    if (status.ok())
        status = publish();
    if (status.ok())
        status = write_state(node_.c_str(), XenbusState::initialised);
    if (!status.ok()) {
        Line line;
        line.text(node_.c_str()).text(": no ring, error ");
        log_error(line.number(static_cast<unsigned>(status.error())));
        return break_off();
    }
    phase_ = Phase::offered;
}

Status Disk::publish()
{
    Status status = Error::again;
    for (unsigned i = 0; i < transaction_attempts && status.error() == Error::again; ++i)
        status = publish_once();
    return status;
}

Status Disk::publish_once()
{
    const Transaction t = TRY(xenstore::begin());
    Status status =
        xenstore::write_number(t, node_.c_str(), "ring-ref", queue_.ring_reference().value);
    if (status.ok())
        status = xenstore::write_number(t, node_.c_str(), "event-channel", queue_.port().value);
    if (status.ok())
        status = xenstore::write(t, node_.c_str(), "protocol", protocol_name);
    if (status.ok())
        return xenstore::commit(t);
    xenstore::abort(t);
    return status;
}

void Disk::connect()
{
    if (phase_ != Phase::offered)
        return; // nothing new: resizing a connected disk is not supported
    auto properties = read_properties(node_.c_str(), backend_.c_str());
    if (!properties.ok())
        return break_off();
    const blkfront_geometry geometry = properties.take();
    if (sector_size_ && sector_size_ != geometry.sector_size) {
        Line line;
        line.text(node_.c_str()).text(": refused, the backend's sector-size changed to ");
        log_error(line.number(geometry.sector_size));
        return break_off();
    }
    sector_size_ = geometry.sector_size;
    if (!write_state(node_.c_str(), XenbusState::connected).ok())
        return break_off();
    phase_ = Phase::connected;
    queue_.run(geometry);

    Line line;
    line.text(node_.c_str()).text(": ").number(geometry.sectors).text(" sectors of 512 bytes");
    log_info(line.text(geometry.read_only ? ", read-only" : "")
                 .text(geometry.flush ? ", cache flush" : ""));
    paused_ = false;
    blkfront_port_ready(owner_, &geometry);
}

void Disk::close(bool backend_answers)
{
    switch (phase_) {
    case Phase::connected:
        if (backend_answers && !online() && blkfront_port_in_use(owner_)) {
            close_wanted_ = true;
            write_state(node_.c_str(), XenbusState::closing).take();
            return;
        }
        pause(backend_answers);
        break;
    case Phase::waiting:
    case Phase::offered:
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
    queue_.close(BLKFRONT_INTERRUPTED);
    phase_ = Phase::closed;
    close_wanted_ = false;
    write_state(node_.c_str(), XenbusState::closed).take();
}

// After both sides closed: a backend that stays for another connection waits for this side to
// start.
void Disk::reopen()
{
    if (phase_ == Phase::closed && online())
        start_again();
}

// No ring before the backend has let go of all pages that it had of the last one: work() comes back
// to it.
bool Disk::start_again()
{
    if (queue_.held()) {
        if (phase_ == Phase::closed) {
            Line line;
            line.text(node_.c_str()).text(": waiting, the backend's mapped requests are ");
            log_warning(line.number(queue_.held()));
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
    queue_.fail();
    queue_.close(BLKFRONT_ERROR);
    write_state(node_.c_str(), XenbusState::closing).take();
    paused_ = false;
    blkfront_port_failed(owner_);
}

void Disk::pause(bool drain)
{
    queue_.pause();
    if (paused_)
        return;
    paused_ = true;
    blkfront_port_pause(owner_, drain);
}

// What does not say clearly that the backend is trusted says that it is not, except for silence.
bool Disk::trusted() const
{
    if (!blkfront_port_trusts(owner_))
        return false;
    auto trusted = xenstore::read_number({}, node_.c_str(), "trusted");
    return trusted.ok() ? trusted.value() != 0 : trusted.error() == Error::no_entry;
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
    if (queue_.broken() && phase_ != Phase::broken)
        break_off();
    if (start_wanted_ && !queue_.held()) {
        start_wanted_ = false;
        handle(backend_state_);
    }
}

void Disk::users_left()
{
    if (close_wanted_ && phase_ == Phase::connected)
        close(true);
}

void Disk::detach()
{
    phase_ = Phase::detached;
    queue_.fail();
    queue_.close(BLKFRONT_ERROR);
    queue_.retry_held();
    queue_.abandon_held();
    // A directory that is gone must not be made again by writing into it.
    if (read_state(node_.c_str()) != XenbusState::unknown)
        write_state(node_.c_str(), XenbusState::closed).take();
}

} // namespace xen::blk
