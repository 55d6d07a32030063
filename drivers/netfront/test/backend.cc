// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated network backend (public/io/netif.h, the backend's side).
#include "backend.hpp"

#include <sim/access.hpp>

namespace netfront_test {

using xen::netif::RxRequest;
using xen::netif::RxResponse;
using xen::netif::TxRequest;
using xen::netif::TxResponse;

namespace {

unsigned read_unsigned(const std::string &path)
{
    const auto text = sim::store::read(path);
    return text && !text->empty() ? static_cast<unsigned>(std::stoul(*text)) : 0;
}

} // namespace

void create_directories(const std::string &mac)
{
    sim::store::write(front_path + "/backend", back_path);
    sim::store::write(front_path + "/backend-id", "0");
    sim::store::write(front_path + "/handle", "0");
    sim::store::write(front_path + "/mac", mac);
    sim::store::write(front_path + "/state", "1");
    sim::store::write(back_path + "/frontend", front_path);
    sim::store::write(back_path + "/frontend-id", "5");
    sim::store::write(back_path + "/online", "1");
    sim::store::write(back_path + "/state", "1");
}

Backend::Backend()
{
    sim::store::write(back_path + "/feature-rx-copy", "1");
    set_state(2);
    watch_ = sim::store::watch(front_path + "/state",
                               [this](const std::string &) { frontend_changed(); });
}

Backend::~Backend()
{
    sim::store::unwatch(watch_);
    disconnect();
    drop_packet_mappings();
}

void Backend::set_state(unsigned state)
{
    sim::store::write(back_path + "/state", std::to_string(state));
}

unsigned Backend::state() const { return read_unsigned(back_path + "/state"); }

void Backend::frontend_changed()
{
    switch (read_unsigned(front_path + "/state")) {
    case 1:
        disconnect();
        set_state(2);
        break;
    case 4:
        if (ready && !connected())
            connect();
        break;
    case 5:
        disconnect();
        set_state(5);
        break;
    case 6:
        disconnect();
        set_state(6);
        break;
    }
}

void Backend::connect()
{
    tx_pages_ = peer.map(read_unsigned(front_path + "/tx-ring-ref"));
    rx_pages_ = peer.map(read_unsigned(front_path + "/rx-ring-ref"));
    port_ = peer.bind(read_unsigned(front_path + "/event-channel"), [this] { serve(); });
    if (tx_pages_ == nullptr || rx_pages_ == nullptr || port_ == 0) {
        disconnect();
        set_state(5);
        return;
    }
    sim::guard(tx_pages_);
    sim::guard(rx_pages_);
    for (const char *ring : {"/tx-ring-ref", "/rx-ring-ref"})
        sim::declare(read_unsigned(front_path + ring), 0, 4096);
    tx = TxRing(tx_pages_, 4096);
    rx = RxRing(rx_pages_, 4096);
    set_state(4);
    serve();
}

void Backend::disconnect()
{
    if (port_ != 0)
        peer.close(port_);
    if (tx_pages_ != nullptr)
        peer.unmap(tx_pages_);
    if (rx_pages_ != nullptr)
        peer.unmap(rx_pages_);
    tx_pages_ = rx_pages_ = nullptr;
    port_ = 0;
    rx_requests_.clear();
}

void Backend::drop_packet_mappings()
{
    for (const auto &[grant, address] : held_)
        peer.unmap(address);
    held_.clear();
}

std::vector<uint8_t *> Backend::mapped_packets() const
{
    std::vector<uint8_t *> pages;
    for (const auto &[grant, address] : held_)
        pages.push_back(address);
    return pages;
}

void Backend::notify() { peer.notify(port_); }

// ---- the frontend's packets ----

bool Backend::next_tx(TxRequest &request)
{
    if (!tx.get(request))
        return false;
    sim::declare(request.grant, request.offset, request.size);
    return true;
}

Packet Backend::fetch(const TxRequest &request)
{
    Packet packet(request.size);
    if (map_packets) {
        uint8_t *&page = held_[request.grant];
        if (page == nullptr)
            page = peer.map(request.grant, false);
        EXPECT_NE(page, nullptr);
        if (page != nullptr)
            std::memcpy(packet.data(), page + request.offset, packet.size());
    } else {
        EXPECT_TRUE(peer.read(request.grant, request.offset, packet.data(), request.size));
    }
    return packet;
}

void Backend::serve()
{
    if (!connected() || !serve_tx)
        return;
    do {
        TxRequest request;
        while (next_tx(request)) {
            EXPECT_EQ(request.flags, 0);
            sent.push_back(fetch(request));
            tx.put(TxResponse{.id = request.id, .status = xen::netif::status_okay});
        }
    } while (tx.final_check());
    if (tx.push())
        notify();
}

void Backend::respond_tx(const TxResponse &response)
{
    tx.put(response);
    if (tx.push())
        notify();
}

// ---- packets for the frontend ----

void Backend::collect_receive_requests()
{
    RxRequest request;
    while (connected() && rx.get(request)) {
        sim::declare(request.grant, 0, 4096);
        rx_requests_.push_back(request);
    }
}

unsigned Backend::receive_buffers()
{
    collect_receive_requests();
    return static_cast<unsigned>(rx_requests_.size());
}

bool Backend::deliver(const Packet &packet, uint16_t offset, uint16_t flags)
{
    if (receive_buffers() == 0)
        return false;
    const RxRequest &request = rx_requests_.front();
    const auto length = static_cast<unsigned>(packet.size());
    if (map_packets) {
        uint8_t *&page = held_[request.grant];
        if (page == nullptr)
            page = peer.map(request.grant);
        if (page == nullptr)
            return false;
        std::memcpy(page + offset, packet.data(), length);
    } else if (!peer.write(request.grant, offset, packet.data(), length)) {
        return false;
    }
    respond_rx(RxResponse{
        .id = 0, .offset = offset, .flags = flags, .status = static_cast<int16_t>(length)});
    return true;
}

void Backend::respond_rx(RxResponse response)
{
    ASSERT_GT(receive_buffers(), 0u);
    response.id = static_cast<uint16_t>(response.id + rx_requests_.front().id);
    rx_requests_.pop_front();
    rx.put(response);
    if (rx.push())
        notify();
}

} // namespace netfront_test
