// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Reads, writes and flushes; what is granted meanwhile; what is refused.
#include <algorithm>
#include <cstring>
#include <random>

#include "frontend.hpp"

namespace blktest {
namespace {

class Io : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        connect();
    }
};

TEST_F(Io, ReadChangesTheDeclaredSectorsAlone)
{
    Page page;
    std::memset(page.data, 0xee, 4096);
    EXPECT_EQ(request(BLKFRONT_READ, 9, {page.segment(2, 4)}), BLKFRONT_DONE);
    EXPECT_EQ(std::memcmp(page.data + 1024, &backend->disk[9 * 512], 3 * 512), 0);
    for (unsigned i = 0; i < 4096; ++i) {
        if (i < 1024 || i >= 2560) {
            ASSERT_EQ(page.data[i], 0xee) << i;
        }
    }
}

TEST_F(Io, WriteWritesTheDeclaredSectorsAlone)
{
    Page page;
    std::memset(page.data, 0xee, 4096);
    std::memset(page.data + 512, 0x55, 512);
    auto expected = backend->disk;
    std::memset(&expected[100 * 512], 0x55, 512);
    EXPECT_EQ(request(BLKFRONT_WRITE, 100, {page.segment(1, 1)}), BLKFRONT_DONE);
    EXPECT_EQ(backend->disk, expected);
}

// The machine frames of pages that are neighbours in memory are not neighbours here.
TEST_F(Io, Xsa229ElevenSegments)
{
    Page pages[11];
    std::vector<blkfront_segment> segments;
    unsigned sectors = 0;
    for (unsigned i = 0; i < 11; ++i) {
        std::memset(pages[i].data, 0xee, 4096);
        segments.push_back(pages[i].segment(i % 8, 7));
        sectors += 8 - i % 8;
    }
    EXPECT_EQ(request(BLKFRONT_READ, 1, segments), BLKFRONT_DONE);
    const uint8_t *disk_at = &backend->disk[512];
    for (unsigned i = 0; i < 11; ++i) {
        const unsigned skip = i % 8 * 512;
        EXPECT_TRUE(std::all_of(pages[i].data, pages[i].data + skip,
                                [](uint8_t byte) { return byte == 0xee; }));
        EXPECT_EQ(std::memcmp(pages[i].data + skip, disk_at, 4096 - skip), 0);
        disk_at += 4096 - skip;
    }
    EXPECT_EQ(disk_at, &backend->disk[(1 + sectors) * 512]);
}

// Pages that follow each other in memory do not in the machine: each segment is one page, named by
// its machine frame.
TEST_F(Io, Xsa229FramesAreTheMachines)
{
    backend->automatic = false;
    Page pages[4];
    std::vector<blkfront_segment> segments;
    bool scrambled = false;
    for (unsigned i = 0; i < 4; ++i) {
        std::memset(pages[i].data, static_cast<int>(i + 1), 4096);
        segments.push_back(pages[i].segment());
        const auto distance = (pages[i].data - pages[0].data) / 4096;
        scrambled |= segments[i].frame != segments[0].frame + static_cast<uint64_t>(distance);
    }
    ASSERT_TRUE(scrambled) << "or this shows nothing";
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, segments), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    ASSERT_EQ(request.segment_count, 4u);
    for (unsigned i = 0; i < 4; ++i) {
        uint8_t seen[4096];
        ASSERT_TRUE(backend->peer().read(request.segments[i].grant, 0, seen, sizeof(seen)));
        EXPECT_EQ(std::memcmp(seen, pages[i].data, sizeof(seen)), 0);
    }
    EXPECT_EQ(sim::grants_in_force(), 5u); // no page besides, and the ring
    backend->respond(backend->serve(request));
}

TEST_F(Io, LastSector)
{
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 2047, {page.segment(0, 0)}), BLKFRONT_DONE);
    EXPECT_EQ(submit(BLKFRONT_READ, 2047, {page.segment(0, 1)}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_READ, 2048, {page.segment(0, 0)}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_READ, UINT64_MAX, {page.segment(0, 0)}), -EINVAL);
}

TEST_F(Io, MalformedRequestsAreNotSent)
{
    Page page;
    const std::vector<blkfront_segment> twelve(12, page.segment());
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, twelve), -E2BIG); // than were offered
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment(3, 2)}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment(0, 8)}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {page.segment()}), -EINVAL);
    EXPECT_EQ(submit(static_cast<blkfront_operation>(2), 0, {page.segment()}), -EINVAL);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {{uint64_t{1} << 32, 0, 0, page.data}}), -ERANGE);
    EXPECT_EQ(sim::grants_in_force(), 1u); // the ring
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    expect_working();
}

