// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Received packets of several slots, with extra-info: whatever is wrong in them, no buffer is lost,
// and what breaks the protocol breaks the device (public/io/netif.h).
#include <variant>

#include "fixture.hpp"

namespace netfront_test {
namespace {

namespace netif = xen::netif;
using netif::ExtraInfo;
using netif::RxResponse;

constexpr uint16_t more = netif::rx_more_data;
constexpr uint16_t described = netif::rx_extra_info;

ExtraInfo gso(uint16_t size, uint8_t type, uint8_t flags = 0)
{
    return {.type = netif::extra_gso,
            .flags = flags,
            .gso = {.size = size, .type = type, .pad = 0, .features = 0}};
}

ExtraInfo extra(uint8_t type, uint8_t flags = 0)
{
    return {.type = type, .flags = flags, .mac = {1, 1, 1, 1, 1, 1}};
}

using Slot = std::variant<RxResponse, ExtraInfo>; // id: added to the right one

class Chains : public ConnectedTest {
protected:
    // All of it appears at once.
    void respond(const std::vector<Slot> &slots)
    {
        for (const Slot &slot : slots)
            std::visit([this](const auto &response) { backend->respond_rx(response, false); },
                       slot);
        backend->show_rx();
    }

    static std::vector<Slot> of_length(unsigned slots)
    {
        std::vector<Slot> chain;
        for (unsigned i = 1; i <= slots; i++)
            chain.push_back(RxResponse{0, 0, i < slots ? more : uint16_t{0}, 100});
        return chain;
    }
};

struct Bad {
    const char *name;
    std::vector<Slot> slots;
    std::string complaint;
};

void PrintTo(const Bad &bad, std::ostream *out) { *out << bad.name; }

const auto bad_name = [](const testing::TestParamInfo<Bad> &param) {
    return std::string(param.param.name);
};

class HostileChain : public Chains, public testing::WithParamInterface<Bad> {};

TEST_P(HostileChain, BreaksTheDevice)
{
    respond(GetParam().slots);
    expect_broken(GetParam().complaint);
}

TEST_P(HostileChain, BreaksTheDeviceRoundTheEndOfTheRing)
{
    for (unsigned i = 0; i < 255; i++) {
        ASSERT_TRUE(backend->deliver(packet(100)));
        settle();
    }
    received.clear();
    respond(GetParam().slots);
    expect_broken(GetParam().complaint);
}

INSTANTIATE_TEST_SUITE_P(
    Xsa376, HostileChain,
    testing::Values(
        Bad{"no_more_after_all", {RxResponse{0, 0, more, 100}}, "rx slots beyond rsp_prod = 1"},
        Bad{"a_failed_one_no_more", {RxResponse{0, 0, more, -1}}, "rx slots beyond rsp_prod = 1"},
        Bad{"no_extra_after_all",
            {RxResponse{0, 0, described, 100}},
            "rx slots beyond rsp_prod = 1"},
        Bad{"extras_without_end",
            {RxResponse{0, 0, described, 100}, gso(1000, 1, 1)},
            "rx slots beyond rsp_prod = 2"},
        Bad{"extra_then_no_more",
            {RxResponse{0, 0, described | more, 100}, gso(1000, 1)},
            "rx slots beyond rsp_prod = 2"},
        Bad{"gso_type_none", {RxResponse{0, 0, described, 100}, gso(1000, 0)}, "rx gso type = 0"},
        Bad{"gso_type_unknown",
            {RxResponse{0, 0, described, 100}, gso(1000, 3)},
            "rx gso type = 3"},
        Bad{"gso_size_zero", {RxResponse{0, 0, described, 100}, gso(0, 1)}, "rx gso size = 0"},
        Bad{"gso_twice",
            {RxResponse{0, 0, described, 100}, gso(1000, 1, 1), gso(1000, 1)},
            "rx extra type = 1"},
        Bad{"extra_of_no_type", {RxResponse{0, 0, described, 100}, extra(0)}, "rx extra type = 0"},
        Bad{"extra_multicast", {RxResponse{0, 0, described, 100}, extra(2)}, "rx extra type = 2"},
        Bad{"extra_hash_uncalled",
            {RxResponse{0, 0, described, 100}, extra(4)},
            "rx extra type = 4"},
        Bad{"extra_xdp_uncalled",
            {RxResponse{0, 0, described, 100}, extra(5)},
            "rx extra type = 5"},
        Bad{"extra_highest", {RxResponse{0, 0, described, 100}, extra(255)}, "rx extra type = 255"},
        Bad{"extra_flags", {RxResponse{0, 0, described, 100}, extra(1, 2)}, "rx extra flags = 2"},
        Bad{"extra_in_the_middle",
            {RxResponse{0, 0, more, 100}, RxResponse{0, 0, described, 100}, gso(1000, 1)},
            "rx flags = 8"},
        Bad{"unknown_flag_in_the_middle",
            {RxResponse{0, 0, more, 100}, RxResponse{0, 0, 0x4000, 100}},
            "rx flags = 16384"}),
    bad_name);

INSTANTIATE_TEST_SUITE_P(
    Xsa405, HostileChain,
    testing::Values(
        Bad{"offset_in_the_middle",
            {RxResponse{0, 0, more, 100}, RxResponse{0, 9999, more, 100}, RxResponse{0, 0, 0, 100}},
            "rx offset + status = 10099"},
        Bad{"size_in_the_middle",
            {RxResponse{0, 0, more, 100}, RxResponse{0, 0, more, 4097}, RxResponse{0, 0, 0, 100}},
            "rx offset + status = 4097"}),
    bad_name);

// What is merely damaged is dropped, all of it, and its buffers are used again.
TEST_F(Chains, Xsa522Cve202698375FirstSlotShorterThanAHeaderIsDropped)
{
    for (int16_t size = 0; size < 14; size++) {
        respond({RxResponse{0, 0, more, size}, RxResponse{0, 0, 0, 1000}});
        respond(
            {RxResponse{0, 0, described | more, size}, gso(1000, 1), RxResponse{0, 0, 0, 1000}});
        settle();
    }
    EXPECT_EQ(counters().rx_errors, 28u);
    EXPECT_TRUE(received.empty());
    EXPECT_EQ(backend->receive_buffers(), 256u);
    EXPECT_TRUE(sim::complaints().empty());
    expect_traffic();
}

TEST_F(Chains, Cve202672380HighestIdInTheMiddle)
{
    respond({RxResponse{0, 0, more, 100}, RxResponse{0xfffe, 0, 0, 100}}); // added to 1
    expect_broken("rx id = 65535");
}

TEST_F(Chains, Xsa405FailedSlotsDropThePacket)
{
    for (unsigned bad = 0; bad < 5; bad++) {
        std::vector<Slot> slots = of_length(5);
        std::get<RxResponse>(slots[bad]).status = -1;
        std::get<RxResponse>(slots[bad]).offset = 0xffff;
        respond(slots);
        settle();
        EXPECT_EQ(counters().rx_errors, bad + 1);
    }
    EXPECT_TRUE(received.empty());
    EXPECT_EQ(backend->receive_buffers(), 256u);
    EXPECT_TRUE(sim::complaints().empty());
    expect_traffic();
}

TEST_F(Chains, NoMemoryDropsChains)
{
    out_of_buffers = true;
    for (unsigned slots = 1; slots <= NETFRONT_RECEIVE_SLOTS; slots++)
        respond(of_length(slots));
    settle();
    EXPECT_EQ(counters().rx_dropped, 0u + NETFRONT_RECEIVE_SLOTS);
    EXPECT_EQ(backend->receive_buffers(), 256u);
    out_of_buffers = false;
    expect_traffic();
}

TEST_F(Chains, Xsa457Cve202699057LongChainsLeakNothing)
{
    for (unsigned slots : {1u, 2u, 17u, 18u, 19u, 20u, 64u, 255u, 256u}) {
        SCOPED_TRACE(slots);
        respond(of_length(slots));
        if (slots <= NETFRONT_RECEIVE_SLOTS) {
            settle();
            ASSERT_EQ(received.size(), 1u);
            EXPECT_EQ(received[0].size(), 100 * slots);
        } else {
            expect_broken("rx slots of a packet = 20"); // and counts pages and grants
        }
        EXPECT_EQ(sim::pages_in_use(), pages_of_a_connection);
        EXPECT_EQ(sim::grants_in_force(), pages_of_a_connection);
        EXPECT_EQ(backend->receive_buffers(), 256u);
        received.clear();
    }
}

// A budget counts packets, and none is cut in two.
TEST_F(Chains, BudgetIsInPackets)
{
    for (unsigned i = 0; i < 10; i++)
        respond(of_length(3));
    sim::run();
    poll(4);
    EXPECT_EQ(received.size(), 4u);
    EXPECT_EQ(backend->receive_buffers(), 256u - 30 + 12);
    settle();
    EXPECT_EQ(received.size(), 10u);
}

// What was not asked for is no harm in a packet, and no way round the stack's checks.
TEST_F(NetFrontTest, UnaskedOffloadsAreRefused)
{
    wishes.receive_checksum = false; // and no GSO, which needs it
    connect();
    EXPECT_EQ(key("feature-no-csum-offload"), "1");
    EXPECT_EQ(key("feature-gso-tcpv4"), "0");
    ASSERT_TRUE(backend->deliver(packet(100), 0, netif::rx_csum_blank));
    settle();
    EXPECT_EQ(counters().rx_errors, 1u);
    EXPECT_TRUE(received.empty());
    ASSERT_TRUE(backend->deliver(packet(100), 0, 0, {gso(1000, 1)}));
    expect_broken("rx extra type = 1");
}

} // namespace
} // namespace netfront_test
