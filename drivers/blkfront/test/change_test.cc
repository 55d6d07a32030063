// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A connected disk that changes: the backend writes other keys, then its state once more
// (public/io/blkif.h; Linux's backend does so when the device behind it grows).
#include "buffer.hpp"

namespace blktest {
namespace {

class Change : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        connect();
    }

    // Writes keys as they are, without touching what the backend really does.
    void change(const std::map<std::string, std::optional<std::string>> &keys)
    {
        for (const auto &[key, value] : keys)
            if (value)
                sim::store::write(backend_dir + "/" + key, *value);
            else
                sim::store::remove(backend_dir + "/" + key);
        backend->set_state(4);
        pump();
    }

    int read_at(uint64_t sector)
    {
        Page page;
        const int result = submit(BLKFRONT_READ, sector, {page.segment(0, 0)});
        sim::run();
        return result;
    }
};

TEST_F(Change, Grows)
{
    EXPECT_EQ(read_at(2048), -EINVAL);
    backend->resize(4096);
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    EXPECT_EQ(kernel.geometry.sectors, 4096u);
    EXPECT_EQ(read_at(4095), 0);
    EXPECT_EQ(read_at(4096), -EINVAL);
    EXPECT_EQ(kernel.completions.back().result, BLKFRONT_DONE);
    EXPECT_EQ(kernel.paused, 0u) << "nothing has to wait";
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

TEST_F(Change, Shrinks)
{
    backend->resize(1000);
    pump();
    EXPECT_EQ(kernel.geometry.sectors, 1000u);
    EXPECT_EQ(read_at(999), 0);
    EXPECT_EQ(read_at(1000), -EINVAL);
    EXPECT_EQ(read_at(2047), -EINVAL);
    backend->resize(0);
    pump();
    EXPECT_EQ(read_at(0), -EINVAL);
    backend->resize(8);
    pump();
    EXPECT_EQ(read_at(7), 0);
    EXPECT_EQ(kernel.ready, 4u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Change, UnderLoad)
{
    backend->automatic = false;
    Page pages[8];
    for (Page &page : pages)
        ASSERT_EQ(submit(BLKFRONT_READ, 2040, {page.segment()}, &page), 0);
    backend->resize(2044); // those cannot be served any more
    pump();
    EXPECT_EQ(kernel.completions.size(), 0u);
    EXPECT_EQ(blkfront_in_flight(disk), 8u);
    backend->serve_queue(0);
    ASSERT_EQ(kernel.completions.size(), 8u);
    for (const auto &done : kernel.completions)
        EXPECT_EQ(done.result, BLKFRONT_ERROR);
    backend->automatic = true;
    expect_working();
}

// The kernel may do I/O as soon as it is told, as for reading the partitions.
TEST_F(Change, IoWhenItIsTold)
{
    int result = -1;
    Page page;
    kernel.on_ready = [&] { result = submit(BLKFRONT_READ, 4095, {page.segment(0, 0)}); };
    backend->resize(4096);
    pump();
    EXPECT_EQ(result, 0);
    EXPECT_EQ(kernel.completions.size(), 1u);
}

TEST_F(Change, ReadOnlyAndBack)
{
    Page page;
    for (unsigned i = 0; i < 3; ++i) {
        backend->keys["info"] = "4";
        backend->republish();
        pump();
        EXPECT_TRUE(kernel.geometry.read_only);
        EXPECT_EQ(submit(BLKFRONT_WRITE, 0, {page.segment()}), -EACCES);
        expect_working();
        backend->keys["info"] = "0";
        backend->republish();
        pump();
        EXPECT_FALSE(kernel.geometry.read_only);
        EXPECT_EQ(request(BLKFRONT_WRITE, 0, {page.segment()}), BLKFRONT_DONE);
    }
    EXPECT_EQ(kernel.ready, 7u);
}

// The state alone, as it was, is no event for anybody; but it may be told again.
TEST_F(Change, NothingChanges)
{
    for (unsigned i = 0; i < 10; ++i)
        change({});
    EXPECT_EQ(kernel.geometry.sectors, 2048u);
    EXPECT_EQ(kernel.paused, 0u);
    EXPECT_TRUE(sim::complaints().empty());
    EXPECT_EQ(sim::grants_in_force(), 1u);
    expect_working();
}

TEST_F(Change, PhysicalSectorsAndDiscard)
{
    backend->keys["physical-sector-size"] = "4096";
    backend->keys["feature-discard"] = "1";
    backend->keys["discard-granularity"] = "8192";
    backend->republish();
    pump();
    EXPECT_EQ(kernel.geometry.physical_sector_size, 4096u);
    EXPECT_EQ(kernel.geometry.discard_granularity, 8192u);
    EXPECT_EQ(request(BLKFRONT_DISCARD, 0, {}, {.sectors = 16}), BLKFRONT_DONE);
    expect_working();
}

// What was agreed on for the rings stays: segments, queues, grants.
TEST_F(Change, WhatTheRingsAreMadeForStays)
{
    backend->keys["feature-max-indirect-segments"] = "64";
    backend->keys["feature-persistent"] = "1";
    backend->keys["max-ring-page-order"] = "2";
    backend->keys["multi-queue-max-queues"] = "4";
    backend->resize(4096);
    pump();
    EXPECT_EQ(kernel.geometry.queues, 1u);
    EXPECT_EQ(kernel.geometry.ring_pages, 1u);
    EXPECT_FALSE(kernel.geometry.persistent_grants);
    EXPECT_EQ(kernel.geometry.segments, 11u);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, Buffer(12).segments()), -E2BIG);
    expect_transport(1, 1);
    expect_working();
    EXPECT_EQ(sim::grants_in_force(), 1u);
}

