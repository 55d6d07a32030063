// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated network backend (public/io/netif.h, the backend's side).
#include "backend.hpp"

#include <algorithm>

#include <sim/access.hpp>

namespace netfront_test {

namespace netif = xen::netif;
using netif::ExtraInfo;
using netif::RxRequest;
using netif::RxResponse;
using netif::TxRequest;
using netif::TxResponse;

namespace {

constexpr unsigned slots_max = 18; // of a packet that Linux's netback takes: more are dropped

unsigned read_unsigned(const std::string &path)
{
    const uint64_t value = std::strtoull(sim::store::read(path).value_or("").c_str(), nullptr, 10);
    return static_cast<unsigned>(std::min<uint64_t>(value, UINT32_MAX));
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

void offer_everything(unsigned queues)
{
    for (const char *feature :
         {"sg", "gso-tcpv4", "gso-tcpv6", "ipv6-csum-offload", "rx-copy", "multicast-control",
          "dynamic-multicast-control", "split-event-channels", "ctrl-ring", "xdp-headroom"})
        sim::store::write(back_path + "/feature-" + feature, "1");
    sim::store::write(back_path + "/feature-rx-flip", "0");
    sim::store::write(back_path + "/multi-queue-max-queues", std::to_string(queues));
}

Backend::Backend()
{
    sim::store::write(back_path + "/feature-rx-copy", "1");
    set_state(2);
    watch_ = sim::store::watch(front_path + "/state",
                               [this](const std::string &) { frontend_changed(); });
    filter_watch_ = sim::store::watch(front_path + "/request-multicast-control",
                                      [this](const std::string &path) {
                                          filtering = sim::store::read(path).value_or("0") == "1";
                                      });
}

Backend::~Backend()
{
    sim::store::unwatch(watch_);
    sim::store::unwatch(filter_watch_);
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
    const unsigned asked = read_unsigned(front_path + "/multi-queue-num-queues");
    bool good = !refuse &&
                asked <= std::max(1u, read_unsigned(back_path + "/multi-queue-max-queues")) &&
                asked <= queues_.size();
    count_ = std::max(1u, asked);
    for (unsigned i = 0; good && i < count_; i++)
        good = connect(queues_[i],
                       asked == 0 ? front_path : front_path + "/queue-" + std::to_string(i));
    if (good && sim::store::read(front_path + "/ctrl-ring-ref"))
        good = control.connect();
    if (!good) {
        disconnect();
        set_state(5);
        return;
    }
    // Keys of another connection would contradict.
    if (asked != 0) {
        EXPECT_GT(asked, 1u);
        EXPECT_FALSE(sim::store::read(front_path + "/tx-ring-ref"));
    }
    EXPECT_FALSE(sim::store::read(front_path + "/queue-" + std::to_string(asked) + "/tx-ring-ref"));
    set_state(4);
    serve();
}

bool Backend::connect(Queue &queue, const std::string &path)
{
    queue.tx_page = peer.map(read_unsigned(path + "/tx-ring-ref"));
    queue.rx_page = peer.map(read_unsigned(path + "/rx-ring-ref"));
    const unsigned number = static_cast<unsigned>(&queue - queues_.data());
    const auto bind = [&](const char *key) {
        return peer.bind(read_unsigned(path + key), [this, number] { serve(number); });
    };
    if (sim::store::read(path + "/event-channel-tx")) {
        EXPECT_FALSE(sim::store::read(path + "/event-channel"));
        queue.tx_port = bind("/event-channel-tx");
        queue.rx_port = bind("/event-channel-rx");
    } else {
        queue.tx_port = queue.rx_port = bind("/event-channel");
    }
    if (queue.tx_page == nullptr || queue.rx_page == nullptr || queue.tx_port == 0 ||
        queue.rx_port == 0)
        return false;
    sim::guard(queue.tx_page);
    sim::guard(queue.rx_page);
    for (const char *ring : {"/tx-ring-ref", "/rx-ring-ref"})
        sim::declare(read_unsigned(path + ring), 0, 4096);
    queue.tx = TxRing(queue.tx_page, 4096);
    queue.rx = RxRing(queue.rx_page, 4096);
    return true;
}

void Backend::disconnect()
{
    for (Queue &queue : queues_) {
        if (queue.rx_port != queue.tx_port)
            peer.close(queue.rx_port);
        if (queue.tx_port != 0)
            peer.close(queue.tx_port);
        if (queue.tx_page != nullptr)
            peer.unmap(queue.tx_page);
        if (queue.rx_page != nullptr)
            peer.unmap(queue.rx_page);
        queue.tx_page = queue.rx_page = nullptr;
        queue.tx_port = queue.rx_port = 0;
        queue.rx_requests.clear();
    }
    control.disconnect();
    multicast.clear();
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

void Backend::notify(unsigned queue)
{
    peer.notify(queues_[queue].rx_port);
    if (queues_[queue].tx_port != queues_[queue].rx_port)
        peer.notify(queues_[queue].tx_port);
}

// ---- the frontend's packets ----

bool Backend::next_tx(TxRequest &request)
{
    if (!tx.get(request))
        return false;
    sim::declare(request.grant, request.offset, std::min<unsigned>(request.size, 4096));
    return true;
}

Packet Backend::fetch(const TxRequest &request)
{
    Packet packet(request.size);
    if (packet.empty()) // an address for the filter comes without a packet
        return packet;
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

std::optional<Taken> Backend::take(unsigned queue)
{
    TxRing &ring = queues_[queue].tx;
    Taken taken;
    TxRequest request;
    if (!ring.get(request))
        return {};
    taken.requests.push_back(request);
    ExtraInfo extra{};
    for (bool more = request.flags & netif::tx_extra_info; more; more = extra.flags & 1) {
        EXPECT_TRUE(ring.get(extra));
        taken.extras.push_back(extra);
    }
    unsigned first_size = request.size;
    while (request.flags & netif::tx_more_data) {
        if (!ring.get(request)) {
            ADD_FAILURE() << "a chain without its end";
            break;
        }
        EXPECT_EQ(request.flags & ~netif::tx_more_data, 0);
        EXPECT_LT(request.size, first_size);
        first_size -= request.size;
        taken.requests.push_back(request);
    }
    EXPECT_LE(taken.requests.size(), slots_max);
    taken.requests[0].size = static_cast<uint16_t>(first_size);
    for (const TxRequest &part : taken.requests) {
        EXPECT_LE(part.offset + part.size, 4096);
        sim::declare(part.grant, part.offset, part.size);
        const Packet bytes = fetch(part);
        taken.packet.insert(taken.packet.end(), bytes.begin(), bytes.end());
    }
    return taken;
}

void Backend::answer(const Taken &taken, int16_t status, unsigned queue)
{
    TxRing &ring = queues_[queue].tx;
    bool first = true;
    for (const TxRequest &request : taken.requests) {
        ring.put(TxResponse{.id = request.id, .status = status});
        // Of a null response nothing counts but that it is one.
        for (size_t i = 0; first && i < taken.extras.size(); i++)
            ring.put(TxResponse{.id = 0xabcd, .status = netif::status_null});
        first = false;
    }
    if (ring.push())
        peer.notify(queues_[queue].tx_port);
}

int16_t Backend::amend_filter(const ExtraInfo &extra)
{
    const Packet address(extra.mac, extra.mac + 6);
    if (extra.type == netif::extra_multicast_add) {
        if (multicast.size() == multicast_max)
            return netif::status_error;
        multicast.insert(address);
    } else if (const auto found = multicast.find(address); found != multicast.end()) {
        multicast.erase(found);
    }
    return netif::status_okay;
}

// What an honest frontend sends.
void Backend::note(const Taken &taken, unsigned queue)
{
    Crossing crossing{.queue = queue, .slots = static_cast<unsigned>(taken.requests.size())};
    crossing.flags = taken.requests[0].flags &
                     static_cast<uint16_t>(~(netif::tx_more_data | netif::tx_extra_info));
    for (const ExtraInfo &extra : taken.extras) {
        EXPECT_EQ(extra.type, netif::extra_gso);
        EXPECT_EQ(extra.flags, 0);
        EXPECT_EQ(extra.gso.features, 0);
        EXPECT_NE(extra.gso.size, 0);
        crossing.gso_type = extra.gso.type;
        crossing.gso_size = extra.gso.size;
    }
    EXPECT_GE(taken.packet.size(), 14u);
    sent.push_back(taken.packet);
    crossings.push_back(crossing);
}

void Backend::serve(unsigned number)
{
    if (!connected() || !serve_tx)
        return;
    Queue &queue = queues_[number];
    do {
        while (const auto taken = take(number)) {
            const bool address = !taken->extras.empty() && taken->extras[0].type != 1;
            if (!address)
                note(*taken, number);
            answer(*taken, address ? amend_filter(taken->extras[0]) : netif::status_okay, number);
        }
    } while (queue.tx.final_check());
}

void Backend::serve()
{
    for (unsigned i = 0; i < count_; i++)
        serve(i);
}

void Backend::respond_tx(const TxResponse &response)
{
    tx.put(response);
    if (tx.push())
        peer.notify(queues_[0].tx_port);
}

// ---- packets for the frontend ----

void Backend::collect_receive_requests(Queue &queue)
{
    RxRequest request;
    while (connected() && queue.rx.get(request)) {
        sim::declare(request.grant, 0, 4096);
        queue.rx_requests.push_back(request);
    }
}

unsigned Backend::receive_buffers(unsigned queue)
{
    collect_receive_requests(queues_[queue]);
    return static_cast<unsigned>(queues_[queue].rx_requests.size());
}

bool Backend::write(const RxRequest &request, unsigned offset, const uint8_t *data, unsigned length)
{
    if (length == 0)
        return true;
    if (!map_packets)
        return peer.write(request.grant, offset, data, length);
    uint8_t *&page = held_[request.grant];
    if (page == nullptr)
        page = peer.map(request.grant);
    if (page != nullptr)
        std::memcpy(page + offset, data, length);
    return page != nullptr;
}

bool Backend::deliver(const Packet &packet, uint16_t offset, uint16_t flags,
                      const std::vector<ExtraInfo> &extras, unsigned number,
                      std::vector<unsigned> sizes)
{
    const auto length = static_cast<unsigned>(packet.size());
    for (unsigned rest = sizes.empty() ? length : 0; rest > 0;) {
        sizes.push_back(std::min(rest, 4096u - offset));
        rest -= sizes.back();
    }
    Queue &queue = queues_[number];
    if (receive_buffers(number) < sizes.size() + extras.size())
        return false;
    const uint8_t *data = packet.data();
    for (size_t i = 0; i < sizes.size(); i++) {
        const RxRequest request = queue.rx_requests.front();
        queue.rx_requests.pop_front();
        if (!write(request, offset, data, sizes[i]))
            return false;
        data += sizes[i];
        const unsigned more = i + 1 < sizes.size() ? netif::rx_more_data : 0;
        const unsigned first = i > 0 ? 0 : extras.empty() ? flags : flags | netif::rx_extra_info;
        queue.rx.put(RxResponse{.id = request.id,
                                .offset = offset,
                                .flags = static_cast<uint16_t>(more | first),
                                .status = static_cast<int16_t>(sizes[i])});
        for (size_t e = 0; i == 0 && e < extras.size(); e++) {
            ExtraInfo extra = extras[e];
            extra.flags |= e + 1 < extras.size();
            queue.rx.put(extra);
            queue.rx_requests.pop_front();
        }
    }
    show_rx(number);
    return true;
}

void Backend::show_rx(unsigned queue)
{
    if (queues_[queue].rx.push())
        peer.notify(queues_[queue].rx_port);
}

void Backend::respond_rx(RxResponse response, bool show)
{
    ASSERT_GT(receive_buffers(), 0u);
    response.id = static_cast<uint16_t>(response.id + queues_[0].rx_requests.front().id);
    queues_[0].rx_requests.pop_front();
    rx.put(response);
    if (show)
        show_rx();
}

void Backend::respond_rx(const ExtraInfo &extra, bool show)
{
    ASSERT_GT(receive_buffers(), 0u);
    queues_[0].rx_requests.pop_front();
    rx.put(extra);
    if (show)
        show_rx();
}

} // namespace netfront_test
