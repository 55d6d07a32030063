// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What is settled beside the packets: control ring, multicast filter, MTU and carrier
// (public/io/netif.h).
#include <xen/grant.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

namespace netif = xen::netif;

class Control : public FullTest {
protected:
    ControlBackend &control() { return backend->control; }

    void set_hash(uint32_t types, uint32_t mapping_size)
    {
        hash = {};
        hash.types = types;
        hash.key_size = 40;
        for (unsigned i = 0; i < 40; i++)
            hash.key[i] = static_cast<uint8_t>(3 * i + 1);
        hash.mapping_size = mapping_size;
        for (unsigned i = 0; i < mapping_size; i++)
            hash.mapping[i] = static_cast<uint16_t>(i % 4);
        netfront_hash_changed(device);
        settle();
    }

    static netif::ExtraInfo hash_extra(uint8_t type, uint8_t algorithm = 1)
    {
        return {.type = netif::extra_hash,
                .flags = 0,
                .hash = {.type = type, .algorithm = algorithm, .value = {1, 2, 3, 4}}};
    }
};

TEST_F(Control, SetsTheHash)
{
    EXPECT_TRUE(features.control_ring);
    EXPECT_EQ(features.hash_types, 0u);
    EXPECT_EQ(features.hash_mapping_max, 128u);
    EXPECT_EQ(control().algorithm, 0u);
    for (const uint32_t size : {0u, 1u, 100u, 128u}) {
        set_hash(0xf, size);
        EXPECT_EQ(features.hash_types, 0xfu);
        EXPECT_EQ(control().algorithm, netif::hash_algorithm_toeplitz);
        EXPECT_EQ(control().types, 0xfu);
        EXPECT_EQ(control().key, Packet(hash.key, hash.key + 40));
        ASSERT_EQ(control().mapping.size(), size);
        for (unsigned i = 0; i < size; i++)
            EXPECT_EQ(control().mapping[i], i % 4);
    }
    EXPECT_EQ(sim::leaked(), "");
    EXPECT_EQ(sim::delayed_events(), 0u);
    set_hash(0, 0);
    EXPECT_EQ(features.hash_types, 0u);
    EXPECT_EQ(control().algorithm, 0u);
    expect_traffic();
}

TEST_F(Control, HashSurvivesReconnect)
{
    set_hash(5, 128);
    wishes.queues = 2;
    netfront_reconnect(device);
    settle();
    EXPECT_EQ(features.hash_types, 5u);
    EXPECT_EQ(control().types, 5u);
    for (unsigned i = 0; i < 128; i++)
        EXPECT_EQ(control().mapping[i], i % 4 % 2); // no queue that is not there
    expect_reconnect();
    EXPECT_EQ(backend->control.types, 5u);
}

// xen-netback keeps its hash over a reconnect. What comes before it is told anew is no lie, and
// where none is wanted any more it is told so.
TEST_F(Control, HashOfTheConnectionBefore)
{
    set_hash(0xf, 128);
    control().serving = false;
    netfront_reconnect(device);
    settle();
    ASSERT_TRUE(link);
    received.clear();
    ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {hash_extra(1)}));
    settle();
    EXPECT_EQ(received.size(), 1u);
    EXPECT_TRUE(sim::complaints().empty());
    hash = {};
    control().serving = true;
    netfront_reconnect(device);
    settle();
    EXPECT_EQ(control().algorithm, netif::hash_algorithm_none);
    EXPECT_EQ(features.hash_types, 0u);
    expect_traffic();
}

