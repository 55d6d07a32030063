// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The two rings of a network frontend (public/io/netif.h, ring.h): sending, reaping, receiving, and
// every check of what the backend writes. All of it runs under the port's lock.
#include "device.hpp"

namespace xen {

using netif::RxRequest;
using netif::RxResponse;
using netif::TxRequest;
using netif::TxResponse;

void NetFront::start_rings()
{
    tx_ring_.init(tx_page_.page());
    rx_ring_.init(rx_page_.page());
    tx_free_count_ = 0;
    for (unsigned i = 0; i < tx_buffers; i++) {
        tx_length_[i] = 0;
        tx_free_[tx_free_count_++] = static_cast<uint16_t>(i);
    }
    for (unsigned i = 0; i < rx_buffers; i++)
        post_receive_buffer();
    // Nobody is bound to the event channel yet; backend_ready() notifies.
    (void)rx_ring_.push();
}

netfront_verdict NetFront::transmit(const void *packet, size_t length)
{
    Locked locked(*this);
    if (link_ != Link::up || length < netif::ethernet_header || length > page_size) {
        counters_.tx_dropped++;
        return NETFRONT_DROPPED;
    }
    if (tx_free_count_ == 0) {
        netfront_port_tx_full(context_);
        return NETFRONT_FULL;
    }
    const uint16_t id = tx_free_[--tx_free_count_];
    tx_length_[id] = static_cast<uint16_t>(length);
    // The rest of the page has at most older packets, which this backend has been given before.
    copy_to_shared(tx_pages_.page(id), packet, length);
    tx_ring_.put(TxRequest{.grant = tx_pages_.grant(id).value,
                           .offset = 0,
                           .flags = 0,
                           .id = id,
                           .size = static_cast<uint16_t>(length)});
    if (tx_ring_.push())
        event_.notify();
    if (tx_free_count_ == 0)
        netfront_port_tx_full(context_);
    return NETFRONT_SENT;
}

void NetFront::reap_transmitted()
{
    auto count = tx_ring_.poll();
    if (!count.ok())
        return violation("tx rsp_prod", tx_ring_.producer());
    for (uint32_t i = 0; i < count.value(); i++) {
        const TxResponse response = tx_ring_.take();
        if (response.id >= tx_buffers || tx_length_[response.id] == 0)
            return violation("tx id", response.id);
        // No extra-info slot is ever sent, so none can be answered.
        if (response.status == netif::status_null)
            return violation("tx status", static_cast<uint16_t>(response.status));
        if (response.status == netif::status_okay) {
            counters_.tx_packets++;
            counters_.tx_bytes += tx_length_[response.id];
        } else {
            counters_.tx_errors++;
        }
        tx_length_[response.id] = 0;
        tx_free_[tx_free_count_++] = response.id;
    }
    if (count.value() > 0)
        netfront_port_tx_room(context_);
}

unsigned NetFront::receive(unsigned budget)
{
    auto count = rx_ring_.poll();
    if (!count.ok()) {
        violation("rx rsp_prod", rx_ring_.producer());
        return 0;
    }
    unsigned done = 0;
    while (done < budget && done < count.value()) {
        const unsigned slot = rx_ring_.response_slot();
        const RxResponse response = rx_ring_.take();
        if (!check_received(response, slot))
            return done;
        deliver(response, slot);
        post_receive_buffer();
        done++;
    }
    if (done > 0 && rx_ring_.push())
        event_.notify();
    return done;
}

// Looks at every field of a copied response. False: the device is broken.
bool NetFront::check_received(const RxResponse &response, unsigned slot)
{
    // Responses come in the slots of their requests, and each slot has one buffer and one id.
    if (response.id != slot) {
        violation("rx id", response.id);
        return false;
    }
    // Packets of several slots and extra-info were not negotiated.
    constexpr uint16_t known = netif::rx_data_validated | netif::rx_csum_blank;
    if (response.flags & ~known) {
        violation("rx flags", response.flags);
        return false;
    }
    if (response.status < 0)
        return true;
    if (uint32_t{response.offset} + static_cast<uint32_t>(response.status) > page_size) {
        violation("rx offset + status",
                  uint32_t{response.offset} + static_cast<uint32_t>(response.status));
        return false;
    }
    return true;
}

// Copies the packet out of its page, once, and hands the copy up; or counts why not.
void NetFront::deliver(const RxResponse &response, unsigned slot)
{
    // A packet without its checksum was not asked for either, but harms nobody: it is damaged.
    if (response.status < static_cast<int>(netif::ethernet_header) ||
        (response.flags & netif::rx_csum_blank)) {
        counters_.rx_errors++;
        return;
    }
    const size_t length = static_cast<size_t>(response.status);
    void *buffer = netfront_port_rx_buffer(context_, length);
    if (buffer == nullptr) {
        counters_.rx_dropped++;
        return;
    }
    // SAFETY: offset and length were checked to lie inside the slot's page.
    copy_from_shared(buffer, static_cast<const char *>(rx_pages_.page(slot)) + response.offset,
                     length);
    counters_.rx_packets++;
    counters_.rx_bytes += length;
    netfront_port_rx_packet(context_);
}

// Gives the buffer of the next request's slot to the backend. The ring is kept full, so that is the
// slot whose response was taken last.
void NetFront::post_receive_buffer()
{
    const unsigned slot = rx_ring_.request_slot();
    rx_ring_.put(RxRequest{
        .id = static_cast<uint16_t>(slot), .pad = 0, .grant = rx_pages_.grant(slot).value});
}

unsigned NetFront::poll(unsigned budget)
{
    Locked locked(*this);
    if (usable())
        reap_transmitted();
    return usable() ? receive(budget) : 0;
}

bool NetFront::rearm()
{
    Locked locked(*this);
    if (!usable())
        return false;
    // An index that makes no sense is for the next poll to complain about.
    auto tx = tx_ring_.final_check();
    auto rx = rx_ring_.final_check();
    if (!tx.ok() || !rx.ok() || tx.value() > 0 || rx.value() > 0)
        return true;
    event_.done(tx_ring_.taken() + rx_ring_.taken());
    return false;
}

// The one line of log, and the end of this connection. From now on the rings are not looked at.
void NetFront::violation(const char *field, uint64_t value)
{
    link_ = Link::broken;
    Line line;
    line.text(nodename_.c_str()).text(": broken by its backend: ");
    line.text(field).text(" = ").number(value);
    log_error(line);
    netfront_port_broken(context_);
}

void NetFront::get_counters(netfront_counters &counters)
{
    Locked locked(*this);
    counters = counters_;
}

} // namespace xen
