// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The negotiation matrix (public/io/netif.h): whatever a backend offers, in every pair of values,
// the device connects with what both can do, or refuses with one line.
#include <cstdlib>
#include <map>

#include <sim/pairwise.hpp>

#include "fixture.hpp"

namespace netfront_test {
namespace {

// A key with what it may hold: nothing, 0, 1, something usual, something huge, something malformed.
struct Key {
    const char *name;
    const char *values[6];
};

constexpr const char *huge = "18446744073709551616";

constexpr Key switch_key(const char *name) { return {name, {nullptr, "0", "1", "1", huge, "yes"}}; }

constexpr Key offers[] = {
    switch_key("feature-sg"),
    switch_key("feature-gso-tcpv4"),
    switch_key("feature-gso-tcpv6"),
    switch_key("feature-no-csum-offload"),
    switch_key("feature-ipv6-csum-offload"),
    switch_key("feature-rx-flip"),
    switch_key("feature-rx-notify"),
    switch_key("feature-split-event-channels"),
    {"multi-queue-max-queues", {nullptr, "0", "1", "4", "4294967295", "-1"}},
    switch_key("feature-multicast-control"),
    switch_key("feature-dynamic-multicast-control"),
    switch_key("feature-ctrl-ring"),
    switch_key("feature-xdp-headroom"),
    {"mtu", {nullptr, "67", "68", "1500", "65518", "1500 "}}, // the toolstack's
    switch_key("carrier"),
    {"hotplug-status", {nullptr, "0", "1", "connected", huge, "error"}},
    // The last two decide whether there is a connection at all.
    switch_key("feature-rx-copy"),
    {"mac", {nullptr, "0", "01:16:3e:01:02:03", "00:16:3e:01:02:03", huge, "00:16:3e:01:02"}},
};
constexpr size_t rx_copy = std::size(offers) - 2;
constexpr size_t mac_key = std::size(offers) - 1;

class Matrix : public NetFrontTest {
protected:
    // Every row, or the one that the environment names.
    void run_all(const std::vector<sim::Combination> &rows)
    {
        const char *only = std::getenv("MATRIX_ROW");
        const auto *test = testing::UnitTest::GetInstance()->current_test_info();
        for (size_t row = 0; row < rows.size(); row++) {
            if (only != nullptr && std::strtoul(only, nullptr, 10) != row)
                continue;
            SCOPED_TRACE("replay: MATRIX_ROW=" + std::to_string(row) +
                         " netfront_test --gtest_filter=Matrix." + test->name() + "\n" +
                         describe(rows[row]));
            ASSERT_NO_FATAL_FAILURE(run_one(rows[row]));
            ASSERT_FALSE(HasFailure());
        }
    }

private:
    static const char *value(const sim::Combination &row, size_t key)
    {
        return offers[key].values[row[key]];
    }

    static std::string describe(const sim::Combination &row)
    {
        std::string text;
        for (size_t key = 0; key < row.size(); key++)
            if (value(row, key) != nullptr)
                text += std::string(offers[key].name) + "=\"" + value(row, key) + "\" ";
        return text;
    }

    static std::string path(const std::string &key)
    {
        return (key == "mac" || key == "mtu" ? front_path : back_path) + "/" + key;
    }

    // A switch counts as on when it is 1, whatever else it may be.
    static bool on(const char *key) { return sim::store::read(path(key)) == "1"; }

    void offer(const sim::Combination &row)
    {
        prepare();
        sim::store::remove(front_path + "/mac");
        sim::store::remove(back_path + "/feature-rx-copy");
        for (size_t key = 0; key < row.size(); key++)
            if (value(row, key) != nullptr)
                sim::store::write(path(offers[key].name), value(row, key));
    }

    void run_one(const sim::Combination &row)
    {
        const size_t complaints = sim::complaints().size();
        const bool good_mac = row[mac_key] == 3;
        const bool connects = good_mac && (row[rx_copy] == 2 || row[rx_copy] == 3);
        offer(row);
        if (!good_mac) {
            EXPECT_LT(probe(), 0);
            settle();
            EXPECT_EQ(front_state(), "1");
        } else {
            ASSERT_EQ(probe(), 0);
            settle();
            EXPECT_EQ(front_state(), connects ? "4" : "6");
        }
        EXPECT_EQ(link, connects);
        EXPECT_EQ(sim::complaints().size(), complaints + (connects ? 0 : 1));
        if (connects) {
            expect_features();
            expect_claims();
            expect_packets();
        } else {
            expect_nothing_held();
            EXPECT_NE(sim::complaints().back().find(good_mac ? "feature-rx-copy" : "mac"),
                      std::string::npos);
        }
        remove();
        EXPECT_EQ(sim::complaints().size(), complaints + (connects ? 0 : 1));
        backend.reset();
        expect_nothing_held();
        sim::store::remove(front_path);
        sim::store::remove(back_path);
    }

