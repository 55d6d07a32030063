// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Every key that the backend publishes: missing, malformed, out of range.
#include <sim/names.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

struct Row {
    const char *key;
    std::optional<std::string> value;
    bool accepted;
};

void PrintTo(const Row &row, std::ostream *out)
{
    *out << row.key << (row.value ? "=" + *row.value : " missing");
}

class Keys : public BlkfrontTest, public ::testing::WithParamInterface<Row> {};

TEST_P(Keys, Value)
{
    backend->keys[GetParam().key] = GetParam().value;
    if (GetParam().accepted) {
        connect();
        EXPECT_TRUE(sim::complaints().empty());
        if (kernel.geometry.sectors >= 16)
            expect_working();
        return;
    }
    backend->start();
    expect_broken(std::string("the backend's ") + GetParam().key + " ");
    EXPECT_EQ(kernel.ready, 0u);
}

const char *const malformed[] = {
    "",
    " ",
    "512 ",
    " 512",
    "+512",
    "-1",
    "0x200",
    "512\n",
    "5e2",
    "512.0",
    "abc",
    "1 2",
    "٣",
    "18446744073709551616",          // 2^64
    "99999999999999999999999999999", // far beyond
};

std::vector<Row> rows()
{
    std::vector<Row> rows = {
        {"sectors", {}, false},
        {"sectors", "0", true},
        {"sectors", "1", true},
        {"sectors", "18014398509481983", true},  // 2^54 - 1: bytes fit into 63 bits
        {"sectors", "18014398509481984", false}, // do not
        {"sectors", "36028797018963968", false}, // times 512 wraps to 0
        {"sectors", "18446744073709551615", false},
        {"sector-size", {}, false},
        {"sector-size", "0", false},
        {"sector-size", "1", false},
        {"sector-size", "256", false},
        {"sector-size", "511", false},
        {"sector-size", "513", false},
        {"sector-size", "1024", true},
        {"sector-size", "1536", false},
        {"sector-size", "2048", true},
        {"sector-size", "4096", true},
        {"sector-size", "8192", false},
        {"sector-size", "4294967808", false}, // 2^32 + 512
        {"physical-sector-size", {}, true},
        {"physical-sector-size", "0", false},
        {"physical-sector-size", "256", false},
        {"physical-sector-size", "4096", true},
        {"physical-sector-size", "1048576", true},
        {"physical-sector-size", "2097152", false},
        {"physical-sector-size", "1000", false},
        {"physical-sector-size", "4294971392", false}, // 2^32 + 4096
        {"info", {}, true},
        {"info", "7", true},
        {"info", "4294967295", true},
        {"info", "4294967296", false},
        {"feature-flush-cache", {}, true},
        {"feature-flush-cache", "0", true},
        {"feature-flush-cache", "2", false},
        {"feature-barrier", "1", true},
        {"feature-barrier", "2", false},
        {"feature-persistent", "1", true},
        {"feature-persistent", "4294967297", false},
        {"feature-max-indirect-segments", "0", true},
        {"feature-max-indirect-segments", "65536", true}, // 0 in 16 bits
        {"feature-max-indirect-segments", "18446744073709551615", true},
        {"max-ring-page-order", "64", true}, // as a shift
        {"max-ring-page-order", "18446744073709551615", true},
        {"max-ring-pages", "0", true},
        {"max-ring-pages", "18446744073709551615", true},
        {"multi-queue-max-queues", "0", true},
        {"multi-queue-max-queues", "18446744073709551615", true},
    };
    for (const char *key :
         {"sectors", "sector-size", "physical-sector-size", "info", "feature-flush-cache",
          "feature-barrier", "feature-persistent", "feature-max-indirect-segments",
          "max-ring-page-order", "max-ring-pages", "multi-queue-max-queues"})
        for (const char *text : malformed)
            rows.push_back({key, text, false});
    return rows;
}

INSTANTIATE_TEST_SUITE_P(All, Keys, ::testing::ValuesIn(rows()), sim::PrintedName());

// Combinations that make no sense.
TEST_F(BlkfrontTest, PhysicalSectorSmallerThanLogical)
{
    backend->keys["sector-size"] = "4096";
    backend->keys["physical-sector-size"] = "512";
    backend->start();
    expect_broken("physical-sector-size");
}

TEST_F(BlkfrontTest, SizeIsNotAMultipleOfTheSectorSize)
{
    backend->keys["sector-size"] = "4096";
    backend->keys["sectors"] = "2047";
    backend->start();
    expect_broken("sectors");
}

// What a backend writes does not reach the log as it is.
TEST_F(BlkfrontTest, UnprintableValueInTheLog)
{
    backend->keys["sectors"] = "1\x1b[2J\n";
    backend->start();
    expect_broken("sectors is \"1?[2J?\"");
}

TEST_F(BlkfrontTest, ValueTooLongForTheClient)
{
    backend->keys["sectors"] = std::string(2000, '1');
    backend->start();
    expect_broken("sectors");
}

} // namespace
} // namespace blktest
