// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a backend sees of the guest's memory: with one that is not trusted, the ring and the bytes
// that are written to the disk, and nothing else.
#include <algorithm>
#include <cstring>

#include <sim/names.hpp>
#include <xen/abi.hpp>
#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

constexpr uint8_t secret = 0xa5;

class Trust : public BlkfrontTest {
protected:
    void connect_with(const std::optional<std::string> &trusted)
    {
        if (trusted)
            sim::store::write(frontend_dir + "/trusted", *trusted);
        connect();
        // Nothing of what the disk holds looks like it.
        std::fill(backend->disk.begin(), backend->disk.end(), uint8_t{0x11});
    }

    // How many secret bytes the backend can read, in all that is granted to it.
    unsigned secrets_seen()
    {
        unsigned seen = 0;
        for (uint32_t reference = 0; reference < 4 * xen::abi::grants_per_frame; ++reference) {
            uint8_t *page = backend->peer().map(reference, false);
            if (page == nullptr)
                continue;
            seen += static_cast<unsigned>(std::count(page, page + 4096, secret));
            backend->peer().unmap(page);
        }
        return seen;
    }

    unsigned seen_while(blkfront_operation operation, const std::vector<blkfront_segment> &segments)
    {
        backend->automatic = false;
        EXPECT_EQ(submit(operation, 16, segments), 0);
        const unsigned seen = secrets_seen();
        Request request;
        EXPECT_TRUE(backend->take(request));
        backend->respond(backend->serve(request));
        return seen;
    }
};

struct Key {
    std::optional<std::string> value;
    bool trusted;
};

void PrintTo(const Key &key, std::ostream *out)
{
    *out << (key.value ? "trusted=" + *key.value : "absent");
}

class TrustKey : public Trust, public ::testing::WithParamInterface<Key> {};

TEST_P(TrustKey, Xsa403DecidesAboutNeighbours)
{
    connect_with(GetParam().value);
    Page page;
    std::memset(page.data, secret, 4096);
    std::memset(page.data + 512, 0x22, 1024);
    EXPECT_EQ(seen_while(BLKFRONT_WRITE, {page.segment(1, 2)}), GetParam().trusted ? 3072u : 0u);
    for (unsigned i = 0; i < 1024; ++i)
        ASSERT_EQ(backend->disk[16 * 512 + i], 0x22);
    EXPECT_EQ(backend->disk[16 * 512 + 1024], 0x11);
}

const Key keys[] = {
    {{}, true}, {"1", true}, {"2", true}, {"0", false}, {"", false}, {"yes", false}, {"-1", false},
};
INSTANTIATE_TEST_SUITE_P(All, TrustKey, ::testing::ValuesIn(keys), sim::PrintedName());

TEST_F(Trust, Xsa403KernelTrustsNobody)
{
    kernel.wishes.trusted = false;
    connect_with("1");
    Page page;
    std::memset(page.data, secret, 4096);
    EXPECT_EQ(seen_while(BLKFRONT_READ, {page.segment()}), 0u);
}

TEST_F(Trust, Xsa403OnlyWhatIsWrittenIsSeen)
{
    connect_with("0");
    for (unsigned first = 0; first < 8; ++first)
        for (unsigned last = first; last < 8; ++last) {
            Page page;
            std::memset(page.data, secret, 4096);
            const unsigned declared = (last - first + 1) * 512;
            EXPECT_EQ(seen_while(BLKFRONT_WRITE, {page.segment(first, last)}), declared);
            std::fill(backend->disk.begin(), backend->disk.end(), uint8_t{0x11});
            // What this backend was given before, it may be given again: begin with other memory.
            backend->vanish();
            restart_backend();
        }
}

// Neither around the sectors that are read, nor in them before.
TEST_F(Trust, Xsa403ReadsShowNothing)
{
    connect_with("0");
    for (unsigned first = 0; first < 8; ++first) {
        Page pages[2];
        for (Page &page : pages)
            std::memset(page.data, secret, 4096);
        EXPECT_EQ(seen_while(BLKFRONT_READ, {pages[0].segment(first, 7), pages[1].segment()}), 0u);
        EXPECT_EQ(kernel.completions.back().result, BLKFRONT_DONE);
        for (unsigned i = 0; i < 4096; ++i) {
            ASSERT_EQ(pages[0].data[i], i < first * 512 ? secret : 0x11) << first << " " << i;
            ASSERT_EQ(pages[1].data[i], 0x11);
        }
    }
}

// Nothing of a read that failed gets into memory, and nothing after the response.
TEST_F(Trust, ReadsThatFailLeaveMemoryAlone)
{
    connect_with("0");
    backend->change = [](Response &response) { response.status = -1; };
    Page page;
    std::memset(page.data, secret, 4096);
    seen_while(BLKFRONT_READ, {page.segment()});
    EXPECT_EQ(kernel.completions.back().result, BLKFRONT_ERROR);
    EXPECT_EQ(std::count(page.data, page.data + 4096, secret), 4096);
}

// Own pages are few, and are never waited for in the middle of a request.
TEST_F(Trust, NoOwnPageLeftMeansLater)
{
    connect_with("0");
    backend->automatic = false;
    Page page;
    const std::vector<blkfront_segment> eleven(11, page.segment());
    unsigned requests = 0;
    int result;
    while ((result = submit(BLKFRONT_READ, 0, eleven)) == 0)
        ++requests;
    EXPECT_EQ(result, -EBUSY);
    EXPECT_GE(requests, 11u);
    EXPECT_EQ(blkfront_in_flight(disk), requests);
    backend->automatic = true;
    backend->notify();
    for (Request request; backend->take(request);)
        backend->respond(backend->serve(request));
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    EXPECT_EQ(submit(BLKFRONT_READ, 0, eleven), 0);
}

TEST_F(Trust, NoMemoryForOwnPages)
{
    sim::store::write(frontend_dir + "/trusted", "0");
    sim::fail_page_alloc(8);
    backend->start();
    expect_broken("no room for requests");
}

// A backend that keeps a page keeps one of this device's: the kernel's are free to use.
TEST_F(Trust, Xsa396HeldPagesAreNotTheKernels)
{
    connect_with("0");
    backend->automatic = backend->follow_states = false;
    Page page;
    std::memset(page.data, secret, 4096);
    ASSERT_EQ(submit(BLKFRONT_READ, 0, {page.segment()}), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    uint8_t *mapped = backend->peer().map(request.segments[0].grant);
    ASSERT_NE(mapped, nullptr);
    backend->respond(backend->serve(request));
    pump();
    detach();
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_ERROR);
    std::memset(mapped, 0x33, 4096);
    EXPECT_EQ(std::count(page.data, page.data + 4096, secret), 4096);
    EXPECT_EQ(xen::reclaim_grants(), 2u); // and the ring
}

} // namespace
} // namespace blktest
