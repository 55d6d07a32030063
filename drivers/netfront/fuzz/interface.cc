// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The steps of interface.hpp.
#include "interface.hpp"

#include <climits>

namespace netfuzz {

using namespace netfront_test;

void Interface::begin()
{
    SetUp();
    connect();
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
    expect_reconnect();
    TearDown();
}

void Interface::check_received()
{
    for (const Packet &packet : received) {
        EXPECT_GE(packet.size(), xen::netif::ethernet_header);
        EXPECT_LE(packet.size(), 4096u);
    }
    received.clear();
}

void Interface::transmit(fuzz::Script &script) { (void)send(packet(script.near(64) % 5000)); }

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
    const auto size = 1 + static_cast<size_t>(script.near(60) % 4096);
    if (connected())
        (void)backend->deliver(packet(size),
                               static_cast<uint16_t>(script.below(200) % (4097 - size)),
                               script.byte() & 3);
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
        backend->respond_rx(response);
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
        "feature-rx-copy",        "online",  "feature-sg",
        "feature-gso-tcpv4",      "mtu",     "feature-split-event-channels",
        "multi-queue-max-queues", "trusted", "feature-ctrl-ring",
    };
    const std::string path = back_path + "/" + keys[script.below(std::size(keys))];
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
            poll(script.below(65));
        break;
    case 3:
        out_of_buffers = !out_of_buffers;
        break;
    case 4:
        if (connected())
            backend->notify();
        break;
    case 5:
        sim::advance(1'000'000'000);
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