// Only pages of requests in flight are granted, for writing only where the backend has to.
TEST_F(Io, GrantsAreThoseOfTheRequest)
{
    backend->automatic = false;
    Page around[5];
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, {around[1].segment(), around[3].segment(4, 4)}), 0);
    EXPECT_EQ(sim::grants_in_force(), 3u);
    Request request;
    ASSERT_TRUE(backend->take(request));
    for (unsigned i = 0; i < 2; ++i) {
        uint8_t byte = 0;
        EXPECT_TRUE(backend->peer().read(request.segments[i].grant, 0, &byte, 1));
        EXPECT_FALSE(backend->peer().write(request.segments[i].grant, 0, &byte, 1));
    }
    const auto response = backend->serve(request);
    backend->respond(response);
    EXPECT_EQ(sim::grants_in_force(), 1u);
    EXPECT_EQ(backend->peer().map(request.segments[0].grant), nullptr);
    EXPECT_EQ(kernel.completions.size(), 1u);
}

// Grants are gone when the kernel learns of the completion, not some time later.
TEST_F(Io, GrantsEndBeforeTheCompletion)
{
    unsigned at_completion = 99;
    kernel.on_complete = [&](auto &) { at_completion = sim::grants_in_force(); };
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(at_completion, 1u);
}

TEST_F(Io, RingFullOfRequestsAnsweredInAnyOrder)
{
    backend->automatic = false;
    Page pages[32];
    std::vector<Request> requests(32);
    for (unsigned i = 0; i < 32; ++i)
        ASSERT_EQ(submit(BLKFRONT_READ, i * 8, {pages[i].segment()}, &pages[i]), 0);
    EXPECT_EQ(blkfront_in_flight(disk), 32u);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, {pages[0].segment()}), -EBUSY);
    for (Request &request : requests)
        ASSERT_TRUE(backend->take(request));
    std::shuffle(requests.begin(), requests.end(), std::mt19937(1));
    for (const Request &request : requests) {
        backend->respond(backend->serve(request));
        EXPECT_EQ(kernel.completions.back().cookie, &pages[request.sector / 8]);
    }
    EXPECT_EQ(kernel.completions.size(), 32u);
    for (unsigned i = 0; i < 32; ++i)
        EXPECT_EQ(std::memcmp(pages[i].data, &backend->disk[i * 4096], 4096), 0);
}

// Indices wrap, slots are used again and again, several requests are under way all the time.
TEST_F(Io, ThousandsOfRequestsThatResubmit)
{
    std::mt19937 random(2);
    Page pages[20];
    auto expected = backend->disk;
    unsigned left = 5000;
    std::function<void(unsigned)> next = [&](unsigned i) {
        if (left == 0)
            return;
        --left;
        // Page i owns a piece of the disk of its own.
        const unsigned first = random() % 8, last = first + random() % (8 - first);
        const unsigned sector = i * 100 + random() % 90;
        const bool write = random() % 2;
        for (unsigned at = first * 512; write && at < (last + 1) * 512; ++at)
            pages[i].data[at] = static_cast<uint8_t>(random());
        if (write)
            std::memcpy(&expected[sector * 512], pages[i].data + first * 512,
                        (last - first + 1) * 512);
        ASSERT_EQ(submit(write ? BLKFRONT_WRITE : BLKFRONT_READ, sector,
                         {pages[i].segment(first, last)}, &pages[i]),
                  0);
    };
    kernel.on_complete = [&](const Kernel::Completion &done) {
        ASSERT_EQ(done.result, BLKFRONT_DONE);
        next(static_cast<unsigned>(static_cast<Page *>(done.cookie) - pages));
    };
    for (unsigned i = 0; i < 20; ++i)
        next(i);
    sim::run();
    EXPECT_EQ(kernel.completions.size(), 5000u);
    EXPECT_EQ(sim::delayed_events(), 0u); // the defence against storms
    EXPECT_EQ(backend->disk, expected);
    EXPECT_EQ(sim::grants_in_force(), 1u);
}

TEST_F(Io, BackendReportsAnError)
{
    backend->change = [](Response &response) { response.status = -1; };
    Page page;
    EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}), BLKFRONT_ERROR);
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_ERROR);
    backend->change = {};
    expect_working();
}

TEST_F(Io, Flush)
{
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
    EXPECT_EQ(backend->flushes, 1u);
}

// The backend offered it, and then cannot: that is not "done".
TEST_F(Io, FlushNotSupportedAfterAll)
{
    backend->change = [](Response &response) { response.status = -2; };
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_UNSUPPORTED);
    EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_UNSUPPORTED);
}

TEST_F(BlkfrontTest, FlushThatWasNotOfferedIsNotSent)
{
    backend->keys["feature-flush-cache"] = "0";
    connect();
    EXPECT_EQ(kernel.geometry.flush, BLKFRONT_NO_FLUSH);
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
    EXPECT_EQ(backend->flushes, 0u);
}

// Two requests, one event each way where the other end is still busy.
TEST_F(Io, NotifiesOnlyWhenAsked)
{
    backend->automatic = false;
    unsigned sends = 0;
    sim::filter_hypercalls([&](unsigned number, const unsigned long *arguments) {
        sends += number == 32 && arguments[0] == 4;
        return std::optional<long>();
    });
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    EXPECT_EQ(sends, 1u);
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    EXPECT_EQ(sends, 1u); // req_event still names the first one
}

} // namespace
} // namespace blktest