// Each request in turn is one that the backend cannot do.
TEST_F(Control, WhatTheBackendCannotDoIsLeftOut)
{
    for (uint16_t type = 1; type <= 9; type++) {
        control().unsupported = {type};
        netfront_reconnect(device);
        settle();
        ASSERT_TRUE(link);
        set_hash(0xf, 128);
        const bool grants = type >= netif::control_get_gref_mapping_size;
        const bool mapping = type == netif::control_get_hash_mapping_size;
        EXPECT_EQ(features.hash_types, grants || mapping ? 0xfu : 0u) << type;
        EXPECT_EQ(features.static_grants, grants ? 0u : 4u * 384) << type;
        // Not half of it.
        if (features.hash_types == 0) {
            EXPECT_TRUE(control().algorithm == 0 || type == netif::control_set_hash_algorithm);
        }
        expect_traffic();
        set_hash(0, 0);
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Control, ChangesWhileARequestIsOut)
{
    control().serving = false;
    set_hash(1, 0);
    set_hash(2, 4);
    netif::ControlRequest request;
    ASSERT_TRUE(control().ring.get(request));
    netfront_hash_changed(device);
    set_hash(8, 3);
    EXPECT_FALSE(control().ring.get(request)) << "one at a time";
    control().serving = true;
    control().respond(control().answer(request));
    settle();
    control().serve();
    settle();
    EXPECT_EQ(features.hash_types, 8u);
    EXPECT_EQ(control().types, 8u);
    EXPECT_EQ(control().mapping.size(), 3u);
}

TEST_F(Control, StaticGrants)
{
    EXPECT_EQ(features.static_grants, 4u * 384);
    for (unsigned queue = 0; queue < 4; queue++) {
        const auto &list = control().static_grants.at(queue);
        ASSERT_EQ(list.size(), 384u);
        for (unsigned i = 0; i < 384; i++)
            EXPECT_EQ(list[i].flags, i < 128 ? netif::static_grant_readonly : 0);
    }
    for (const unsigned room : {0u, 1u, 200u, 384u, 0xffffffffu}) {
        control().static_grants_max = room;
        netfront_reconnect(device);
        settle();
        EXPECT_EQ(features.static_grants, 4 * std::min(room, 384u));
    }
    // Each packet goes through one of them.
    for (unsigned i = 0; i < 100; i++) {
        backend->serve_tx = false;
        ASSERT_EQ(send(packet(100)), NETFRONT_SENT);
        const auto taken = backend->take();
        bool listed = false;
        for (const auto &entry : control().static_grants[0])
            listed |= entry.grant == taken->requests[0].grant;
        EXPECT_TRUE(listed);
        backend->answer(*taken);
        settle();
    }
    wishes.static_grants = false;
    netfront_reconnect(device);
    settle();
    EXPECT_EQ(features.static_grants, 0u);
    EXPECT_EQ(sim::leaked(), "");
}

TEST_F(Control, HashesComeWithPackets)
{
    set_hash(0xf, 0);
    for (uint8_t type = 0; type < 4; type++) {
        ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {hash_extra(type)}));
        settle();
        EXPECT_EQ(descriptions.back().hash_type, 1u << type);
        EXPECT_EQ(descriptions.back().hash, 0x04030201u);
    }
    const netif::ExtraInfo gso{.type = netif::extra_gso,
                               .flags = 0,
                               .gso = {.size = 1448, .type = 1, .pad = 0, .features = 0}};
    ASSERT_TRUE(backend->deliver(packet(5000), 0, 0, {gso, hash_extra(1)}));
    settle();
    EXPECT_EQ(descriptions.back().gso_size, 1448);
    EXPECT_EQ(descriptions.back().hash_type, 2u);
    EXPECT_EQ(received.back(), packet(5000));
}

TEST_F(Control, Xsa376BadHashes)
{
    for (const auto &[extra, complaint] : {std::pair{hash_extra(4), "rx hash type = 4"},
                                           {hash_extra(255), "rx hash type = 255"},
                                           {hash_extra(0, 0), "rx hash algorithm = 0"},
                                           {hash_extra(0, 2), "rx hash algorithm = 2"}}) {
        set_hash(0xf, 0);
        received.clear();
        ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {extra}));
        expect_broken(complaint);
        received.clear();
    }
}