    void expect_features()
    {
        const std::string most = sim::store::read(path("multi-queue-max-queues")).value_or("");
        EXPECT_EQ(features.queues, most == "4" || most == "4294967295" ? 4 : 1);
        EXPECT_EQ(features.split_events, on("feature-split-event-channels"));
        EXPECT_EQ(features.send_sg, on("feature-sg"));
        // The one that is on when nothing is said.
        const bool checksum4 =
            sim::store::read(path("feature-no-csum-offload")).value_or("0") == "0";
        const bool checksum6 = on("feature-ipv6-csum-offload");
        EXPECT_EQ(features.send_checksum_ipv4, checksum4);
        EXPECT_EQ(features.send_checksum_ipv6, checksum6);
        EXPECT_EQ(features.send_gso_ipv4, checksum4 && on("feature-sg") && on("feature-gso-tcpv4"));
        EXPECT_EQ(features.send_gso_ipv6, checksum6 && on("feature-sg") && on("feature-gso-tcpv6"));
        EXPECT_EQ(features.multicast_filter,
                  on("feature-multicast-control") && on("feature-dynamic-multicast-control"));
        EXPECT_EQ(features.control_ring, on("feature-ctrl-ring"));
        const std::string mtu = sim::store::read(path("mtu")).value_or("");
        EXPECT_EQ(features.mtu, mtu == "68" ? 68u : mtu == "1500" ? 1500u : 0u);
        EXPECT_EQ(features.carrier, sim::store::read(path("carrier")) != "0");
    }

    // What the frontend published is what was agreed on, and all that it published.
    void expect_claims()
    {
        std::map<std::string, std::string> expected{
            {"request-rx-copy", "1"},
            {"feature-rx-notify", "1"},
            {"feature-sg", "1"},
            {"feature-gso-tcpv4", "1"},
            {"feature-gso-tcpv6", "1"},
            {"feature-no-csum-offload", "0"},
            {"feature-ipv6-csum-offload", "1"},
            {"request-multicast-control", "0"},
        };
        std::vector<std::string> names{"backend", "backend-id", "handle", "mac", "state"};
        if (sim::store::read(path("mtu")))
            names.push_back("mtu");
        for (const std::string &name : names)
            expected[name] = key(name);
        std::vector<std::string> numbers{"tx-ring-ref", "rx-ring-ref"};
        if (features.split_events)
            numbers.insert(numbers.end(), {"event-channel-tx", "event-channel-rx"});
        else
            numbers.push_back("event-channel");
        for (unsigned i = 0; features.queues > 1 && i < features.queues; i++) {
            const std::string queue = "queue-" + std::to_string(i);
            expected[queue] = key(queue);
            EXPECT_EQ(sim::store::list(front_path + "/" + queue).size(), numbers.size());
            for (const std::string &name : numbers)
                expect_number(queue + "/" + name);
        }
        if (features.queues > 1)
            numbers = {"multi-queue-num-queues"};
        if (features.control_ring)
            numbers.insert(numbers.end(), {"ctrl-ring-ref", "event-channel-ctrl"});
        for (const std::string &name : numbers) {
            expected[name] = key(name);
            expect_number(name);
        }
        std::map<std::string, std::string> published;
        for (const std::string &name : sim::store::list(front_path))
            published[name] = key(name);
        EXPECT_EQ(published, expected);
    }

    static void expect_number(const std::string &name)
    {
        EXPECT_EQ(std::to_string(std::strtoul(key(name).c_str(), nullptr, 10)), key(name));
    }

    // Packets pass both ways as they are, with what was agreed on and nothing else.
    void expect_packets()
    {
        expect_traffic();
        netfront_packet blank{};
        blank.checksum_blank = true;
        const bool can_blank = features.send_checksum_ipv4 || features.send_checksum_ipv6;
        for (const size_t size : {14u, 15u, 1513u, 1514u, 4096u, 4097u, 65535u}) {
            backend->sent.clear();
            received.clear();
            const unsigned queue = size % features.queues;
            const bool fits = size <= 4096 || features.send_sg;
            EXPECT_EQ(send(packet(size), {}, queue), fits ? NETFRONT_SENT : NETFRONT_DROPPED);
            EXPECT_EQ(send(packet(60), blank, queue), can_blank ? NETFRONT_SENT : NETFRONT_DROPPED);
            ASSERT_TRUE(backend->deliver(packet(size, 2), 0, 0, {}, queue));
            settle();
            ASSERT_EQ(backend->sent.size(), size_t{fits} + can_blank);
            if (fits) {
                EXPECT_EQ(backend->sent.front(), packet(size));
            }
            ASSERT_EQ(received.size(), 1u);
            EXPECT_EQ(received.back(), packet(size, 2));
        }
    }
};

TEST_F(Matrix, EveryPairOfOffersConnects)
{
    std::vector<sim::Combination> rows = sim::pairwise(std::vector<unsigned>(rx_copy, 6));
    for (sim::Combination &row : rows) {
        row.push_back(2); // feature-rx-copy
        row.push_back(3); // mac
    }
    run_all(rows);
}

TEST_F(Matrix, EveryPairOfKeys)
{
    run_all(sim::pairwise(std::vector<unsigned>(std::size(offers), 6)));
}

} // namespace
} // namespace netfront_test
