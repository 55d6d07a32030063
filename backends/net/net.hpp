// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network interface (public/io/netif.h) whose packets go to a bridge through a tap device: one
// queue, one event channel, packets of one slot towards the guest, of several from it.
#pragma once

#include <set>

#include <netfront/core/netif.hpp>

#include "base/device.hpp"

namespace backends {

// A tap device on a bridge.
class Tap {
public:
    Tap(const std::string &name, const std::string &bridge);
    ~Tap();
    Tap(const Tap &) = delete;
    Tap &operator=(const Tap &) = delete;

    int fd() const { return fd_; }
    // The next packet from the bridge; 0: none.
    size_t receive(uint8_t *packet, size_t size);
    // `blank`: the checksum of TCP or UDP is left to whoever needs it.
    void send(const uint8_t *packet, size_t size, bool blank);

private:
    int fd_;
};

class Net final : public Device {
public:
    Net(unsigned domain, uint32_t index, const std::string &mac, const std::string &bridge,
        const Keys &keys);

private:
    using TxRing = sim::BackRing<xen::netif::TxRequest, xen::netif::TxResponse>;
    using RxRing = sim::BackRing<xen::netif::RxRequest, xen::netif::RxResponse>;

    bool connect() override;
    void disconnect() override;
    void serve() override;
    void scribble() override;
    bool own_command(const Words &words) override;
    std::string report() const override;
    std::string own_help() const override;
    void be_honest() override;
    void add_own_sources(std::vector<pollfd> &sources) override;

    void serve_tx();
    void collect(const xen::netif::TxRequest &request);
    void respond_tx(uint16_t id, int16_t status);
    void serve_rx();
    bool room();
    void deliver(const uint8_t *packet, size_t size);
    void respond_rx(const xen::netif::RxRequest &request, const Lie &lie, uint16_t flags,
                    size_t size);
    void look(uint32_t reference, const Mapping &mapping, unsigned first, unsigned end);
    void lie_about_producer(const Words &words);

    Tap tap_;
    Mapping tx_page_, rx_page_;
    TxRing tx_;
    RxRing rx_;
    std::vector<uint8_t> packet_; // of the guest, as far as it has come
    size_t packet_size_ = 0;      // and its whole size; 0: the next slot begins one
    bool packet_blank_ = false;
    bool extra_next_ = false;
    std::optional<xen::netif::RxRequest> room_;
    Script tx_script_{{"id", "status", "dup", "drop", "null"}};
    Script rx_script_{{"id", "offset", "flags", "size", "chain", "drop"}};
    bool peek_ = false;
    std::set<uint32_t> seen_; // grants that were peeked at
    uint64_t sent_ = 0, received_ = 0, pages_seen_ = 0, leaked_ = 0, ring_leaked_ = 0;
    uint32_t seed_ = 1;
};

} // namespace backends
