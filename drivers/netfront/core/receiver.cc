// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Receives packets (public/io/netif.h, ring.h), with every check of what the backend says of them.
#include "receiver.hpp"

namespace xen {

using netif::ExtraInfo;
using netif::RxRequest;
using netif::RxResponse;

static_assert(netif::rx_ring_slots == ring_slots(page_size, sizeof(RxRequest)));
static_assert(netif::rx_ring_slots == NETFRONT_BUFFERS_MAX);

// ---- lifecycle ----

Status Receiver::allocate()
{
    TRY(page_.allocate(link_->backend_id));
    TRY(buffers_.allocate(link_->backend_id, GrantAccess::read_write, link_->features.rx_buffers));
    ring_.init(page_.page());
    for (unsigned i = 0; i < buffers_.count(); i++)
        post_buffer();
    // Nobody is bound to the event channel yet; the backend is told when it is there.
    (void)ring_.push();
    return {};
}

// Gives the buffer of the next request's slot to the backend. As many requests are out as there are
// buffers, so that is the one whose response was taken last.
void Receiver::post_buffer()
{
    const unsigned slot = ring_.request_slot();
    const unsigned buffer = slot & (buffers_.count() - 1);
    ring_.put(RxRequest{
        .id = static_cast<uint16_t>(slot), .pad = 0, .grant = buffers_.grant(buffer).value});
}

// ---- receiving ----

unsigned Receiver::receive(unsigned budget, bool &notify)
{
    auto count = ring_.poll();
    if (!count.ok()) {
        link_->violation("rx rsp_prod", ring_.producer());
        return 0;
    }
    unsigned done = 0;
    for (uint32_t taken = 0; done < budget && taken < count.value(); done++) {
        Chain chain;
        if (!take_chain(chain, count.value() - taken))
            return done;
        deliver(chain);
        taken += chain.slots;
        for (unsigned i = 0; i < chain.slots; i++)
            post_buffer();
    }
    notify = done > 0 && ring_.push();
    statistics_.rx_notifications += notify;
    return done;
}

// False, here and below: the device is broken.
bool Receiver::take_chain(Chain &chain, uint32_t available)
{
    uint16_t flags = 0;
    do {
        // Backends show a packet when it is complete.
        if (chain.slots == available)
            return link_->violation("rx slots beyond rsp_prod", chain.slots);
        if (chain.count == NETFRONT_RECEIVE_SLOTS)
            return link_->violation("rx slots of a packet", chain.count + 1);
        if (!take_slot(chain, available, flags))
            return false;
    } while (flags & netif::rx_more_data);
    return true;
}

// Looks at every field of a copied response.
bool Receiver::take_slot(Chain &chain, uint32_t available, uint16_t &flags)
{
    // Responses come in the slots of their requests, and each slot has one buffer and one id.
    const unsigned slot = ring_.response_slot();
    const RxResponse response = ring_.take();
    const bool first = chain.slots++ == 0;
    if (response.id != slot)
        return link_->violation("rx id", response.id);
    flags = response.flags;
    constexpr uint16_t any = netif::rx_data_validated | netif::rx_csum_blank | netif::rx_more_data;
    if (flags & ~(first ? any | netif::rx_extra_info : any))
        return link_->violation("rx flags", flags);
    const uint32_t size = response.status < 0 ? 0 : static_cast<uint32_t>(response.status);
    if (response.status >= 0 && response.offset + size > page_size)
        return link_->violation("rx offset + status", response.offset + size);
    // The header is whole, and in one piece.
    chain.damaged |= response.status < (first ? static_cast<int>(netif::ethernet_header) : 0);
    // SAFETY: offset and size were checked to lie inside the slot's page.
    chain.pieces[chain.count++] = {
        static_cast<const char *>(buffers_.page(slot & (buffers_.count() - 1))) + response.offset,
        size};
    chain.packet.length += size;
    if (!first)
        return true;
    chain.packet.checksum_blank = flags & netif::rx_csum_blank;
    chain.packet.checksum_validated = flags & netif::rx_data_validated;
    // A packet without its checksum that was not asked for harms nobody: it is damaged.
    chain.damaged |= chain.packet.checksum_blank && !link_->features.receive_checksum;
    return !(flags & netif::rx_extra_info) || take_extras(chain, available);
}

bool Receiver::take_extras(Chain &chain, uint32_t available)
{
    for (;;) {
        if (chain.slots == available)
            return link_->violation("rx slots beyond rsp_prod", chain.slots);
        chain.slots++;
        const auto extra = ring_.take<ExtraInfo>();
        if (extra.flags & ~netif::extra_more)
            return link_->violation("rx extra flags", extra.flags);
        if (!take_extra(chain, extra))
            return false;
        if (!(extra.flags & netif::extra_more))
            return true;
    }
}

// Each kind comes once, and not uncalled for.
bool Receiver::take_extra(Chain &chain, const ExtraInfo &extra)
{
    netfront_packet &packet = chain.packet;
    if (extra.type == netif::extra_gso && link_->features.receive_gso &&
        packet.gso == NETFRONT_GSO_NONE) {
        if (extra.gso.type != netif::gso_tcp_ipv4 && extra.gso.type != netif::gso_tcp_ipv6)
            return link_->violation("rx gso type", extra.gso.type);
        if (extra.gso.size == 0)
            return link_->violation("rx gso size", extra.gso.size);
        packet.gso =
            extra.gso.type == netif::gso_tcp_ipv4 ? NETFRONT_GSO_TCP_IPV4 : NETFRONT_GSO_TCP_IPV6;
        packet.gso_size = extra.gso.size;
        return true;
    }
    if (extra.type == netif::extra_hash && link_->hashes && packet.hash_type == 0) {
        if (extra.hash.algorithm != netif::hash_algorithm_toeplitz)
            return link_->violation("rx hash algorithm", extra.hash.algorithm);
        if (extra.hash.type >= 32 || !(1u << extra.hash.type & netif::hash_types_known))
            return link_->violation("rx hash type", extra.hash.type);
        packet.hash_type = 1u << extra.hash.type;
        __builtin_memcpy(&packet.hash, extra.hash.value, sizeof packet.hash);
        return true;
    }
    return link_->violation("rx extra type", extra.type);
}

void Receiver::deliver(const Chain &chain)
{
    if (chain.damaged) {
        statistics_.rx_errors++;
        return;
    }
    if (!copy_out(chain)) {
        statistics_.rx_dropped++;
        return;
    }
    statistics_.rx_packets++;
    statistics_.rx_bytes += chain.packet.length;
    statistics_.rx_checksum_blank += chain.packet.checksum_blank;
    statistics_.rx_gso += chain.packet.gso != NETFRONT_GSO_NONE;
    statistics_.rx_chains += chain.count > 1;
    netfront_port_rx_packet(link_->context, queue_, &chain.packet);
}

// Copies the packet out of its pages, once, into as many pieces of memory as the kernel likes.
// False: it has none.
bool Receiver::copy_out(const Chain &chain)
{
    char *to = nullptr;
    uint32_t room = 0, offset = 0;
    for (unsigned i = 0; i < chain.count; i++) {
        Chain::Piece piece = chain.pieces[i];
        while (piece.size > 0) {
            if (room == 0) {
                room = chain.packet.length - offset;
                to = static_cast<char *>(
                    netfront_port_rx_memory(link_->context, queue_, &chain.packet, offset, &room));
                if (to == nullptr)
                    return false;
            }
            const uint32_t size = piece.size < room ? piece.size : room;
            copy_from_shared(to, piece.data, size);
            to += size;
            room -= size;
            offset += size;
            piece.data += size;
            piece.size -= size;
        }
    }
    return true;
}

bool Receiver::more(uint32_t &progress)
{
    auto count = ring_.final_check();
    progress = ring_.taken();
    // An index that makes no sense is for receive() to complain about.
    return !count.ok() || count.value() > 0;
}

void Receiver::get_statistics(netfront_statistics &statistics) const
{
    statistics.rx_packets = statistics_.rx_packets;
    statistics.rx_bytes = statistics_.rx_bytes;
    statistics.rx_errors = statistics_.rx_errors;
    statistics.rx_dropped = statistics_.rx_dropped;
    statistics.rx_notifications = statistics_.rx_notifications;
    statistics.rx_checksum_blank = statistics_.rx_checksum_blank;
    statistics.rx_gso = statistics_.rx_gso;
    statistics.rx_chains = statistics_.rx_chains;
}

} // namespace xen
