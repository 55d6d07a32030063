// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network frontend's life in xenstore (public/io/netif.h, xenbus.h): creation, what the backend's
// states mean, close, detach. All of it runs in one thread at a time.
#include "device.hpp"

namespace xen {

namespace {

constexpr Transaction no_transaction{};

// Nothing depends on it: without the watch a change is noticed when the device connects again.
void start_watch(Watch &watch, const Path &directory, const char *key,
                 void (*changed)(void *context, const char *path), void *context)
{
    if (xenstore::watch(watch, directory.c_str(), key, changed, context).ok())
        return;
    Line line;
    log_warning(line.text(watch.path.c_str()).text(": cannot be watched"));
}

} // namespace

bool Link::violation(const char *field, uint64_t value)
{
    if (broken.exchange(1) != 0)
        return false;
    Line line;
    line.text(nodename.c_str()).text(": broken by its backend: ");
    line.text(field).text(" = ").number(value);
    log_error(line);
    netfront_port_wake(context);
    return false;
}

// ---- creation and end ----

Status NetFront::create(const netfront_config &config, netif::MacAddress &mac)
{
    link_.context = config.context;
    link_.backend_id = DomId{config.backend_id};
    link_.nodename = TRY(join_path(config.nodename, ""));
    backend_ = TRY(join_path(config.backend, ""));
    for (unsigned i = 0; i < queues_max_; i++)
        queues_[i].init(link_, i);

    auto text = xenstore::read(no_transaction, link_.nodename.c_str(), "mac");
    if (!text.ok() || !netif::parse_mac(text.value().data, text.value().length, mac)) {
        Line line;
        line.text(link_.nodename.c_str()).text(": no valid mac: ");
        if (text.ok())
            line.text("\"").untrusted(text.value().data, text.value().length).text("\"");
        else
            line.text("error ").number(static_cast<uint64_t>(text.error()));
        log_error(line);
        return text.ok() ? Error::invalid : text.error();
    }
    TRY(set_state(XenbusState::initialising));
    start_watch(mtu_watch_, link_.nodename, "mtu", on_setting, this);
    start_watch(carrier_watch_, backend_, "carrier", on_setting, this);
    return {};
}

void NetFront::remove()
{
    xenstore::unwatch(mtu_watch_);
    xenstore::unwatch(carrier_watch_);
    quiesce();
    for (unsigned i = 0; i < queues_max_; i++)
        queues_[i].abandon();
    control_.abandon();
    set_closed();
    paused_ = false;
}

void NetFront::on_setting(void *self, const char *)
{
    auto &front = *static_cast<NetFront *>(self);
    front.settings_changed_.store(1);
    netfront_port_wake(front.link_.context);
}

// ---- what the backend does ----

void NetFront::backend_changed(XenbusState state)
{
    if (state == backend_state_)
        return;
    backend_state_ = state;
    handle(state);
}

void NetFront::handle(XenbusState backend)
{
    switch (backend) {
    case XenbusState::initialising: // a new backend: what the old one had is void
    case XenbusState::init_wait:
        quiesce();
        (void)release(); // connect() looks
        gave_up_ = false;
        (void)set_state(XenbusState::initialising);
        if (backend == XenbusState::init_wait)
            connect();
        break;
    case XenbusState::connected:
        backend_ready();
        break;
    case XenbusState::closing:
        // It still has the pages mapped; Closed will say that it let go of them.
        retire();
        break;
    case XenbusState::closed:
        backend_closed();
        break;
    case XenbusState::unknown: // its directory is gone, or makes no sense
        retire();
        (void)release();
        break;
    case XenbusState::initialised:
    case XenbusState::reconfiguring:
    case XenbusState::reconfigured:
        break;
    }
}

void NetFront::backend_ready()
{
    if (!attached_ || announced_ || link_.broken.load() != 0)
        return;
    read_settings();
    for (unsigned i = 0; i < link_.features.queues; i++)
        queues_[i].start();
    announced_ = true;
    netfront_port_connected(link_.context, &link_.features);
    if (link_.features.control_ring)
        control_.start(queues_, wishes_.static_grants);
}

// The backend is through with this connection. If it is not being removed ("online"), ask for the
// next one; but not after a failure, or a bad backend and this frontend would go round for ever.
void NetFront::backend_closed()
{
    retire();
    (void)release();
    if (gave_up_)
        return;
    auto online = xenstore::read_number(no_transaction, backend_.c_str(), "online");
    Status status = online.ok() ? Status{} : online.error();
    if (online.ok() && online.value() == 1)
        status = set_state(XenbusState::initialising);
    if (!status.ok() && status.error() == Error::timed_out)
        later();
}

// ---- what the kernel wants ----

void NetFront::work()
{
    if (link_.broken.load() != 0) {
        quiesce();
        (void)release();
        return leave();
    }
    bool changed = control_.work();
    if (settings_changed_.exchange(0) != 0 && announced_) {
        const netfront_features before = link_.features;
        read_settings();
        changed |= before.mtu != link_.features.mtu || before.carrier != link_.features.carrier;
    }
    if (changed && announced_)
        netfront_port_connected(link_.context, &link_.features);
}

void NetFront::reconnect()
{
    if (!attached_)
        return; // the wishes are asked for when there is a connection to make
    quiesce();
    leave();
}

// What nobody could do at once is tried again.
void NetFront::retry()
{
    if (!std::exchange(paused_, false))
        return; // removed meanwhile
    if (leaving_)
        return leave();
    if (!gave_up_)
        handle(backend_state_);
}

Status NetFront::filter_multicast(bool on)
{
    if (!announced_ || !link_.features.multicast_filter)
        return Error::not_supported;
    return xenstore::write_number(no_transaction, link_.nodename.c_str(),
                                  "request-multicast-control", on);
}

// Rings, ports and grants of before are void: nobody holds a page. The bus knows the backend's
// directory, so it fits.
void NetFront::restored(const char *backend, DomId backend_id)
{
    quiesce();
    (void)release();
    gave_up_ = paused_ = leaving_ = false;
    state_ = backend_state_ = XenbusState::unknown;
    if (*backend == 0)
        return;
    xenstore::unwatch(carrier_watch_);
    backend_ = join_path(backend, "").take();
    link_.backend_id = backend_id;
    start_watch(carrier_watch_, backend_, "carrier", on_setting, this);
    (void)set_state(XenbusState::initialising);
}

void NetFront::set_coalesce(uint32_t tx_frames, uint32_t pause_ns)
{
    link_.tx_frames.store(tx_frames == 0 ? 1 : tx_frames);
    link_.pause_ns.store(pause_ns);
}

// ---- taking a connection apart; each step may be repeated ----

// No packet and no event from now on. The pages stay granted.
void NetFront::quiesce()
{
    for (unsigned i = 0; i < queues_max_; i++)
        queues_[i].close();
    attached_ = false;
    if (link_.broken.exchange(0) != 0)
        fail();
    if (announced_) {
        announced_ = false;
        netfront_port_disconnected(link_.context);
    }
    for (unsigned i = 0; i < queues_max_; i++)
        queues_[i].close_events();
    control_.close();
}

// Ends the connection towards the backend. One that it never took part in would fail again.
void NetFront::retire()
{
    if (attached_ && !announced_)
        fail();
    quiesce();
    if (state_ != XenbusState::initialising)
        set_closed();
}

// Takes the pages back. False: the backend has some of them mapped; they stay this device's.
bool NetFront::release()
{
    bool all = control_.release();
    for (unsigned i = 0; i < queues_max_; i++)
        all &= queues_[i].release();
    return all;
}

// A directory that is gone must not be made again by writing into it.
void NetFront::set_closed()
{
    if (read_state(link_.nodename.c_str()) != XenbusState::unknown)
        (void)set_state(XenbusState::closed);
}

void NetFront::give_up(const char *why, Error error)
{
    Line line;
    line.text(link_.nodename.c_str()).text(": not connected: ").text(why).text(": error ");
    line.number(static_cast<uint64_t>(error));
    log_error(line);
    quiesce();
    (void)release();
    fail();
    leave();
}

// The next connection is for the backend to start, but not as fast as it can: each one costs
// megabytes and a line of the log.
void NetFront::fail()
{
    gave_up_ = true;
    later();
}

// A backend that was not told would wait for ever.
void NetFront::leave()
{
    leaving_ = !set_state(XenbusState::closing).ok();
    if (leaving_)
        later();
}

void NetFront::later()
{
    paused_ = true;
    netfront_port_retry_later(link_.context);
}

Status NetFront::set_state(XenbusState state)
{
    if (state == state_)
        return {};
    Status status = write_state(link_.nodename.c_str(), state);
    // Whether a write that timed out happens yet, nobody knows.
    state_ = status.ok() ? state : XenbusState::unknown;
    leaving_ &= !status.ok();
    return status;
}

} // namespace xen
