// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The negotiation matrix (public/io/netif.h): whatever a backend offers, in every pair of values,
// the device connects with what it can do, or refuses with one line. A feature that the frontend
// learns adds its keys to what expect_claims() and expect_packets() know.
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
    {"mtu", {nullptr, "0", "1", "9000", "65536", "1500 "}},
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

    void offer(const sim::Combination &row)
    {
        prepare();
        sim::store::remove(front_path + "/mac");
        sim::store::remove(back_path + "/feature-rx-copy");
        for (size_t key = 0; key < row.size(); key++)
            if (value(row, key) != nullptr)
                sim::store::write((key == mac_key ? front_path : back_path) + "/" +
                                      offers[key].name,
                                  value(row, key));
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

    // What the frontend published is what it can do, and all that it published.
    static void expect_claims()
    {
        std::map<std::string, std::string> expected{
            {"request-rx-copy", "1"},
            {"feature-rx-notify", "1"},
            {"feature-sg", "0"},
            {"feature-gso-tcpv4", "0"},
            {"feature-gso-tcpv6", "0"},
            {"feature-no-csum-offload", "1"},
            {"feature-ipv6-csum-offload", "0"},
        };
        const std::string toolstack[] = {"backend", "backend-id", "handle", "mac", "state"};
        const std::string connection[] = {"tx-ring-ref", "rx-ring-ref", "event-channel"};
        for (const std::string &name : toolstack)
            expected[name] = key(name);
        for (const std::string &name : connection) {
            expected[name] = key(name);
            EXPECT_EQ(std::to_string(std::strtoul(key(name).c_str(), nullptr, 10)), key(name));
        }
        std::map<std::string, std::string> published;
        for (const std::string &name : sim::store::list(front_path))
            published[name] = key(name);
        EXPECT_EQ(published, expected);
    }

    // Packets pass both ways as they are, each in one slot and without flags (the backend looks).
    void expect_packets()
    {
        expect_traffic();
        backend->sent.clear();
        received.clear();
        for (const size_t size : {14u, 15u, 60u, 1513u, 1514u}) {
            ASSERT_EQ(send(packet(size)), NETFRONT_SENT);
            ASSERT_TRUE(backend->deliver(packet(size, 2)));
            settle();
            EXPECT_EQ(backend->sent.back(), packet(size));
            EXPECT_EQ(received.back(), packet(size, 2));
        }
        EXPECT_EQ(backend->sent.size(), 5u);
        EXPECT_EQ(received.size(), 5u);
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
