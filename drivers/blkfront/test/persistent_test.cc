// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Persistent grants (public/io/blkif.h, feature-persistent): data goes through pages of the
// frontend's own that stay granted and that the backend keeps mapped.
#include <sim/access.hpp>
#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

constexpr uint8_t secret = 0xa5;

class Persistent : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        backend->keys["feature-persistent"] = "1";
    }

    void connect_persistent()
    {
        connect();
        ASSERT_TRUE(kernel.geometry.persistent_grants);
        ASSERT_TRUE(backend->persistent());
    }

    // Two rounds of ageing, and one that takes back.
    void age()
    {
        for (unsigned i = 0; i < 3; ++i)
            blkfront_age(disk);
    }

    // How many of these bytes the backend can read, in all that is granted but the ring.
    unsigned seen(uint8_t byte)
    {
        unsigned count = 0;
        const auto ring = std::stoul(sim::store::read(frontend_dir + "/ring-ref").value_or("0"));
        for (uint32_t grant = 0; grant < 16 * 512; ++grant) {
            uint8_t *page = grant == ring ? nullptr : backend->peer().map(grant, false);
            if (!page)
                continue;
            count += static_cast<unsigned>(std::count(page, page + 4096, byte));
            backend->peer().unmap(page);
        }
        return count;
    }
};

TEST_F(Persistent, Works)
{
    backend->keys["feature-max-indirect-segments"] = "64";
    connect_persistent();
    EXPECT_EQ(sim::store::read(frontend_dir + "/feature-persistent"), "1");
    for (const unsigned count : {1u, 11u, 12u, 64u}) {
        SCOPED_TRACE(count);
        Buffer out(count, {{0, 7}, {1, 4}, {7, 7}}), in(count, {{0, 7}, {2, 5}, {0, 0}});
        out.fill(secret);
        in.fill(secret);
        out.number(count);
        auto expected = backend->disk;
        ASSERT_EQ(request(BLKFRONT_WRITE, 100, out.segments()), BLKFRONT_DONE);
        EXPECT_TRUE(out.holds(&backend->disk[100 * 512]));
        std::copy_n(&backend->disk[100 * 512], out.bytes(), &expected[100 * 512]);
        EXPECT_TRUE(backend->disk == expected);
        ASSERT_EQ(request(BLKFRONT_READ, 100, in.segments()), BLKFRONT_DONE);
        EXPECT_TRUE(in.holds(&backend->disk[100 * 512]));
        EXPECT_TRUE(in.surrounded_by(secret));
        EXPECT_EQ(sim::leaked(), "");
    }
    EXPECT_TRUE(sim::complaints().empty());
}

struct Sides {
    const char *name;
    std::optional<std::string> offered;
    bool wished;
};
void PrintTo(const Sides &sides, std::ostream *out) { *out << sides.name; }

class OneSide : public Persistent, public ::testing::WithParamInterface<Sides> {};

// With one side alone nothing persists, and the backend is not told that anything would.
TEST_P(OneSide, IsNotEnough)
{
    backend->keys["feature-persistent"] = GetParam().offered;
    kernel.wishes.persistent_grants = GetParam().wished;
    connect();
    EXPECT_FALSE(kernel.geometry.persistent_grants);
    EXPECT_FALSE(backend->persistent());
    if (!GetParam().wished) {
        EXPECT_NE(sim::store::read(frontend_dir + "/feature-persistent"), "1");
    }
    for (unsigned i = 0; i < 10; ++i)
        expect_working();
    EXPECT_EQ(statistics().persistent_hits, 0u);
    EXPECT_EQ(sim::grants_in_force(), 1u);
}

INSTANTIATE_TEST_SUITE_P(All, OneSide,
                         ::testing::Values(Sides{"neither", {}, false}, Sides{"frontend", {}, true},
                                           Sides{"frontend_refused", "0", true},
                                           Sides{"backend", "1", false}),
                         [](const auto &info) { return std::string(info.param.name); });

// One at a time: the page that was used last is used again.
TEST_F(Persistent, GrantsAreUsedAgain)
{
    connect_persistent();
    Page page;
    for (unsigned i = 0; i < 200; ++i)
        ASSERT_EQ(request(i % 2 ? BLKFRONT_WRITE : BLKFRONT_READ, i, {page.segment(i % 8, 7)}),
                  BLKFRONT_DONE);
    EXPECT_EQ(backend->kept(), 1u);
    EXPECT_EQ(sim::grants_in_force(), 2u);
    EXPECT_EQ(statistics().persistent_hits, 199u);
    EXPECT_EQ(statistics().persistent, 1u);
}

// As many as are in use at once, not as many as there are requests.
TEST_F(Persistent, AsManyAsAreInFlight)
{
    connect_persistent();
    for (unsigned round = 0; round < 10; ++round) {
        backend->automatic = false;
        Buffer buffers[4] = {Buffer(11), Buffer(5), Buffer(1), Buffer(7)};
        for (Buffer &buffer : buffers)
            ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
        EXPECT_EQ(statistics().persistent, 0u); // all are in use
        backend->serve_queue(0);
        EXPECT_EQ(backend->kept(), 24u);
        EXPECT_EQ(statistics().persistent, 24u);
    }
    EXPECT_EQ(sim::grants_in_force(), 25u);
    EXPECT_EQ(statistics().persistent_hits, 9u * 24);
}

