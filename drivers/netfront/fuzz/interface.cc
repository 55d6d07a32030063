// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The steps of interface.hpp.
#include "interface.hpp"

#include <climits>

namespace netfuzz {

using namespace netfront_test;

void Interface::begin()
{
    SetUp();
    prepare();
    offer_everything(2);
    ASSERT_EQ(probe(), 0);
    settle();
    ASSERT_TRUE(link);
    hash.types = 0xf;
    hash.mapping_size = 4;
    backend->serve_tx = false;
}

void Interface::begin(fuzz::Script &script)
{
    SetUp();
    create_directories(script.byte() % 4 == 0 ? script.text() : "00:16:3e:01:02:03");
    backend = std::make_unique<Backend>();
    backend->serve_tx = false;
    for (unsigned keys = script.below(4); keys > 0; --keys)
        write_key(script);
    if (probe() == 0)
        return;
    sim::store::write(front_path + "/mac", "00:16:3e:01:02:03");
    ASSERT_EQ(probe(), 0);
}

void Interface::end()
{
    settle();
    check_received();
    race_.disarm();
    sim::fail_page_alloc(UINT_MAX);
    sim::store::fail_commits(0);
    out_of_buffers = false;
    memory_piece = ~0u;
    expect_reconnect();
    TearDown();
}

void Interface::check_received()
{
    for (const Packet &packet : received) {
        EXPECT_GE(packet.size(), xen::netif::ethernet_header);
        EXPECT_LE(packet.size(), 4096u * NETFRONT_RECEIVE_SLOTS);
    }
    received.clear();
}

void Interface::transmit(fuzz::Script &script)
{
    const uint8_t flags = script.byte();
    netfront_packet description{};
    description.checksum_blank = flags & 1;
    description.gso = static_cast<netfront_gso>((flags >> 1) % 3);
    description.gso_size = 1448;
    const size_t size = script.near(64) % (flags & 0x40 ? 66000 : 200);
    (void)send(packet(size), description, script.below(3), flags & 0x80);
}

void Interface::take()
{
    xen::netif::TxRequest request;
    if (connected() && taken_.size() < 300 && backend->next_tx(request))
        taken_.push_back(request);
}

void Interface::answer_transmit(fuzz::Script &script)
{
    const uint8_t which = script.byte();
    const uint8_t fields = script.byte();
    if (!connected())
        return;
    xen::netif::TxResponse response{};
    if (!taken_.empty()) {
        const auto request = taken_.begin() + which % taken_.size();
        response.id = request->id;
        taken_.erase(request);
    }
    if (fields & 1)
        response.id = static_cast<uint16_t>(script.near(response.id));
    if (fields & 2)
        response.status = static_cast<int16_t>(script.near(0));
    backend->respond_tx(response);
}

void Interface::deliver(fuzz::Script &script)
{
    const auto size = 1 + static_cast<size_t>(script.near(60) % 20000);
    const auto offset = static_cast<uint16_t>(script.below(200));
    if (connected())
        (void)backend->deliver(packet(size), offset, script.byte() & 3, {},
                               script.below(backend->queues()));
}

void Interface::answer_extra(fuzz::Script &script)
{
    xen::netif::ExtraInfo extra{
        .type = xen::netif::extra_gso,
        .flags = 0,
        .gso = {.size = 1448, .type = xen::netif::gso_tcp_ipv4, .pad = 0, .features = 0}};
    const uint8_t fields = script.byte();
    if (fields & 1)
        extra.type = script.byte();
    if (fields & 2)
        extra.flags = script.byte();
    if (fields & 4)
        extra.gso.size = static_cast<uint16_t>(script.near(0));
    if (fields & 8)
        extra.gso.type = script.byte();
    if (connected() && backend->receive_buffers() > 0)
        backend->respond_rx(extra, fields & 0x80);
}

void Interface::answer_control(fuzz::Script &script)
{
    const uint8_t fields = script.byte();
    backend->control.serving = fields & 16;
    xen::netif::ControlRequest request{};
    if (!connected() || !backend->control.connected())
        return;
    (void)backend->control.ring.get(request);
    xen::netif::ControlResponse response = backend->control.answer(request);
    if (fields & 1)
        response.id = static_cast<uint16_t>(script.near(response.id));
    if (fields & 2)
        response.type = static_cast<uint16_t>(script.near(response.type));
    if (fields & 4)
        response.status = static_cast<uint32_t>(script.near(0));
    if (fields & 8)
        response.data = static_cast<uint32_t>(script.near(0));
    backend->control.respond(response);
}

void Interface::settings(fuzz::Script &script)
{
    const uint8_t address[6] = {1, 0, 0x5e, 0, 0, script.byte()};
    const uint8_t value = script.byte();
    if (device == nullptr)
        return;
    switch (script.below(6)) {
    case 0:
        race_.disarm();
        wishes.queues = value % 6;
        wishes.split_events = value & 8;
        wishes.receive_gso = value & 16;
        wishes.rx_buffers = value;
        return netfront_reconnect(device);
    case 1:
        hash.types = value % 16;
        return netfront_hash_changed(device);
    case 2:
        (void)netfront_multicast(device, address, value & 1);
        return;
    case 3:
        (void)netfront_filter_multicast(device, value & 1);
        return;
    case 4:
        return netfront_flush(device, value % 3);
    case 5:
        return netfront_set_coalesce(device, value, value * 1000);
    }
}

void Interface::answer_receive(fuzz::Script &script)
{
    const uint8_t fields = script.byte();
    xen::netif::RxResponse response{.id = 0, .offset = 0, .flags = 0, .status = 60};
    if (fields & 1)
        response.id = static_cast<uint16_t>(script.near(0));
    if (fields & 2)
        response.offset = static_cast<uint16_t>(script.near(4096 - 60));
    if (fields & 4)
        response.flags = static_cast<uint16_t>(script.near(0));
    if (fields & 8)
        response.status = static_cast<int16_t>(script.near(14));
    if (connected() && backend->receive_buffers() > 0)
        backend->respond_rx(response, !(fields & 0x80));
}

void Interface::scribble(fuzz::Script &script)
{
    const bool transmit = script.byte() & 1;
    const uint8_t index = script.byte();
    const auto bytes = script.bytes(script.below(13));
    if (!connected() || bytes.empty())
        return;
    uint8_t *slot = transmit ? backend->tx.slot(index) : backend->rx.slot(index);
    std::memcpy(slot, bytes.data(), std::min(bytes.size(), size_t{transmit ? 12u : 8u}));
}

void Interface::set_index(fuzz::Script &script)
{
    if (!connected())
        return;
    xen::RingHeader &header = script.byte() & 1 ? backend->tx.shared() : backend->rx.shared();
    uint32_t *const indices[] = {&header.rsp_prod, &header.req_event, &header.rsp_event};
    uint32_t &index = *indices[script.below(3)];
    index = static_cast<uint32_t>(script.near(index));
    backend->notify();
}

void Interface::race(fuzz::Script &script)
{
    if (!connected())
        return;
    const bool transmit = script.byte() & 1;
    const auto &header = transmit ? backend->tx.shared() : backend->rx.shared();
    // SAFETY: the header is the beginning of the page that the backend has mapped.
    race_.arm(reinterpret_cast<uint8_t *>(const_cast<xen::RingHeader *>(&header)), script);
}

void Interface::set_state(fuzz::Script &script)
{
    race_.disarm(); // the backend may let go of the ring
    const unsigned state = script.below(9);
    sim::store::write(back_path + "/state", std::to_string(state));
    settle();
}

void Interface::write_key(fuzz::Script &script)
{
    static const char *const keys[] = {
        "feature-rx-copy",
        "online",
        "feature-sg",
        "feature-gso-tcpv4",
        "carrier",
        "feature-split-event-channels",
        "multi-queue-max-queues",
        "trusted",
        "feature-ctrl-ring",
        "feature-no-csum-offload",
        "feature-multicast-control",
        "feature-dynamic-multicast-control",
        "mtu",
    };
    const unsigned which = script.below(std::size(keys));
    const bool own = which == std::size(keys) - 1;
    const std::string path = (own ? front_path : back_path) + "/" + keys[which];
    const uint8_t kind = script.byte();
    if (kind < 32)
        sim::store::remove(path);
    else if (kind < 96)
        sim::store::write(path, "1");
    else
        sim::store::write(path, script.text());
}

void Interface::switch_manners(fuzz::Script &script)
{
    const uint8_t manners = script.byte();
    if (!backend)
        return;
    backend->ready = !(manners & 1);
    backend->map_packets = manners & 2;
    if (manners & 4)
        backend->drop_packet_mappings();
}

void Interface::control(fuzz::Script &script)
{
    switch (script.below(6)) {
    case 0:
    case 1:
        settle();
        check_received();
        break;
    case 2:
        if (device)
            poll(script.below(65), script.byte() & 1);
        break;
    case 3:
        out_of_buffers = !out_of_buffers;
        memory_piece = 1 + script.byte() * 16;
        break;
    case 4:
        if (connected())
            backend->notify(script.below(backend->queues()));
        break;
    case 5:
        race_.disarm(); // a connection may end
        sim::advance(1'000'000'000);
        later();
        break;
    }
}

void Interface::trouble(fuzz::Script &script) { sim::fail_page_alloc(script.number(2) % 400); }

void Interface::replace_backend()
{
    race_.disarm();
    taken_.clear();
    backend.reset();
    backend = std::make_unique<Backend>();
    backend->serve_tx = false;
    settle();
}

} // namespace netfuzz
