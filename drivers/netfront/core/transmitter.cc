// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Sends packets and multicast addresses, and takes the backend's word that it has
// (public/io/netif.h, ring.h).
#include "transmitter.hpp"

namespace xen {

using netif::ExtraInfo;
using netif::TxRequest;
using netif::TxResponse;

static_assert(NETFRONT_SEND_SLOTS * page_size > NETFRONT_PACKET_MAX);
static_assert(netif::tx_ring_slots == ring_slots(page_size, sizeof(TxRequest)));
static_assert(netif::tx_ring_slots == NETFRONT_BUFFERS_MAX);

// ---- lifecycle ----

Status Transmitter::allocate()
{
    TRY(page_.allocate(link_->backend_id));
    TRY(buffers_.allocate(link_->backend_id, GrantAccess::read_only, link_->features.tx_buffers));
    ring_.init(page_.page());
    free_count_ = extras_ = 0;
    full_ = false;
    for (unsigned i = 0; i < buffers_.count(); i++) {
        buffer_[i] = {};
        free_[free_count_++] = static_cast<uint16_t>(i);
    }
    return {};
}

void Transmitter::close()
{
    Direction::close();
    sending_ = false;
    statistics_.tx_dropped += packets_;
    packets_ = 0;
}

// ---- sending ----

bool Transmitter::room(unsigned buffers, unsigned extras) const
{
    return buffers <= free_count_ && buffers + extras <= ring_.free_slots();
}

bool Transmitter::room_for_largest() const
{
    return room(link_->features.send_sg ? NETFRONT_SEND_SLOTS : 1, 1);
}

// Packets of a connection before this one can come late, with what that one had agreed on.
bool Transmitter::possible(const netfront_packet &packet) const
{
    const netfront_features &features = link_->features;
    if (packet.length < netif::ethernet_header || packet.length > NETFRONT_PACKET_MAX)
        return false;
    if (packet.length > page_size && !features.send_sg)
        return false;
    if (packet.checksum_blank && !features.send_checksum_ipv4 && !features.send_checksum_ipv6)
        return false;
    if (packet.gso == NETFRONT_GSO_NONE)
        return true;
    return packet.gso_size != 0 &&
           (packet.gso == NETFRONT_GSO_TCP_IPV4 ? features.send_gso_ipv4 : features.send_gso_ipv6);
}

netfront_verdict Transmitter::full()
{
    full_ = true;
    statistics_.tx_full++;
    netfront_port_tx_full(link_->context, queue_);
    return NETFRONT_FULL;
}

// The kernel sends nothing before something completes.
bool Transmitter::waits() const { return full_ || netfront_port_tx_waits(link_->context, queue_); }

// The event that was asked for may be for more than the backend is ready to complete.
void Transmitter::listen()
{
    auto count = ring_.final_check();
    if (!count.ok() || count.value() > 0)
        netfront_port_event(link_->context, queue_);
}

// A buffer for the packet that begins in `head`, behind its last one so far; no_buffer: for a new
// one.
uint16_t Transmitter::take_buffer(uint16_t head, uint16_t last)
{
    const uint16_t id = free_[--free_count_];
    if (head == no_buffer)
        head = id;
    else
        buffer_[last].next = id;
    buffer_[id] = {};
    buffer_[id].head = head;
    buffer_[id].in_flight = true;
    ++buffer_[head].left;
    return id;
}

void Transmitter::put_packet(const Outgoing &outgoing)
{
    const netfront_packet &packet = outgoing.packet;
    const bool gso = packet.gso != NETFRONT_GSO_NONE;
    uint16_t flags = 0;
    if (packet.checksum_blank)
        flags = netif::tx_csum_blank | netif::tx_data_validated;
    else if (packet.checksum_validated)
        flags = netif::tx_data_validated;
    if (gso)
        flags |= netif::tx_extra_info;
    uint16_t head = no_buffer, last = no_buffer;
    for (uint32_t offset = 0; offset < packet.length; offset += page_size) {
        const uint32_t rest = packet.length - offset;
        const uint32_t size = rest < page_size ? rest : page_size;
        const uint16_t id = last = take_buffer(head, last);
        // What else the page has is of older packets, which this backend has been given before.
        outgoing.copy(outgoing.cookie, offset, buffers_.page(id), size);
        if (rest > size)
            flags |= netif::tx_more_data;
        ring_.put(TxRequest{.grant = buffers_.grant(id).value,
                            .offset = 0,
                            .flags = flags,
                            .id = id,
                            // The first slot says how long the packet is, not the slot.
                            .size = static_cast<uint16_t>(head == no_buffer ? rest : size)});
        flags = 0;
        if (head == no_buffer) {
            head = id;
            if (gso) {
                ring_.put(ExtraInfo{.type = netif::extra_gso,
                                    .flags = 0,
                                    .gso = {.size = packet.gso_size,
                                            .type = packet.gso == NETFRONT_GSO_TCP_IPV4
                                                        ? netif::gso_tcp_ipv4
                                                        : netif::gso_tcp_ipv6,
                                            .pad = 0,
                                            .features = 0}});
                ++extras_;
            }
        }
    }
    buffer_[head].bytes = packet.length;
    ++packets_;
}

netfront_verdict Transmitter::transmit(const Outgoing &outgoing, bool more, bool &notify)
{
    const netfront_packet &packet = outgoing.packet;
    netfront_verdict verdict = NETFRONT_SENT;
    if (!usable() || !sending_ || !possible(packet)) {
        statistics_.tx_dropped++;
        verdict = NETFRONT_DROPPED;
    } else if (!room((packet.length + page_size - 1) / page_size, 1)) {
        verdict = full();
        more = false;
    } else {
        put_packet(outgoing);
        statistics_.tx_checksum_blank += packet.checksum_blank;
        statistics_.tx_gso += packet.gso != NETFRONT_GSO_NONE;
        more = !netfront_port_tx_queued(link_->context, queue_, packet.length, more) && more;
        if (!room_for_largest()) {
            (void)full();
            more = false;
        }
    }
    notify = !more && flush();
    if (usable() && link_->tx_frames.load() > 1 && waits())
        listen();
    return verdict;
}

netfront_verdict Transmitter::multicast(const uint8_t *mac, bool add, bool &notify)
{
    if (!usable() || !sending_ || !link_->features.multicast_filter)
        return NETFRONT_DROPPED;
    if (!room(1, 1))
        return full();
    const uint16_t id = take_buffer(no_buffer, no_buffer);
    ring_.put(TxRequest{.grant = buffers_.grant(id).value,
                        .offset = 0,
                        .flags = netif::tx_extra_info,
                        .id = id,
                        .size = 0});
    ExtraInfo extra{.type = add ? netif::extra_multicast_add : netif::extra_multicast_delete,
                    .flags = 0,
                    .mac = {}};
    __builtin_memcpy(extra.mac, mac, sizeof extra.mac);
    ring_.put(extra);
    ++extras_;
    notify = flush();
    return NETFRONT_SENT;
}

bool Transmitter::flush()
{
    if (!usable() || !ring_.push())
        return false;
    statistics_.tx_notifications++;
    return true;
}

// ---- responses ----

void Transmitter::reap()
{
    auto count = ring_.poll();
    if (!count.ok()) {
        link_->violation("tx rsp_prod", ring_.producer());
        return;
    }
    unsigned packets = 0, bytes = 0;
    for (uint32_t i = 0; i < count.value(); i++)
        if (!take_response(packets, bytes))
            return;
    if (packets > 0)
        netfront_port_tx_completed(link_->context, queue_, packets, bytes);
    if (full_ && room_for_largest()) {
        full_ = false;
        netfront_port_tx_room(link_->context, queue_);
    }
}

// False: the device is broken.
bool Transmitter::take_response(unsigned &packets, unsigned &bytes)
{
    const TxResponse response = ring_.take();
    if (response.status == netif::status_null) {
        // An extra-info slot's. It has no id, so which one's does not matter.
        if (extras_ == 0)
            return link_->violation("tx status", static_cast<uint16_t>(response.status));
        --extras_;
        return true;
    }
    if (response.id >= buffers_.count() || !buffer_[response.id].in_flight)
        return link_->violation("tx id", response.id);
    buffer_[response.id].in_flight = false;
    const uint16_t head = buffer_[response.id].head;
    buffer_[head].failed |= response.status != netif::status_okay;
    if (--buffer_[head].left == 0)
        complete(head, packets, bytes);
    return true;
}

void Transmitter::complete(uint16_t head, unsigned &packets, unsigned &bytes)
{
    const Buffer packet = buffer_[head];
    for (uint16_t id = head; id != no_buffer; id = buffer_[id].next)
        free_[free_count_++] = id;
    if (packet.bytes == 0) {
        if (packet.failed)
            netfront_port_multicast_refused(link_->context);
        return;
    }
    --packets_;
    packets++;
    bytes += packet.bytes;
    if (packet.failed) {
        statistics_.tx_errors++;
    } else {
        statistics_.tx_packets++;
        statistics_.tx_bytes += packet.bytes;
    }
}

bool Transmitter::more(uint32_t &progress)
{
    // Half of what is on its way comes without an event, if the kernel lets it and does not wait.
    const uint32_t half = waits() ? 1 : ring_.outstanding() / 2 + 1;
    const uint32_t wanted = link_->tx_frames.load();
    const uint32_t nth = wanted < half ? wanted : half;
    auto count = ring_.final_check(nth);
    progress = ring_.taken();
    // An index that makes no sense is for reap() to complain about.
    return !count.ok() || count.value() >= nth;
}

void Transmitter::get_statistics(netfront_statistics &statistics) const
{
    statistics = statistics_;
}

} // namespace xen