// The backend maps for writing, also what it reads: the next request may be another.
TEST_F(Persistent, MappedForWritingAlways)
{
    connect_persistent();
    Page page;
    ASSERT_EQ(request(BLKFRONT_WRITE, 0, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(request(BLKFRONT_READ, 16, {page.segment()}), BLKFRONT_DONE);
    EXPECT_EQ(std::memcmp(page.data, &backend->disk[16 * 512], 4096), 0);
    EXPECT_EQ(backend->kept(), 1u);
}

// What the backend lets go of is taken back when it is used next, or when it gets old.
TEST_F(Persistent, BackendThatLetsGo)
{
    connect_persistent();
    Buffer buffer(8);
    ASSERT_EQ(request(BLKFRONT_READ, 0, buffer.segments()), BLKFRONT_DONE);
    EXPECT_EQ(backend->kept(), 8u);
    backend->let_go(5);
    for (unsigned i = 0; i < 20; ++i)
        ASSERT_EQ(request(BLKFRONT_WRITE, i, buffer.segments()), BLKFRONT_DONE);
    backend->let_go(8);
    expect_working();
    backend->let_go(8);
    age();
    EXPECT_EQ(sim::grants_in_force(), 1u);
    EXPECT_EQ(statistics().persistent, 0u);
    expect_working();
    EXPECT_TRUE(sim::complaints().empty());
}

// A backend that keeps fewer than are in use, or none at all.
TEST_F(Persistent, BackendThatKeepsFew)
{
    for (const unsigned few : {0u, 1u, 3u}) {
        SCOPED_TRACE(few);
        backend->keep_at_most = few;
        if (few == 0)
            connect_persistent();
        else
            replace_backend();
        Buffer buffer(8);
        for (unsigned i = 0; i < 20; ++i) {
            buffer.number(i);
            ASSERT_EQ(request(BLKFRONT_WRITE, i, buffer.segments()), BLKFRONT_DONE);
            EXPECT_TRUE(buffer.holds(&backend->disk[i * 512]));
        }
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_LE(sim::grants_in_force(), 1 + few);
    }
}

// Only what is idle gets old, and only what the backend let go of can be taken back.
TEST_F(Persistent, Ageing)
{
    connect_persistent();
    Buffer many(10);
    ASSERT_EQ(request(BLKFRONT_READ, 0, many.segments()), BLKFRONT_DONE);
    age();
    EXPECT_EQ(sim::grants_in_force(), 11u) << "the backend has them mapped";
    EXPECT_TRUE(sim::complaints().empty());

    // One page is used all the time. Those of the others that the backend gives up go.
    Page page;
    for (unsigned i = 0; i < 6; ++i) {
        ASSERT_EQ(request(BLKFRONT_READ, 0, {page.segment()}), BLKFRONT_DONE);
        backend->let_go(2); // of the least recently used
        blkfront_age(disk);
    }
    EXPECT_EQ(sim::grants_in_force(), 2u);
    EXPECT_EQ(statistics().persistent, 1u);
    expect_working();
}

TEST_F(Persistent, NothingInFlightGetsOld)
{
    connect_persistent();
    Page page;
    ASSERT_EQ(request(BLKFRONT_READ, 0, {page.segment()}), BLKFRONT_DONE);
    backend->automatic = false;
    ASSERT_EQ(submit(BLKFRONT_READ, 8, {page.segment()}), 0);
    backend->let_go(1);
    for (unsigned i = 0; i < 10; ++i)
        blkfront_age(disk);
    EXPECT_EQ(sim::grants_in_force(), 2u);
    backend->serve_queue(0);
    ASSERT_EQ(kernel.completions.size(), 2u);
    EXPECT_EQ(std::memcmp(page.data, &backend->disk[8 * 512], 4096), 0);
}

// Their number has a bound: what is more waits, and is no error.
TEST_F(Persistent, NoMoreThanThereAre)
{
    backend->keys["max-ring-page-order"] = "4";
    connect_persistent();
    backend->automatic = false;
    Buffer buffer(11);
    unsigned requests = 0;
    int result;
    while ((result = submit(BLKFRONT_READ, 0, buffer.segments())) == 0)
        ++requests;
    EXPECT_EQ(result, -EBUSY);
    EXPECT_GE(requests, 10u);
    EXPECT_LE(sim::grants_in_force(), 16u + 1024);
    backend->automatic = true;
    backend->serve_queue(0);
    EXPECT_EQ(kernel.completions.size(), requests);
    expect_working();
}

// ---- what a backend sees and does ----

// A page of the kernel's is never granted, so nothing that the backend does to it later matters.
TEST_F(Persistent, Xsa403KernelsPagesAreNeverGranted)
{
    connect_persistent();
    Page read, written;
    ASSERT_EQ(request(BLKFRONT_READ, 0, {read.segment()}), BLKFRONT_DONE);
    std::memset(written.data, 0x44, 4096);
    ASSERT_EQ(request(BLKFRONT_WRITE, 8, {written.segment()}), BLKFRONT_DONE);
    for (uint32_t grant = 0; grant < 16 * 512; ++grant) {
        uint8_t *page = backend->peer().map(grant);
        if (!page || page == backend->ring_page())
            continue;
        if (sim::store::read(frontend_dir + "/ring-ref") != std::to_string(grant))
            std::memset(page, 0x77, 4096);
        backend->peer().unmap(page);
    }
    EXPECT_EQ(std::memcmp(read.data, &backend->disk[0], 4096), 0);
    EXPECT_EQ(std::count(written.data, written.data + 4096, 0x44), 4096);
    // Not the scribbles either, when the pages are used again.
    ASSERT_EQ(request(BLKFRONT_READ, 16, {read.segment(0, 1)}), BLKFRONT_DONE);
    EXPECT_EQ(std::memcmp(read.data, &backend->disk[16 * 512], 1024), 0);
    EXPECT_EQ(std::memcmp(read.data + 1024, &backend->disk[1024], 3072), 0);
}

TEST_F(Persistent, Xsa403NeighboursAreNotShown)
{
    backend->keys["feature-max-indirect-segments"] = "32";
    connect_persistent();
    Buffer buffer(20, {{0, 0}, {3, 5}, {7, 7}});
    buffer.fill(secret);
    ASSERT_EQ(request(BLKFRONT_READ, 0, buffer.segments()), BLKFRONT_DONE);
    buffer.number(1);
    std::fill(backend->disk.begin(), backend->disk.end(), 0x11);
    ASSERT_EQ(request(BLKFRONT_WRITE, 0, buffer.segments()), BLKFRONT_DONE);
    EXPECT_EQ(sim::leaked(), "");
}

// Pages that one backend filled are cleared before another one gets them: it may be another domain.
TEST_F(Persistent, Xsa403NothingOfAnEarlierBackend)
{
    connect_persistent();
    std::fill(backend->disk.begin(), backend->disk.end(), secret);
    Buffer buffer(11);
    ASSERT_EQ(request(BLKFRONT_READ, 0, buffer.segments()), BLKFRONT_DONE);
    EXPECT_GT(seen(secret), 0u) << "or this shows nothing";

    replace_backend();
    buffer.fill(0);
    ASSERT_EQ(request(BLKFRONT_WRITE, 0, Buffer(11, {{3, 3}}).segments()), BLKFRONT_DONE);
    EXPECT_GT(sim::grants_in_force(), 1u);
    EXPECT_EQ(seen(secret), 0u);
}

// It holds all that it ever mapped. That is its right while it is connected; then no page of it is
// anyone's, and what was in flight is not held up by it.
TEST_F(Persistent, Xsa396BackendThatHoldsEverything)
{
    connect_persistent();
    Buffer buffer(11);
    for (unsigned i = 0; i < 50; ++i)
        ASSERT_EQ(request(BLKFRONT_READ, i, buffer.segments()), BLKFRONT_DONE);
    backend->automatic = backend->follow_states = false;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
    backend->set_state(6); // and keeps everything mapped
    pump();
    ASSERT_EQ(kernel.completions.size(), 51u);
    EXPECT_EQ(kernel.completions.back().result, BLKFRONT_INTERRUPTED);
    EXPECT_EQ(xen::reclaim_grants(), 12u);

    // It may start again meanwhile, with other pages.
    backend->follow_states = backend->automatic = true;
    backend->start();
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
}

TEST_F(Persistent, Xsa396DetachWithHeldPages)
{
    connect_persistent();
    Buffer buffer(11);
    backend->automatic = backend->follow_states = false;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    (void)backend->serve(request);
    EXPECT_EQ(backend->kept(), 11u);
    detach();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_ERROR) << "the kernel's pages are free to use";
    EXPECT_EQ(xen::reclaim_grants(), 12u);
    EXPECT_EQ(sim::pages_in_use() > 12, true);
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 0u);
}

// Reads that fail leave the kernel's memory alone.
TEST_F(Persistent, ReadsThatFail)
{
    connect_persistent();
    backend->change = [](Response &response) { response.status = status_error; };
    Page page;
    std::memset(page.data, secret, 4096);
    EXPECT_EQ(request(BLKFRONT_READ, 0, {page.segment()}), BLKFRONT_ERROR);
    EXPECT_EQ(std::count(page.data, page.data + 4096, secret), 4096);
}

// What is copied is the kernel's from then on: nothing is loaded twice.
TEST_F(Persistent, Xsa155DataIsLoadedOnce)
{
    connect_persistent();
    backend->automatic = false;
    Page page;
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    const Response response = backend->serve(request);
    sim::clear_loads();
    uint8_t *mapped = backend->peer().map(request.segments[0].grant);
    ASSERT_NE(mapped, nullptr);
    backend->respond(response);
    EXPECT_EQ(sim::loads(mapped, 4096), 1u);
    backend->peer().unmap(mapped);
}

} // namespace
} // namespace blktest