TEST_F(Control, Xsa376BadResponses)
{
    for (const auto &[id, type, twice, complaint] : {std::tuple{1, 0, 1u, "control id = "},
                                                     {-1, 0, 1u, "control id = "},
                                                     {0, 1, 1u, "control type = "},
                                                     {0, 0, 2u, "control rsp_prod = "}}) {
        netif::ControlRequest request;
        control().serving = false;
        set_hash(0xf, 128);
        ASSERT_TRUE(control().ring.get(request));
        for (unsigned i = 0; i < twice; i++)
            control().ring.put(netif::ControlResponse{static_cast<uint16_t>(request.id + id),
                                                      static_cast<uint16_t>(request.type + type), 0,
                                                      0});
        EXPECT_TRUE(control().ring.push());
        control().notify();
        const uint32_t value = *complaint == 'c' && complaint[8] == 'i' ? request.id + id
                               : complaint[8] == 't'                    ? request.type + type
                                                     : control().ring.response_index();
        hash = {};
        expect_broken(complaint + std::to_string(value));
        received.clear();
    }
}

// A backend that never answers: everything else works.
TEST_F(NetFrontTest, NothingLeftForTheControlRing)
{
    for (const unsigned left : {0u, 1u}) {
        prepare();
        offer_everything(1);
        xen::GrantPool others;
        ASSERT_TRUE(others.reserve(xen::free_grants() - pages_of_a_connection - left).ok());
        ASSERT_EQ(probe(), 0);
        settle();
        ASSERT_TRUE(link) << left;
        EXPECT_FALSE(features.control_ring);
        EXPECT_EQ(key("ctrl-ring-ref"), "none");
        expect_traffic();
        remove();
        backend.reset();
    }
}

