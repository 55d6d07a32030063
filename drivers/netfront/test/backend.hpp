// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network backend in the simulated machine, with the toolstack's part. It follows the protocol of
// public/io/netif.h as Linux's netback does, and leaves every door open for tests that do not.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
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

// What Linux's netback offers, and static grants.
void offer_everything(unsigned queues = 4);

// How a packet crossed the ring.
struct Crossing {
    unsigned queue = 0;
    unsigned slots = 1; // with data
    uint16_t flags = 0; // of the first slot, but for more_data and extra_info
    uint8_t gso_type = 0;
    uint16_t gso_size = 0;
};

// A chain of transmit requests, taken from the ring and not answered yet.
struct Taken {
    std::vector<xen::netif::TxRequest> requests;
    std::vector<xen::netif::ExtraInfo> extras;
    Packet packet;
};

// The backend's end of the control ring.
class ControlBackend {
public:
    using Ring = sim::BackRing<xen::netif::ControlRequest, xen::netif::ControlResponse>;

    explicit ControlBackend(sim::Peer &peer) : peer_(peer) {}
    bool connect();
    void disconnect();
    bool connected() const { return page_ != nullptr; }
    void serve();
    xen::netif::ControlResponse answer(const xen::netif::ControlRequest &request);
    void respond(const xen::netif::ControlResponse &response);
    void notify() { peer_.notify(port_); }

    // ---- behaviour ----
    bool serving = true;
    std::set<uint16_t> unsupported; // requests of these types
    uint32_t static_grants_max = 1024;
    // Changes a response, and says how often it is given.
    std::function<unsigned(xen::netif::ControlResponse &response)> tamper;

    // ---- what it was told ----
    std::vector<xen::netif::ControlRequest> requests;
    uint32_t algorithm = 0;
    uint32_t types = 0;
    Packet key;
    std::vector<uint32_t> mapping;
    std::map<uint32_t, std::vector<xen::netif::StaticGrant>> static_grants; // by queue

    Ring ring;

private:
    bool read_list(const xen::netif::ControlRequest &request, size_t entry, void *to);

    sim::Peer &peer_;
    uint8_t *page_ = nullptr;
    uint32_t port_ = 0;
};

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
    bool refuse = false;      // finds fault with every connection
    bool serve_tx = true;     // false: leaves transmit requests where they are
    bool map_packets = false; // maps each packet's page, and keeps it mapped
    size_t multicast_max = 64;

    void set_state(unsigned state);
    unsigned state() const;
    bool connected() const { return queues_[0].tx_page != nullptr; }
    unsigned queues() const { return count_; }
    void disconnect(); // drops mappings and the port
    void drop_packet_mappings();
    std::vector<uint8_t *> mapped_packets() const;

    // ---- traffic ----
    std::deque<Packet> sent;         // by the frontend
    std::deque<Crossing> crossings;  // of those
    std::multiset<Packet> multicast; // addresses in the filter
    bool filtering = false;
    void serve(); // takes transmit requests and answers them

    // The receive requests that were not used yet.
    unsigned receive_buffers(unsigned queue = 0);
    // Delivers a packet; false: the frontend has not given enough buffers. What does not fit
    // into a slot goes on in the next one.
    bool deliver(const Packet &packet, uint16_t offset = 0, uint16_t flags = 0,
                 const std::vector<xen::netif::ExtraInfo> &extras = {}, unsigned queue = 0,
                 std::vector<unsigned> sizes = {});
    // Answers the next receive request with just this; the id is the request's, added to `id`.
    void respond_rx(xen::netif::RxResponse response, bool show = true);
    void respond_rx(const xen::netif::ExtraInfo &extra, bool show = true);
    void show_rx(unsigned queue = 0); // the responses so far
    // Answers the next transmit request, or none, with just this.
    void respond_tx(const xen::netif::TxResponse &response);
    // Takes the next transmit request, without its packet.
    bool next_tx(xen::netif::TxRequest &request);
    Packet fetch(const xen::netif::TxRequest &request);
    // Takes the next packet, or address for the filter.
    std::optional<Taken> take(unsigned queue = 0);
    void answer(const Taken &taken, int16_t status = 0, unsigned queue = 0);
    void notify(unsigned queue = 0);
    // An event of this kind alone.
    void notify_tx(unsigned queue) { peer.notify(queues_[queue].tx_port); }

    sim::Peer peer;
    ControlBackend control{peer};

private:
    struct Queue {
        TxRing tx;
        RxRing rx;
        uint8_t *tx_page = nullptr;
        uint8_t *rx_page = nullptr;
        uint32_t tx_port = 0;
        uint32_t rx_port = 0;
        std::deque<xen::netif::RxRequest> rx_requests;
    };

    void frontend_changed();
    void connect();
    bool connect(Queue &queue, const std::string &path);
    void serve(unsigned queue);
    void note(const Taken &taken, unsigned queue);
    int16_t amend_filter(const xen::netif::ExtraInfo &extra);
    void collect_receive_requests(Queue &queue);
    bool write(const xen::netif::RxRequest &request, unsigned offset, const uint8_t *data,
               unsigned length);

    unsigned watch_ = 0;
    unsigned filter_watch_ = 0;
    std::array<Queue, 8> queues_;
    unsigned count_ = 0;
    std::map<uint32_t, uint8_t *> held_; // grant reference -> mapping

public:
    TxRing &tx = queues_[0].tx;
    RxRing &rx = queues_[0].rx;
};

} // namespace netfront_test
