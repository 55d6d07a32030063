// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Makes a connection (public/io/netif.h): what the backend offers, what the kernel would like of
// it, and the keys that say so. All of it runs in one thread at a time.
#include <xen/grant.hpp>
#include <xen/port.h>

#include "device.hpp"

namespace xen {

namespace {

constexpr Transaction no_transaction{};
constexpr unsigned vlan_ethernet_header = 18;
constexpr uint64_t mtu_default = 1500;
constexpr unsigned interface_share = 2; // at most one in so many of the grants that are left

uint16_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return static_cast<uint16_t>(value < least ? least : value > most ? most : value);
}

// Keys that say where rings and events are: of this connection, or of one before with other
// numbers.
bool of_a_connection(const char *name)
{
    constexpr const char *names[] = {
        "tx-ring-ref",      "rx-ring-ref",        "event-channel",
        "event-channel-tx", "event-channel-rx",   "multi-queue-num-queues",
        "ctrl-ring-ref",    "event-channel-ctrl",
    };
    for (const char *known : names)
        if (text_equal(name, known))
            return true;
    for (const char *prefix = "queue-"; *prefix != 0; ++prefix, ++name)
        if (*name != *prefix)
            return false;
    return true;
}

} // namespace

void NetFront::connect()
{
    if (paused_)
        return;
    // Or a backend that goes round and holds on to everything would get all the guest's grants.
    if (!release())
        return wait("the backend holds pages of an earlier connection", Error::busy);
    auto copy = xenstore::read_number(no_transaction, backend_.c_str(), "feature-rx-copy");
    if (!copy.ok())
        return give_up("reading the backend's feature-rx-copy", copy.error());
    if (copy.value() != 1)
        return give_up("the backend's feature-rx-copy is not 1", Error::not_supported);
    negotiate();
    if (Status status = open(); !status.ok()) {
        quiesce();
        (void)release();
        return wait("setting up the rings", status.error());
    }
    waiting_ = false;
    if (Status status = publish(); !status.ok())
        return give_up("writing to xenstore", status.error());
}

// For what gets better without a word of the backend's: one that was bound anew lets go of the
// pages a little later, others give memory or grants back.
void NetFront::wait(const char *why, Error error)
{
    if (!std::exchange(waiting_, true)) {
        Line line;
        line.text(link_.nodename.c_str()).text(": waiting: ").text(why).text(": error ");
        log_warning(line.number(static_cast<uint64_t>(error)));
    }
    later();
}

// Anything but 1 means no.
bool NetFront::offered(const char *key) const
{
    auto value = xenstore::read_number(no_transaction, backend_.c_str(), key);
    return value.ok() && value.value() == 1;
}

void NetFront::negotiate()
{
    wishes_ = {};
    netfront_port_wishes(link_.context, &wishes_);
    netfront_features &features = link_.features;
    features = {};
    auto queues = xenstore::read_number(no_transaction, backend_.c_str(), "multi-queue-max-queues");
    const unsigned most = wishes_.queues < queues_max_ ? wishes_.queues : queues_max_;
    features.queues = queues.ok() ? clamp(queues.value(), 1, most > 0 ? most : 1) : 1;
    features.tx_buffers = clamp(wishes_.tx_buffers, NETFRONT_BUFFERS_MIN, NETFRONT_BUFFERS_MAX);
    features.rx_buffers = NETFRONT_BUFFERS_MIN;
    while (features.rx_buffers < NETFRONT_BUFFERS_MAX &&
           features.rx_buffers * 2 <= wishes_.rx_buffers)
        features.rx_buffers *= 2;
    // Devices that come later need grants, too.
    const unsigned of_queue = 2u + features.tx_buffers + features.rx_buffers;
    features.queues = clamp(free_grants() / interface_share / of_queue, 1, features.queues);
    features.split_events = wishes_.split_events && offered("feature-split-event-channels");
    features.send_sg = offered("feature-sg");
    // The one offer that is made by saying nothing.
    auto no_checksum =
        xenstore::read_number(no_transaction, backend_.c_str(), "feature-no-csum-offload");
    features.send_checksum_ipv4 =
        no_checksum.ok() ? no_checksum.value() == 0 : no_checksum.error() == Error::no_entry;
    features.send_checksum_ipv6 = offered("feature-ipv6-csum-offload");
    // Each segment gets a checksum of its own.
    features.send_gso_ipv4 =
        features.send_sg && features.send_checksum_ipv4 && offered("feature-gso-tcpv4");
    features.send_gso_ipv6 =
        features.send_sg && features.send_checksum_ipv6 && offered("feature-gso-tcpv6");
    features.receive_checksum = wishes_.receive_checksum;
    features.receive_gso = wishes_.receive_gso && wishes_.receive_checksum;
    // A filter that cannot be lifted while connected would make promiscuous mode impossible.
    features.multicast_filter =
        offered("feature-multicast-control") && offered("feature-dynamic-multicast-control");
    features.control_ring = offered("feature-ctrl-ring");
    features.mtu_max = features.send_sg ? NETFRONT_PACKET_MAX - vlan_ethernet_header : mtu_default;
}