TEST_F(NetFrontTest, ControlRingWithoutAnswers)
{
    prepare();
    offer_everything();
    backend->control.serving = false;
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_EQ(features.hash_mapping_max, 0u);
    expect_traffic();
    for (unsigned i = 0; i < 10'000; i++) { // nor does it help to shout
        backend->control.notify();
        settle();
        sim::advance(100'000);
    }
    EXPECT_GT(sim::delayed_events(), 5u);
    expect_traffic();
    remove();
}

// ---- multicast ----

TEST_F(FullTest, MulticastFilter)
{
    ASSERT_TRUE(features.multicast_filter);
    const uint8_t first[6] = {1, 0, 0x5e, 0, 0, 1}, second[6] = {0x33, 0x33, 0, 0, 0, 1};
    EXPECT_EQ(netfront_multicast(device, first, true), NETFRONT_SENT);
    EXPECT_EQ(netfront_multicast(device, second, true), NETFRONT_SENT);
    EXPECT_EQ(netfront_filter_multicast(device, true), 0);
    settle();
    EXPECT_EQ(backend->multicast.size(), 2u);
    EXPECT_TRUE(backend->multicast.contains(Packet(second, second + 6)));
    EXPECT_TRUE(backend->filtering);
    EXPECT_EQ(netfront_multicast(device, first, false), NETFRONT_SENT);
    EXPECT_EQ(netfront_filter_multicast(device, false), 0);
    settle();
    EXPECT_EQ(backend->multicast, (std::multiset<Packet>{Packet(second, second + 6)}));
    EXPECT_FALSE(backend->filtering);
    expect_traffic();
    EXPECT_EQ(counters().tx_packets, 5u); // addresses are no packets
    EXPECT_EQ(queues[0].packets_queued, 0u);
    EXPECT_EQ(sim::leaked(), "");
}

TEST_F(FullTest, MulticastFilterIsFull)
{
    uint8_t address[6] = {1, 0, 0x5e, 0, 0, 0};
    for (; address[5] < 70; address[5]++) {
        ASSERT_EQ(netfront_multicast(device, address, true), NETFRONT_SENT);
        settle();
    }
    EXPECT_EQ(backend->multicast.size(), 64u);
    EXPECT_EQ(refused_multicasts, 6u);
    EXPECT_EQ(counters().tx_errors, 0u);
    // A new connection has an empty filter, which is off.
    EXPECT_EQ(netfront_filter_multicast(device, true), 0);
    netfront_reconnect(device);
    settle();
    EXPECT_TRUE(backend->multicast.empty());
    EXPECT_FALSE(backend->filtering);
}

TEST_F(FullTest, MulticastNeedsRoom)
{
    const uint8_t address[6] = {1, 0, 0x5e, 0, 0, 1};
    backend->serve_tx = false;
    while (netfront_multicast(device, address, true) == NETFRONT_SENT)
        ;
    EXPECT_EQ(netfront_multicast(device, address, true), NETFRONT_FULL);
    EXPECT_TRUE(full);
    backend->serve_tx = true;
    backend->serve();
    settle();
    EXPECT_FALSE(full);
    EXPECT_EQ(netfront_multicast(device, address, true), NETFRONT_SENT);
}

TEST_F(NetFrontTest, MulticastFilterThatCannotBeLifted)
{
    prepare();
    offer_everything();
    sim::store::remove(back_path + "/feature-dynamic-multicast-control");
    ASSERT_EQ(probe(), 0);
    settle();
    const uint8_t address[6] = {1, 0, 0x5e, 0, 0, 1};
    EXPECT_FALSE(features.multicast_filter);
    EXPECT_EQ(netfront_multicast(device, address, true), NETFRONT_DROPPED);
    EXPECT_EQ(netfront_filter_multicast(device, true), -95);
    expect_traffic();
}

// ---- MTU and carrier ----

TEST_F(FullTest, MtuIsHonouredLive)
{
    EXPECT_EQ(features.mtu, 0u);
    EXPECT_EQ(features.mtu_max, 65517u);
    for (const auto &[text, mtu] : {std::pair{"9000", 9000u},
                                    {"68", 68u},
                                    {"67", 0u},
                                    {"65517", 65517u},
                                    {"65518", 0u},
                                    {"1500 ", 0u},
                                    {"-1", 0u},
                                    {"18446744073709551616", 0u},
                                    {"1500", 1500u},
                                    {"", 0u}}) {
        sim::store::write(front_path + "/mtu", text);
        settle();
        EXPECT_EQ(features.mtu, mtu) << text;
    }
    sim::store::write(front_path + "/mtu", "1400");
    settle();
    const unsigned before = updates;
    sim::store::write(front_path + "/mtu", "1400"); // nothing new
    settle();
    EXPECT_EQ(updates, before);
    sim::store::remove(front_path + "/mtu");
    settle();
    EXPECT_EQ(features.mtu, 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(FullTest, CarrierIsHonouredLive)
{
    EXPECT_TRUE(features.carrier);
    for (const auto &[text, carrier] :
         {std::pair{"0", false}, {"1", true}, {"0", false}, {"yes", true}, {"0", false}}) {
        sim::store::write(back_path + "/carrier", text);
        settle();
        EXPECT_EQ(features.carrier, carrier) << text;
    }
    netfront_reconnect(device);
    settle();
    EXPECT_FALSE(features.carrier);
    sim::store::remove(back_path + "/carrier");
    settle();
    EXPECT_TRUE(features.carrier);
    expect_traffic();
}

TEST_F(NetFrontTest, SettingsBeforeTheConnection)
{
    prepare(false);
    sim::store::write(front_path + "/mtu", "9000"); // the backend has no sg
    sim::store::write(back_path + "/carrier", "0");
    ASSERT_EQ(probe(), 0);
    settle();
    EXPECT_FALSE(link);
    EXPECT_EQ(updates, 0u);
    sim::store::write(front_path + "/mtu", "1400");
    settle();
    backend->ready = true;
    sim::store::write(front_path + "/state", "4");
    settle();
    ASSERT_TRUE(link);
    EXPECT_EQ(features.mtu, 1400u);
    EXPECT_FALSE(features.carrier);
    sim::store::write(front_path + "/mtu", "9000");
    settle();
    EXPECT_EQ(features.mtu, 0u);
}

} // namespace
} // namespace netfront_test
