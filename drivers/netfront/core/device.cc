// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network frontend's life in xenstore (public/io/netif.h, xenbus.h): negotiation, connect, close,
// reconnect, detach. All of it runs in one thread at a time.
#include "device.hpp"

#include <xen/port.h>

namespace xen {

namespace {

constexpr Transaction no_transaction{};

// What this frontend asks for, and what it explicitly does not: packets come whole, one page each,
// with complete checksums.
struct Feature {
    const char *key;
    uint64_t value;
};
constexpr Feature features[] = {
    {"request-rx-copy", 1},         {"feature-rx-notify", 1},         {"feature-sg", 0},
    {"feature-no-csum-offload", 1}, {"feature-ipv6-csum-offload", 0}, {"feature-gso-tcpv4", 0},
    {"feature-gso-tcpv6", 0},
};

} // namespace

// ---- RingPage ----

Status RingPage::allocate(DomId peer)
{
    page_ = xen_port_page_alloc();
    if (page_ == nullptr)
        return Error::no_memory;
    grant_ = TRY(Grant::give(peer, page_, GrantAccess::read_write));
    return {};
}

bool RingPage::release()
{
    if (!grant_.end().ok())
        return false;
    if (page_ != nullptr)
        xen_port_page_free(page_);
    page_ = nullptr;
    return true;
}

void RingPage::abandon()
{
    if (!release())
        grant_.end_and_free(page_);
    page_ = nullptr;
}

// ---- creation and end ----

Status NetFront::create(const netfront_config &config, netif::MacAddress &mac)
{
    context_ = config.context;
    backend_id_ = DomId{config.backend_id};
    nodename_ = TRY(join_path(config.nodename, ""));
    backend_ = TRY(join_path(config.backend, ""));

    auto text = xenstore::read(no_transaction, nodename_.c_str(), "mac");
    if (!text.ok() || !netif::parse_mac(text.value().data, text.value().length, mac)) {
        Line line;
        line.text(nodename_.c_str()).text(": no valid mac: ");
        if (text.ok())
            line.text("\"").untrusted(text.value().data, text.value().length).text("\"");
        else
            line.text("error ").number(static_cast<uint64_t>(text.error()));
        log_error(line);
        return text.ok() ? Error::invalid : text.error();
    }
    return set_state(XenbusState::initialising);
}

void NetFront::remove()
{
    quiesce();
    tx_page_.abandon();
    rx_page_.abandon();
    tx_pages_.abandon();
    rx_pages_.abandon();
    set_closed();
}

// ---- what the backend does ----

void NetFront::backend_changed(XenbusState state)
{
    if (state == backend_state_)
        return;
    backend_state_ = state;
    switch (state) {
    case XenbusState::initialising: // a new backend: what the old one had is void
    case XenbusState::init_wait:
        quiesce();
        (void)release(); // connect() looks
        gave_up_ = false;
        (void)set_state(XenbusState::initialising);
        if (state == XenbusState::init_wait)
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
    {
        Locked locked(*this);
        if (link_ != Link::attached)
            return;
        link_ = Link::up;
    }
    // The receive buffers were posted before anybody listened.
    event_.notify();
    announced_ = true;
    netfront_port_link(context_, true);
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
    if (online.ok() && online.value() == 1)
        (void)set_state(XenbusState::initialising);
}

void NetFront::handle_broken()
{
    {
        Locked locked(*this);
        if (link_ != Link::broken)
            return;
    }
    quiesce();
    (void)release();
    (void)set_state(XenbusState::closing);
}

// ---- connecting ----

void NetFront::on_event(void *self)
{
    auto &front = *static_cast<NetFront *>(self);
    front.event_.arrived();
    netfront_port_event(front.context_);
}

void NetFront::connect()
{
    // Or a backend that goes round and holds on to everything would get all the guest's grants.
    if (!release())
        return give_up("the backend holds pages of an earlier connection", Error::busy);
    auto copy = xenstore::read_number(no_transaction, backend_.c_str(), "feature-rx-copy");
    if (!copy.ok())
        return give_up("reading the backend's feature-rx-copy", copy.error());
    if (copy.value() != 1)
        return give_up("the backend's feature-rx-copy is not 1", Error::not_supported);
    if (Status status = allocate(); !status.ok())
        return give_up("setting up the rings", status.error());
    if (Status status = publish(); !status.ok())
        return give_up("writing to xenstore", status.error());
}

Status NetFront::allocate()
{
    TRY(tx_page_.allocate(backend_id_));
    TRY(rx_page_.allocate(backend_id_));
    TRY(tx_pages_.allocate(backend_id_, GrantAccess::read_only, tx_buffers));
    TRY(rx_pages_.allocate(backend_id_, GrantAccess::read_write, rx_buffers));
    {
        Locked locked(*this);
        start_rings();
        link_ = Link::attached;
    }
    // Last: a backend that guesses the port sends events at once, and a poll of a device that is
    // not attached would leave the port masked.
    return event_.listen(backend_id_, on_event, this);
}

Status NetFront::publish()
{
    const char *directory = nodename_.c_str();
    TRY(xenstore::write_number(no_transaction, directory, "tx-ring-ref", tx_page_.grant().value));
    TRY(xenstore::write_number(no_transaction, directory, "rx-ring-ref", rx_page_.grant().value));
    TRY(xenstore::write_number(no_transaction, directory, "event-channel", event_.port().value));
    for (const Feature &feature : features)
        TRY(xenstore::write_number(no_transaction, directory, feature.key, feature.value));
    // The backend reads the keys when it sees this state, not before.
    return set_state(XenbusState::connected);
}

void NetFront::give_up(const char *why, Error error)
{
    Line line;
    line.text(nodename_.c_str()).text(": not connected: ").text(why).text(": error ");
    line.number(static_cast<uint64_t>(error));
    log_error(line);
    quiesce();
    (void)release();
    gave_up_ = true;
    (void)set_state(XenbusState::closing);
}

// ---- taking a connection apart; each step may be repeated ----

// No packet and no event from now on. The pages stay granted.
void NetFront::quiesce()
{
    {
        Locked locked(*this);
        if (link_ == Link::broken)
            gave_up_ = true;
        link_ = Link::down;
    }
    if (announced_) {
        announced_ = false;
        netfront_port_link(context_, false);
    }
    event_.close();
}

// Ends the connection towards the backend.
void NetFront::retire()
{
    quiesce();
    if (state_ != XenbusState::initialising)
        set_closed();
}

// Takes the pages back. False: the backend has some of them mapped; they stay this device's.
bool NetFront::release()
{
    bool all = tx_page_.release();
    all &= rx_page_.release();
    all &= tx_pages_.release();
    all &= rx_pages_.release();
    return all;
}

// A directory that is gone must not be made again by writing into it.
void NetFront::set_closed()
{
    if (read_state(nodename_.c_str()) != XenbusState::unknown)
        (void)set_state(XenbusState::closed);
}

Status NetFront::set_state(XenbusState state)
{
    if (state == state_)
        return {};
    Status status = write_state(nodename_.c_str(), state);
    // Whether a write that timed out happens yet, nobody knows.
    state_ = status.ok() ? state : XenbusState::unknown;
    return status;
}

} // namespace xen
