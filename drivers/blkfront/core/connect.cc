// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Offering rings to the backend, agreeing on what it can do, and following its changes
// (public/io/blkif.h).
#include "disk.hpp"

#include <xen/format.hpp>

namespace xen::blk {

namespace {

constexpr unsigned transaction_attempts = 100;

bool begins_with(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix)
        ++text, ++prefix;
    return !*prefix;
}

// What does not say clearly that the backend is trusted says that it is not, except for silence.
bool trusted_by_toolstack(const char *node)
{
    auto trusted = xenstore::read_number({}, node, "trusted");
    return trusted.ok() ? trusted.value() != 0 : trusted.error() == Error::no_entry;
}

// In all that may change while the disk is connected.
bool same(const blkfront_geometry &a, const blkfront_geometry &b)
{
    return a.sectors == b.sectors && a.sector_size == b.sector_size &&
           a.physical_sector_size == b.physical_sector_size &&
           a.discard_granularity == b.discard_granularity &&
           a.discard_alignment == b.discard_alignment && a.flush == b.flush &&
           a.read_only == b.read_only && a.removable == b.removable && a.cdrom == b.cdrom &&
           a.secure_discard == b.secure_discard;
}

} // namespace

// ---- rings ----

// If there is no room for many or large rings, in memory, the grant table or xenstore, a small one
// has to do.
void Disk::offer()
{
    if (phase_ != Phase::waiting)
        return;
    blkfront_port_wishes(device_.owner, &wishes_);
    auto layout = read_layout(node_.c_str(), backend_.c_str(), wishes_);
    if (!layout.ok())
        return break_off();
    device_.broken.store(0);
    Status status = open_queues(layout.value());
    if (!status.ok() && (layout.value().count() > 1 || layout.value().ring_pages > 1)) {
        close_queues(BLKFRONT_INTERRUPTED);
        status = open_queues({});
    }
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

Status Disk::open_queues(const Layout &layout)
{
    layout_ = layout;
    for (unsigned i = 0; i < layout.count(); ++i)
        TRY(queues_[i].open(device_, layout.ring_pages, i >= layout.queues));
    TRY(publish());
    counts_.store(layout.queues | layout.polled_queues << 16);
    return {};
}

void Disk::close_queues(blkfront_result result)
{
    for (Queue &queue : queues_)
        queue.close(result);
}

Status Disk::publish()
{
    Status status = Error::again;
    for (unsigned i = 0; i < transaction_attempts && status.error() == Error::again; ++i)
        status = publish_once();
    return status;
}

namespace {

struct Removal {
    Transaction t;
    const char *node;
    Status status;
};

// What an earlier connection may have left, in whatever layout.
constexpr const char *const old_keys[] = {"ring-",        "num-ring-pages", "event-channel",
                                          "multi-queue-", "queue-",         "feature-persistent"};

void remove_old(void *context, const char *name)
{
    auto &removal = *static_cast<Removal *>(context);
    for (const char *prefix : old_keys)
        if (begins_with(name, prefix) && removal.status.ok())
            removal.status = xenstore::remove(removal.t, removal.node, name);
}

} // namespace

Status Disk::publish_once()
{
    const char *node = node_.c_str();
    const Transaction t = TRY(xenstore::begin());
    Removal removal{t, node, {}};
    Status status = xenstore::list(t, node, remove_old, &removal);
    if (status.ok())
        status = removal.status;
    for (unsigned i = 0; i < layout_.count() && status.ok(); ++i)
        status = publish_queue(t, i);
    if (status.ok() && layout_.count() > 1)
        status = xenstore::write_number(t, node, "multi-queue-num-queues", layout_.count());
    if (status.ok() && layout_.ring_pages > 1) {
        // One for each of the two schemes.
        const auto order = static_cast<unsigned>(__builtin_ctz(layout_.ring_pages));
        status = xenstore::write_number(t, node, "ring-page-order", order);
        if (status.ok())
            status = xenstore::write_number(t, node, "num-ring-pages", layout_.ring_pages);
    }
    if (status.ok() && wishes_.persistent_grants)
        status = xenstore::write(t, node, "feature-persistent", "1");
    if (status.ok())
        status = xenstore::write(t, node, "protocol", protocol_name);
    if (status.ok())
        return xenstore::commit(t);
    xenstore::abort(t);
    return status;
}

Status Disk::publish_queue(Transaction t, unsigned index)
{
    const Queue &queue = queues_[index];
    Path directory = node_;
    if (layout_.count() > 1) {
        TextLine<16> name;
        directory = TRY(join_path(node_.c_str(), name.text("queue-").number(index).c_str()));
    }
    for (unsigned i = 0; i < layout_.ring_pages; ++i) {
        TextLine<16> key;
        key.text("ring-ref");
        if (layout_.ring_pages > 1)
            key.number(i);
        TRY(xenstore::write_number(t, directory.c_str(), key.c_str(),
                                   queue.ring_reference(i).value));
    }
    return xenstore::write_number(t, directory.c_str(), "event-channel", queue.port().value);
}

// ---- properties ----

void Disk::connect()
{
    if (phase_ == Phase::connected)
        return changed();
    if (phase_ != Phase::offered)
        return;
    auto agreed = agree();
    if (!agreed.ok() || !write_state(node_.c_str(), XenbusState::connected).ok())
        return break_off();
    phase_ = Phase::connected;
    paused_ = false;
    ready(agreed.value(), "");
}

// Properties, and what requests need. Any error was logged.
Result<blkfront_geometry> Disk::agree()
{
    auto geometry = TRY(read_properties(node_.c_str(), backend_.c_str()));
    if (!sectors_fit(geometry))
        return Error::protocol;
    geometry.trusted = wishes_.trusted && trusted_by_toolstack(node_.c_str());
    geometry.persistent_grants &= wishes_.persistent_grants;
    geometry.queues = static_cast<uint16_t>(layout_.queues);
    geometry.polled_queues = static_cast<uint16_t>(layout_.polled_queues);
    geometry.ring_pages = static_cast<uint16_t>(layout_.ring_pages);
    geometry.requests =
        static_cast<uint16_t>(ring_slots(layout_.ring_pages * page_size, sizeof(Ring::Slot)));
    if (geometry.segments > wishes_.segments)
        geometry.segments =
            wishes_.segments > max_segments ? wishes_.segments : uint16_t{max_segments};
    Status status;
    for (unsigned i = 0; i < layout_.count() && status.ok(); ++i)
        status = queues_[i].prepare(geometry);
    if (status.ok())
        return geometry;
    Line line;
    line.text(node_.c_str()).text(": no room for requests, error ");
    log_error(line.number(static_cast<unsigned>(status.error())));
    return status.error();
}

// A disk with other sectors is another disk, for whoever has it open.
bool Disk::sectors_fit(const blkfront_geometry &geometry)
{
    if (!geometry_.sector_size || geometry_.sector_size == geometry.sector_size ||
        blkfront_port_bar_users(device_.owner))
        return true;
    Line line;
    line.text(node_.c_str()).text(": refused, the backend's sector-size changed to ");
    log_error(line.number(geometry.sector_size));
    return false;
}

void Disk::ready(const blkfront_geometry &geometry, const char *now)
{
    geometry_ = geometry;
    for (unsigned i = 0; i < layout_.count(); ++i)
        queues_[i].run(geometry);
    static const char *const flushes[] = {"", ", cache flush", ", barrier"};
    Line line;
    line.text(node_.c_str()).text(": ").text(now).number(geometry.sectors);
    line.text(" sectors of 512 bytes").text(geometry.read_only ? ", read-only" : "");
    log_info(line.text(flushes[geometry.flush]));
    blkfront_port_ready(device_.owner, &geometry);
}

// A connected backend says so again: the disk may have another size, or be read-only now. What was
// agreed on stays. If the new properties cannot be, the old ones stay as well.
void Disk::changed()
{
    auto properties = read_properties(node_.c_str(), backend_.c_str());
    if (!properties.ok() || same(properties.value(), geometry_) || !sectors_fit(properties.value()))
        return;
    blkfront_geometry geometry = properties.take();
    geometry.trusted = geometry_.trusted;
    geometry.persistent_grants = geometry_.persistent_grants;
    geometry.queues = geometry_.queues;
    geometry.polled_queues = geometry_.polled_queues;
    geometry.ring_pages = geometry_.ring_pages;
    geometry.requests = geometry_.requests;
    geometry.segments = geometry_.segments;
    ready(geometry, "now ");
}

} // namespace xen::blk