// What may change at any time: the toolstack's MTU, and the backend's link.
void NetFront::read_settings()
{
    settings_changed_.store(0);
    auto mtu = xenstore::read_number(no_transaction, link_.nodename.c_str(), "mtu");
    const bool valid =
        mtu.ok() && mtu.value() >= NETFRONT_MTU_MIN && mtu.value() <= link_.features.mtu_max;
    link_.features.mtu = valid ? static_cast<uint32_t>(mtu.value()) : 0;
    auto carrier = xenstore::read_number(no_transaction, backend_.c_str(), "carrier");
    link_.features.carrier = !carrier.ok() || carrier.value() != 0;
}

// As many queues as there are pages and grants for, and one at least; then the control ring.
Status NetFront::open()
{
    link_.hashes = link_.features.control_ring;
    for (unsigned i = 0; i < link_.features.queues; i++) {
        const Status status = queues_[i].open();
        if (status.ok())
            continue;
        if (i == 0)
            return status;
        queues_[i].close();
        queues_[i].close_events();
        (void)queues_[i].release();
        link_.features.queues = static_cast<uint16_t>(i);
    }
    attached_ = true;
    if (link_.features.control_ring && !control_.open(link_).ok()) {
        control_.close();
        (void)control_.release();
        link_.features.control_ring = false;
    }
    return {};
}

Status NetFront::publish()
{
    const netfront_features &features = link_.features;
    TRY(remove_old_keys());
    TRY(publish_queues());
    if (features.control_ring)
        TRY(control_.publish());
    const struct {
        const char *key;
        uint64_t value;
    } keys[] = {
        {"request-rx-copy", 1},
        {"feature-rx-notify", 1},
        {"feature-sg", 1},
        {"feature-no-csum-offload", !features.receive_checksum},
        {"feature-ipv6-csum-offload", features.receive_checksum},
        {"feature-gso-tcpv4", features.receive_gso},
        {"feature-gso-tcpv6", features.receive_gso},
        {"request-multicast-control", 0},
    };
    for (const auto &entry : keys)
        TRY(xenstore::write_number(no_transaction, link_.nodename.c_str(), entry.key, entry.value));
    // The backend reads the keys when it sees this state, not before.
    return set_state(XenbusState::connected);
}

Status NetFront::publish_queues()
{
    const char *directory = link_.nodename.c_str();
    if (link_.features.queues == 1)
        return queues_[0].publish(directory);
    for (unsigned i = 0; i < link_.features.queues; i++) {
        TextLine<16> name;
        const Path path = TRY(join_path(directory, name.text("queue-").number(i).c_str()));
        TRY(queues_[i].publish(path.c_str()));
    }
    return xenstore::write_number(no_transaction, directory, "multi-queue-num-queues",
                                  link_.features.queues);
}

Status NetFront::remove_old_keys()
{
    const auto each = [](void *directory, const char *name) {
        if (of_a_connection(name))
            (void)xenstore::remove(no_transaction, static_cast<const char *>(directory), name);
    };
    char *directory = link_.nodename.data;
    return xenstore::list(no_transaction, directory, each, directory);
}

} // namespace xen
