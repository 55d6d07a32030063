// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network backend in the simulated machine, with the toolstack's part. It follows the protocol of
// public/io/netif.h as Linux's netback does, and leaves every door open for tests that do not.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include <sim/back_ring.hpp>
#include <sim/sim.hpp>

#include <netfront/core/netif.hpp>

namespace netfront_test {

using Packet = std::vector<uint8_t>;

inline const std::string front_path = sim::guest_home + "/device/vif/0";
inline const std::string back_path = "/local/domain/0/backend/vif/5/0";

// What `xl network-attach` writes, besides the states.
void create_directories(const std::string &mac = "00:16:3e:01:02:03");

class Backend {
public:
    using TxRing = sim::BackRing<xen::netif::TxRequest, xen::netif::TxResponse>;
    using RxRing = sim::BackRing<xen::netif::RxRequest, xen::netif::RxResponse>;

    // Starts in InitWait and follows the frontend from then on.
    Backend();
    Backend(const Backend &) = delete;
    // Dies: its mappings, its port and its watch go, xenstore stays as it is.
    ~Backend();

    // ---- behaviour ----
    bool ready = true;        // false: stays in InitWait ("hotplug-status" is not there yet)
    bool serve_tx = true;     // false: leaves transmit requests where they are
    bool map_packets = false; // maps each packet's page, and keeps it mapped

    void set_state(unsigned state);
    unsigned state() const;
    bool connected() const { return tx_pages_ != nullptr; }
    void disconnect(); // drops mappings and the port
    void drop_packet_mappings();
    std::vector<uint8_t *> mapped_packets() const;

    // ---- traffic ----
    std::deque<Packet> sent; // by the frontend
    void serve();            // takes transmit requests and answers them

    // The receive requests that were not used yet.
    unsigned receive_buffers();
    // Delivers a packet; false: the frontend has given no buffer.
    bool deliver(const Packet &packet, uint16_t offset = 0, uint16_t flags = 0);
    // Answers the next receive request with just this; the id is the request's, added to `id`.
    void respond_rx(xen::netif::RxResponse response);
    // Answers the next transmit request, or none, with just this.
    void respond_tx(const xen::netif::TxResponse &response);
    // Takes the next transmit request, without its packet.
    bool next_tx(xen::netif::TxRequest &request);
    Packet fetch(const xen::netif::TxRequest &request);
    void notify();

    sim::Peer peer;
    TxRing tx;
    RxRing rx;

private:
    void frontend_changed();
    void connect();
    void collect_receive_requests();

    unsigned watch_ = 0;
    uint8_t *tx_pages_ = nullptr;
    uint8_t *rx_pages_ = nullptr;
    uint32_t port_ = 0;
    std::deque<xen::netif::RxRequest> rx_requests_;
    std::map<uint32_t, uint8_t *> held_; // grant reference -> mapping
};

} // namespace netfront_test