// ---- what cannot be ----

struct Bad {
    const char *name, *key;
    std::optional<std::string> value;
};
void PrintTo(const Bad &bad, std::ostream *out) { *out << bad.name; }

class BadChange : public Change, public ::testing::WithParamInterface<Bad> {};

// The disk stays what it was, and works; one line says why. What is right later is taken.
TEST_P(BadChange, KeepsTheOldDisk)
{
    change({{GetParam().key, GetParam().value}});
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find(GetParam().key), std::string::npos);
    EXPECT_EQ(kernel.geometry.sectors, 2048u);
    EXPECT_EQ(kernel.geometry.sector_size, 512u);
    EXPECT_FALSE(kernel.geometry.read_only);
    EXPECT_EQ(backend->frontend_state(), 4u);
    EXPECT_EQ(kernel.failed + kernel.paused, 0u);
    EXPECT_EQ(read_at(2047), 0);
    EXPECT_EQ(read_at(2048), -EINVAL);
    expect_working();
    Page page;
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);

    if (!backend->keys.contains(GetParam().key))
        backend->keys[GetParam().key] = {};
    backend->resize(3000);
    pump();
    EXPECT_EQ(kernel.geometry.sectors, 3000u);
    EXPECT_EQ(read_at(2999), 0);
}

INSTANTIATE_TEST_SUITE_P(All, BadChange,
                         ::testing::Values(Bad{"no_sectors", "sectors", {}},
                                           Bad{"text", "sectors", "many"},
                                           Bad{"huge", "sectors", "18446744073709551615"},
                                           Bad{"too_large", "sectors", "18014398509481984"},
                                           Bad{"no_sector_size", "sector-size", {}},
                                           Bad{"odd_sector_size", "sector-size", "513"},
                                           Bad{"sector_size_0", "sector-size", "0"},
                                           Bad{"physical", "physical-sector-size", "3"},
                                           Bad{"info", "info", "read-only"},
                                           Bad{"flush", "feature-flush-cache", "7"},
                                           Bad{"barrier", "feature-barrier", "7"}),
                         [](const auto &info) { return std::string(info.param.name); });

// Sectors of another size under a file system: not while somebody uses the disk.
TEST_F(Change, SectorSizeInUse)
{
    kernel.in_use = true;
    change({{"sector-size", "4096"}});
    EXPECT_EQ(kernel.geometry.sector_size, 512u);
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find("sector-size"), std::string::npos);
    EXPECT_EQ(backend->frontend_state(), 4u);
    expect_working();
}

TEST_F(Change, SectorSizeUnused)
{
    change({{"sector-size", "4096"}});
    EXPECT_EQ(kernel.geometry.sector_size, 4096u);
    EXPECT_EQ(kernel.geometry.physical_sector_size, 4096u);
    expect_working();
    change({{"sector-size", "512"}});
    EXPECT_EQ(kernel.geometry.sector_size, 512u);
    EXPECT_TRUE(sim::complaints().empty());
}

// The same of a backend that comes back with other sectors.
TEST_F(Change, SectorSizeOfTheNextBackend)
{
    kernel.in_use = true;
    backend->keys["sector-size"] = "2048";
    backend->vanish();
    backend->start();
    pump();
    EXPECT_EQ(kernel.ready, 1u);
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find("sector-size"), std::string::npos);
    Page page;
    EXPECT_LT(submit(BLKFRONT_READ, 0, {page.segment()}), 0);

    kernel.in_use = false;
    replace_backend();
    EXPECT_EQ(kernel.geometry.sector_size, 2048u);
    expect_working();
}

// One that changes all the time is slow for itself alone.
TEST_F(Change, Often)
{
    for (unsigned i = 1; i <= 200; ++i) {
        backend->resize(8 * i);
        if (i % 3 == 0)
            pump();
    }
    pump();
    EXPECT_EQ(kernel.geometry.sectors, 1600u);
    expect_working();
}

} // namespace
} // namespace blktest
