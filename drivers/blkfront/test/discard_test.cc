// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Discards (public/io/blkif.h, feature-discard): what is offered, and what goes over the ring.
#include <sim/names.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

using Keys = std::map<std::string, std::optional<std::string>>;

class Discards : public BlkfrontTest {
protected:
    void connect_with(const Keys &more)
    {
        backend->keys["feature-discard"] = "1";
        for (const auto &[key, value] : more)
            backend->keys[key] = value;
        connect();
    }

    int discard(uint64_t sector, uint64_t sectors, blkfront_operation operation = BLKFRONT_DISCARD)
    {
        return submit(operation, sector, {}, nullptr, {.sectors = sectors});
    }
};

struct Row {
    const char *name;
    Keys keys;
    uint32_t granularity, alignment;
    bool secure;
};
void PrintTo(const Row &row, std::ostream *out) { *out << row.name; }

class DiscardOffers : public Discards, public ::testing::WithParamInterface<Row> {};

TEST_P(DiscardOffers, Geometry)
{
    connect_with(GetParam().keys);
    EXPECT_EQ(kernel.geometry.discard_granularity, GetParam().granularity);
    EXPECT_EQ(kernel.geometry.discard_alignment, GetParam().alignment);
    EXPECT_EQ(kernel.geometry.secure_discard, GetParam().secure);
    const bool any = GetParam().granularity > 0;
    EXPECT_EQ(discard(0, 64), any ? 0 : -EOPNOTSUPP);
    EXPECT_EQ(discard(64, 64, BLKFRONT_SECURE_DISCARD), GetParam().secure ? 0 : -EOPNOTSUPP);
    sim::run();
    EXPECT_EQ(backend->discards, any ? 1u : 0u);
    EXPECT_EQ(backend->secure_discards, GetParam().secure ? 1u : 0u);
    EXPECT_TRUE(sim::complaints().empty());
    expect_working();
}

INSTANTIATE_TEST_SUITE_P(
    All, DiscardOffers,
    ::testing::Values(Row{"alone", {}, 512, 0, false},
                      Row{"none", {{"feature-discard", {}}}, 0, 0, false},
                      Row{"zero", {{"feature-discard", "0"}, {"discard-secure", "1"}}, 0, 0, false},
                      Row{"granularity", {{"discard-granularity", "4096"}}, 4096, 0, false},
                      Row{"granularity_and_alignment",
                          {{"discard-granularity", "65536"}, {"discard-alignment", "4096"}},
                          65536,
                          4096,
                          false},
                      Row{"secure", {{"discard-secure", "1"}}, 512, 0, true},
                      Row{"not_secure", {{"discard-secure", "0"}}, 512, 0, false},
                      Row{"large_sectors", {{"sector-size", "4096"}}, 4096, 0, false},
                      Row{"everything",
                          {{"discard-granularity", "1048576"},
                           {"discard-alignment", "524288"},
                           {"discard-secure", "1"}},
                          1048576,
                          524288,
                          true}),
    [](const auto &info) { return std::string(info.param.name); });

// Keys that cannot be: the disk works, without discard, and says why in one line.
struct BadKey {
    const char *key, *value;
};
void PrintTo(const BadKey &bad, std::ostream *out) { *out << bad.key << "=" << bad.value; }

class BadDiscardKeys : public Discards, public ::testing::WithParamInterface<BadKey> {};

TEST_P(BadDiscardKeys, MeanNoDiscard)
{
    const auto [key, value] = GetParam();
    connect_with({{key, value}});
    EXPECT_EQ(kernel.geometry.discard_granularity, 0u);
    EXPECT_FALSE(kernel.geometry.secure_discard);
    EXPECT_EQ(discard(0, 8), -EOPNOTSUPP);
    EXPECT_EQ(discard(0, 8, BLKFRONT_SECURE_DISCARD), -EOPNOTSUPP);
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find(std::string("the backend's ") + key), std::string::npos);
    expect_working();
}

