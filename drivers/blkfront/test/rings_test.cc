// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Rings of several pages, in both schemes that backends know (public/io/blkif.h, notes 1 to 3, 6).
#include <random>

#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

struct Offer {
    const char *name;
    std::optional<std::string> order, pages;
    unsigned agreed; // pages
};

void PrintTo(const Offer &offer, std::ostream *out) { *out << offer.name; }

class Rings : public BlkfrontTest {
protected:
    void offer(const std::optional<std::string> &order, const std::optional<std::string> &pages)
    {
        backend->keys["max-ring-page-order"] = order;
        backend->keys["max-ring-pages"] = pages;
    }

    // As many requests as there are slots are in flight, several times around the ring.
    void expect_full_ring(unsigned ring_pages)
    {
        EXPECT_EQ(backend->ring_pages(), ring_pages);
        EXPECT_EQ(kernel.geometry.ring_pages, ring_pages);
        const unsigned slots = backend->ring().size();
        EXPECT_EQ(kernel.geometry.requests, slots);
        EXPECT_GE(slots, 32u * ring_pages);
        std::mt19937 random(ring_pages);
        for (unsigned round = 0; round < 3; ++round) {
            backend->automatic = false;
            Page page;
            for (unsigned i = 0; i < slots; ++i)
                ASSERT_EQ(submit(BLKFRONT_READ, i, {page.segment(0, 0)}), 0) << i;
            EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment(0, 0)}), -EBUSY);
            EXPECT_EQ(blkfront_in_flight(disk), slots);
            std::vector<Request> requests(slots);
            for (Request &request : requests)
                ASSERT_TRUE(backend->take(request));
            std::shuffle(requests.begin(), requests.end(), random);
            const size_t before = kernel.completions.size();
            for (const Request &request : requests)
                backend->respond(backend->serve(request));
            EXPECT_EQ(kernel.completions.size(), before + slots);
            backend->automatic = true;
            expect_working();
            EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), 0); // the next round begins elsewhere
            sim::run();
        }
        EXPECT_EQ(sim::grants_in_force(), ring_pages);
        EXPECT_EQ(sim::delayed_events(), 0u);
    }
};

class RingOffers : public Rings, public ::testing::WithParamInterface<Offer> {};

TEST_P(RingOffers, AreUsed)
{
    offer(GetParam().order, GetParam().pages);
    connect();
    expect_transport(1, GetParam().agreed);
    expect_full_ring(GetParam().agreed);
}

INSTANTIATE_TEST_SUITE_P(
    All, RingOffers,
    ::testing::Values(Offer{"nothing", {}, {}, 1}, Offer{"order_0", "0", {}, 1},
                      Offer{"order_1", "1", {}, 2}, Offer{"order_2", "2", {}, 4},
                      Offer{"order_3", "3", {}, 8}, Offer{"order_4", "4", {}, 16},
                      Offer{"order_5", "5", {}, 16}, Offer{"order_31", "31", {}, 16},
                      Offer{"order_4294967295", "4294967295", {}, 16}, Offer{"pages_1", {}, "1", 1},
                      Offer{"pages_2", {}, "2", 2}, Offer{"pages_3", {}, "3", 2},
                      Offer{"pages_16", {}, "16", 16},
                      Offer{"pages_4294967295", {}, "4294967295", 16}, Offer{"both", "3", "8", 8}),
    [](const auto &info) { return std::string(info.param.name); });

TEST_F(Rings, NoLargerThanWished)
{
    kernel.wishes.ring_page_order = 1;
    offer("4", {});
    connect();
    expect_transport(1, 2);
    expect_full_ring(2);
}

// A backend that comes back with other limits finds this connection's keys and none of an earlier
// one's: it may look for ring-ref0 first, and find a grant that is somebody else's now.
TEST_F(Rings, KeysOfAnEarlierConnectionAreGone)
{
    const std::pair<std::optional<std::string>, std::optional<std::string>> offers[] = {
        {"3", {}}, {"1", {}}, {{}, {}}, {{}, "4"}, {"0", {}}, {"2", "4"}, {{}, "1"}, {{}, "2"},
    };
    const unsigned pages[] = {8, 2, 1, 4, 1, 4, 1, 2};
    for (unsigned i = 0; i < std::size(offers); ++i) {
        SCOPED_TRACE(i);
        offer(offers[i].first, offers[i].second);
        if (i == 0)
            connect();
        else
            replace_backend();
        expect_transport(1, pages[i]);
        EXPECT_EQ(kernel.geometry.ring_pages, pages[i]);
        expect_working();
        EXPECT_EQ(xen::reclaim_grants(), 0u);
        EXPECT_EQ(sim::grants_in_force(), pages[i]);
    }
}

TEST_F(Rings, Xsa403NothingElseIsOnThem)
{
    kernel.wishes.trusted = false;
    offer("2", {});
    connect();
    backend->automatic = false;
    // Undeclared, and so all zero but for the header and what is put there now.
    const uint8_t *bytes = backend->ring_page();
    EXPECT_TRUE(std::all_of(bytes + 64, bytes + 4 * 4096, [](uint8_t byte) { return byte == 0; }));
    Page page;
    for (unsigned i = 0; i < 40; ++i)
        ASSERT_EQ(submit(BLKFRONT_WRITE, i, {page.segment(0, 7)}), 0);
    for (const uint8_t *slot = bytes + 64; slot + 112 <= bytes + 4 * 4096; slot += 112) {
        Request request;
        std::memcpy(&request, slot, sizeof(request));
        EXPECT_LE(request.segment_count, 1u);
        EXPECT_TRUE(std::all_of(slot + 32, slot + 112, [](uint8_t byte) { return byte == 0; }));
    }
    backend->serve_queue(0);
    EXPECT_EQ(kernel.completions.size(), 40u);
}

// Memory ends at any page while a large ring is set up: the disk gets a smaller one, or is refused
// for now. Nothing is lost.
TEST_F(Rings, NoMemoryAtAnyPage)
{
    offer("4", {});
    unsigned smaller = 0;
    for (unsigned after = 0; after < 24; ++after) {
        SCOPED_TRACE(after);
        const unsigned before = kernel.ready + kernel.failed;
        sim::fail_page_alloc(after);
        restart_backend();
        EXPECT_GT(kernel.ready + kernel.failed, before);
        if (backend->frontend_state() == 4) {
            smaller += kernel.geometry.ring_pages < 16;
            expect_transport(1, kernel.geometry.ring_pages);
            expect_working();
        }
        backend->vanish();
        blkfront_retry_held(disk);
    }
    EXPECT_GT(smaller, 0u);
    sim::fail_page_alloc(UINT32_MAX);
    replace_backend();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    expect_full_ring(16);
}

TEST_F(Rings, Xsa396AnyPageHeldAfterDetach)
{
    offer("3", {});
    connect();
    backend->follow_states = false;
    const auto held = sim::store::read(frontend_dir + "/ring-ref5");
    detach();
    uint8_t *page = backend->peer().map(static_cast<uint32_t>(std::stoul(*held)));
    EXPECT_NE(page, nullptr); // they are mapped all together: none could be revoked
    EXPECT_EQ(xen::reclaim_grants(), 8u);
    EXPECT_EQ(sim::pages_in_use(), 8u);
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
}

} // namespace
} // namespace blktest
