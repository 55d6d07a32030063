// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Flushes in the ways that backends know, and what is on stable storage after them
// (public/io/blkif.h, feature-flush-cache, feature-barrier).
#include "buffer.hpp"

namespace blktest {
namespace {

struct Kind {
    const char *name;
    std::optional<std::string> flush, barrier;
    blkfront_flush agreed;
};
void PrintTo(const Kind &kind, std::ostream *out) { *out << kind.name; }

class Flush : public BlkfrontTest, public ::testing::WithParamInterface<Kind> {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        backend->keys["feature-flush-cache"] = GetParam().flush;
        backend->keys["feature-barrier"] = GetParam().barrier;
        connect();
        ASSERT_EQ(kernel.geometry.flush, GetParam().agreed);
    }

    bool any() const { return GetParam().agreed != BLKFRONT_NO_FLUSH; }
};

TEST_P(Flush, IsWhatWasOffered)
{
    if (!any()) {
        EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
    } else {
        EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
    }
    EXPECT_EQ(backend->flushes, GetParam().agreed == BLKFRONT_FLUSH_CACHE ? 1u : 0u);
    EXPECT_EQ(backend->barriers, GetParam().agreed == BLKFRONT_BARRIER ? 1u : 0u);
}

TEST_P(Flush, WhatWasWrittenBeforeItIsThereAfterPowerLoss)
{
    Buffer before(4), after(4);
    before.number(1);
    after.number(2);
    const auto old = backend->disk;
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, before.segments()), BLKFRONT_DONE);
    if (any()) {
        EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
    }
    EXPECT_EQ(request(BLKFRONT_WRITE, 64, after.segments()), BLKFRONT_DONE);
    backend->lose_power([](uint64_t) { return false; });
    EXPECT_TRUE(before.holds(&backend->disk[0]));
    // Without a flush to ask for there is no cache that loses anything.
    EXPECT_EQ(std::memcmp(&backend->disk[64 * 512], &old[64 * 512], 4 * 4096) == 0, any());
}

TEST_P(Flush, RefusedIsNeverDone)
{
    if (!any())
        return;
    backend->change = [](Response &response) { response.status = status_not_supported; };
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_UNSUPPORTED);
    backend->change = [](Response &response) { response.status = status_error; };
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_ERROR);
    EXPECT_EQ(statistics().errors, 4u);
    backend->change = {};
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
    EXPECT_TRUE(sim::complaints().empty());
}

// One that was in flight when the backend went is not done either.
TEST_P(Flush, InterruptedIsNeverDone)
{
    if (!any())
        return;
    backend->automatic = false;
    ASSERT_EQ(submit(BLKFRONT_FLUSH, 0, {}), 0);
    replace_backend();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_INTERRUPTED);
}

TEST_P(Flush, CarriesNoData)
{
    if (!any())
        return;
    backend->automatic = false;
    Page page;
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {page.segment()}), -EINVAL);
    ASSERT_EQ(submit(BLKFRONT_FLUSH, 77, {}), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    EXPECT_EQ(request.operation, GetParam().agreed == BLKFRONT_BARRIER ? op_barrier : op_flush);
    EXPECT_EQ(request.segment_count, 0u);
    EXPECT_EQ(request.sector, 0u); // whatever the kernel says
    EXPECT_EQ(request.handle, disk_number);
    backend->respond(backend->serve(request));
    EXPECT_EQ(kernel.completions.size(), 1u);
}

// What the backend offers after it came back may be another way, or none.
TEST_P(Flush, ChangesWithTheBackend)
{
    backend->keys["feature-flush-cache"] = {};
    backend->keys["feature-barrier"] = "1";
    replace_backend();
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
    backend->keys["feature-barrier"] = {};
    replace_backend();
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
    backend->keys["feature-flush-cache"] = "1";
    replace_backend();
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
}

INSTANTIATE_TEST_SUITE_P(All, Flush,
                         ::testing::Values(Kind{"none", {}, {}, BLKFRONT_NO_FLUSH},
                                           Kind{"zeroes", "0", "0", BLKFRONT_NO_FLUSH},
                                           Kind{"cache", "1", {}, BLKFRONT_FLUSH_CACHE},
                                           Kind{"cache_not_barrier", "1", "0",
                                                BLKFRONT_FLUSH_CACHE},
                                           Kind{"barrier", {}, "1", BLKFRONT_BARRIER},
                                           Kind{"barrier_not_cache", "0", "1", BLKFRONT_BARRIER},
                                           Kind{"both", "1", "1", BLKFRONT_FLUSH_CACHE}),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace
} // namespace blktest