INSTANTIATE_TEST_SUITE_P(All, BadDiscardKeys,
                         ::testing::ValuesIn(std::vector<BadKey>{
                             {"feature-discard", "2"},
                             {"feature-discard", "yes"},
                             {"feature-discard", ""},
                             {"discard-granularity", "0"},
                             {"discard-granularity", "256"},
                             {"discard-granularity", "1000"},
                             {"discard-granularity", "1536"},
                             {"discard-granularity", "4294967296"},
                             {"discard-granularity", "18446744073709551615"},
                             {"discard-granularity", "4k"},
                             {"discard-alignment", "512"}, // with a granularity of 512
                             {"discard-alignment", "100"},
                             {"discard-alignment", "18446744073709551616"},
                             {"discard-alignment", "-512"},
                             {"discard-secure", "2"},
                             {"discard-secure", "true"},
                         }),
                         sim::PrintedName());

TEST_F(Discards, TheWire)
{
    connect_with({{"discard-secure", "1"}});
    backend->automatic = false;
    ASSERT_EQ(discard(100, 1948), 0);
    ASSERT_EQ(discard(2047, 1, BLKFRONT_SECURE_DISCARD), 0);
    Request request;
    for (const bool secure : {false, true}) {
        ASSERT_TRUE(backend->take(request));
        const auto wire = request.as<Discard>();
        EXPECT_EQ(wire.operation, op_discard);
        EXPECT_EQ(wire.flags, secure ? 1u : 0u);
        EXPECT_EQ(wire.handle, disk_number);
        EXPECT_EQ(wire.pad, 0u);
        EXPECT_EQ(wire.sector, secure ? 2047u : 100u);
        EXPECT_EQ(wire.sectors, secure ? 1u : 1948u);
        backend->respond(backend->serve(request));
    }
    EXPECT_EQ(kernel.completions.size(), 2u);
    EXPECT_EQ(sim::grants_in_force(), 1u);
}

// Whole units in the range are gone, what is beside them is not.
TEST_F(Discards, ContentOfTheUnits)
{
    connect_with({{"discard-granularity", "4096"}, {"discard-alignment", "1024"}});
    auto expected = backend->disk;
    ASSERT_EQ(discard(5, 30), 0); // units begin at 2, 10, 18, 26, 34
    sim::run();
    std::memset(&expected[10 * 512], 0, 3 * 4096);
    EXPECT_EQ(backend->disk, expected);
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 10, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(std::count(page.data, page.data + 4096, 0), 4096);
}

TEST_F(Discards, MalformedAreNotSent)
{
    connect_with({{"discard-secure", "1"}});
    Page page;
    for (const auto operation : {BLKFRONT_DISCARD, BLKFRONT_SECURE_DISCARD}) {
        EXPECT_EQ(discard(0, 0, operation), -EINVAL);
        EXPECT_EQ(discard(2048, 1, operation), -EINVAL);
        EXPECT_EQ(discard(2047, 2, operation), -EINVAL);
        EXPECT_EQ(discard(1, UINT64_MAX, operation), -EINVAL);
        EXPECT_EQ(discard(UINT64_MAX, 2, operation), -EINVAL);
        EXPECT_EQ(submit(operation, 0, {page.segment()}, nullptr, {.sectors = 8}), -EINVAL);
    }
    sim::run();
    EXPECT_EQ(backend->discards + backend->secure_discards, 0u);
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    expect_working();
}

TEST_F(Discards, NotOnAReadOnlyDisk)
{
    connect_with({{"info", "4"}});
    EXPECT_EQ(discard(0, 8), -EACCES);
}

TEST_F(Discards, HowTheyEnd)
{
    connect_with({});
    for (const auto &[status, result] :
         {std::pair{status_okay, BLKFRONT_DONE}, std::pair{status_error, BLKFRONT_ERROR},
          std::pair{status_not_supported, BLKFRONT_UNSUPPORTED}}) {
        backend->change = [status](Response &response) { response.status = status; };
        EXPECT_EQ(request(BLKFRONT_DISCARD, 0, {}, {.sectors = 8}), result);
    }
    backend->change = {};
    expect_working();
}

TEST_F(Discards, Xsa376OtherOperationInTheAnswer)
{
    connect_with({});
    backend->change = [](Response &response) { response.operation = op_write; };
    ASSERT_EQ(discard(0, 8), 0);
    expect_broken("operation is 1");
}

} // namespace
} // namespace blktest
