// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A backend that breaks the protocol on the ring: its device is broken, with one line that names
// the field and its value; what was in flight fails; no grant and no page is lost.
#include <cstring>

#include <sim/access.hpp>
#include <sim/names.hpp>
#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

// Three requests in flight: a read, a write and a flush, of which the backend took note.
class Hostile : public BlkfrontTest {
protected:
    void SetUp() override
    {
        BlkfrontTest::SetUp();
        backend->automatic = false;
        connect();
        pages = std::make_unique<Page[]>(3);
        ASSERT_EQ(submit(BLKFRONT_READ, 0, {pages[0].segment()}, &pages[0]), 0);
        ASSERT_EQ(submit(BLKFRONT_WRITE, 8, {pages[1].segment()}, &pages[1]), 0);
        ASSERT_EQ(submit(BLKFRONT_FLUSH, 0, {}, &pages[2]), 0);
        for (Request &request : requests)
            ASSERT_TRUE(backend->take(request));
    }

    void expect_all_failed()
    {
        ASSERT_EQ(kernel.completions.size(), 3u);
        for (const auto &done : kernel.completions)
            EXPECT_EQ(done.result, BLKFRONT_ERROR);
    }

    // After the backend starts again, the same disk works.
    void expect_healed()
    {
        replace_backend();
        expect_working();
    }

    std::unique_ptr<Page[]> pages;
    Request requests[3];
};

struct BadResponse {
    const char *name;
    const char *field;
    std::function<void(Response &)> change; // of a good response
    unsigned to = 0;                        // request: 0 read, 1 write, 2 flush
};

void PrintTo(const BadResponse &bad, std::ostream *out) { *out << bad.name; }

class BadResponses : public Hostile, public ::testing::WithParamInterface<BadResponse> {};

TEST_P(BadResponses, BreakTheDevice)
{
    Response response = backend->serve(requests[GetParam().to]);
    GetParam().change(response);
    backend->respond(response);
    // Failed right there, in the event's handler.
    expect_all_failed();
    EXPECT_EQ(sim::grants_in_force(), 1u);
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EIO);
    expect_broken(std::string("the backend's ") + GetParam().field + " is ");
    expect_healed();
}

const BadResponse bad_responses[] = {
    {"id_not_in_flight", "id", [](Response &r) { r.id = 3; }}, // not in flight
    {"id_31", "id", [](Response &r) { r.id = 31; }},
    {"id_of_ring_size", "id", [](Response &r) { r.id = 32; }},
    {"id_of_32_bits", "id", [](Response &r) { r.id = 0xffffffff; }},
    {"id_with_bit_32", "id", [](Response &r) { r.id |= uint64_t{1} << 32; }},
    {"id_with_bit_63", "id", [](Response &r) { r.id |= uint64_t{1} << 63; }},
    {"id_all_ones", "id", [](Response &r) { r.id = UINT64_MAX; }},
    {"read_answered_as_write", "operation", [](Response &r) { r.operation = 1; }},
    {"read_answered_as_flush", "operation", [](Response &r) { r.operation = 3; }},
    {"read_answered_as_indirect", "operation", [](Response &r) { r.operation = 6; }},
    {"read_answered_as_255", "operation", [](Response &r) { r.operation = 255; }},
    {"write_answered_as_read", "operation", [](Response &r) { r.operation = 0; }, 1},
    {"flush_answered_as_barrier", "operation", [](Response &r) { r.operation = 2; }, 2},
    {"positive_status", "status", [](Response &r) { r.status = 1; }},
    {"read_not_supported", "status", [](Response &r) { r.status = -2; }}, // not for a read
    {"write_not_supported", "status", [](Response &r) { r.status = -2; }, 1},
    {"flush_status_minus_3", "status", [](Response &r) { r.status = -3; }, 2},
    {"largest_status", "status", [](Response &r) { r.status = 32767; }},
    {"smallest_status", "status", [](Response &r) { r.status = -32768; }},
};

INSTANTIATE_TEST_SUITE_P(Xsa376, BadResponses, ::testing::ValuesIn(bad_responses),
                         sim::PrintedName());

// Read as signed, these are negative.
const BadResponse negative_ids[] = {
    {"negative_32_bits", "id", [](Response &r) { r.id = 0x80000000; }},
    {"minus_1_in_32_bits", "id", [](Response &r) { r.id = 0xffffffff; }},
    {"negative_64_bits", "id", [](Response &r) { r.id = uint64_t{1} << 63; }},
    {"minus_1", "id", [](Response &r) { r.id = UINT64_MAX; }},
    {"minus_32", "id", [](Response &r) { r.id = UINT64_MAX - 31; }},
};
INSTANTIATE_TEST_SUITE_P(Cve202672380, BadResponses, ::testing::ValuesIn(negative_ids),
                         sim::PrintedName());

TEST_F(Hostile, Xsa376SameResponseTwice)
{
    const Response response = backend->serve(requests[0]);
    backend->ring().put(response);
    backend->ring().put(response);
    (void)backend->ring().push();
    backend->notify();
    ASSERT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(kernel.completions[0].cookie, &pages[0]);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_DONE);
    EXPECT_EQ(kernel.completions[1].result, BLKFRONT_ERROR);
    expect_broken("id is " + std::to_string(response.id));
    expect_healed();
}

class Producer : public Hostile, public ::testing::WithParamInterface<uint32_t> {};

TEST_P(Producer, OutOfRange)
{
    backend->publish_producer(GetParam());
    expect_all_failed();
    expect_broken("rsp_prod is " + std::to_string(GetParam()));
    expect_healed();
}

INSTANTIATE_TEST_SUITE_P(Xsa376, Producer,
                         ::testing::Values(4, 5, 32, 33, 0x7fffffff, 0x80000000, 0xffffffff),
                         sim::PrintedName());

TEST_F(Hostile, Xsa376ProducerGoesBack)
{
    backend->respond(backend->serve(requests[0]));
    ASSERT_EQ(kernel.completions.size(), 1u);
    backend->publish_producer(0);
    expect_broken("rsp_prod is 0");
}

// Events without responses change nothing, and the first violation is the only one reported.
TEST_F(Hostile, Xsa376EventsAfterTheViolation)
{
    backend->publish_producer(100);
    for (unsigned i = 0; i < 50; ++i) {
        backend->publish_producer(100 + i);
        backend->notify();
    }
    expect_broken("rsp_prod is 100");
}

// The more events without responses, the longer the next one takes; responses end that.
TEST_F(Hostile, Xsa391StormWithoutResponses)
{
    for (unsigned i = 0; i < 100'000; ++i) {
        backend->notify();
        sim::advance(100'000);
    }
    EXPECT_TRUE(kernel.completions.empty());
    EXPECT_LE(sim::delayed_events(), 20u); // in 10 s
    for (const Request &request : requests)
        backend->respond(backend->serve(request));
    sim::advance(1'100'000'000);
    EXPECT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(sim::complaints().size(), 1u);
    backend->automatic = true;
    const unsigned delayed = sim::delayed_events();
    for (unsigned i = 0; i < 100; ++i)
        expect_working();
    EXPECT_EQ(sim::delayed_events(), delayed);
}

// The port of a device that its backend broke is not unmasked again.
TEST_F(Hostile, Xsa391BrokenDeviceTakesNoEvents)
{
    backend->follow_states = false;
    backend->publish_producer(100);
    for (unsigned i = 0; i < 1000; ++i) {
        backend->notify();
        sim::advance(10'000'000);
    }
    EXPECT_EQ(sim::delayed_events(), 0u);
    expect_broken("rsp_prod is 100");
}

TEST_F(BlkfrontTest, Xsa376ResponsesBeforeTheDiskIsConnected)
{
    backend->follow_states = false;
    backend->start();
    pump();
    ASSERT_TRUE(backend->attach());
    backend->publish_producer(1);
    expect_broken("rsp_prod is 1");
    backend->publish_keys();
    backend->set_state(4);
    pump();
    EXPECT_EQ(kernel.ready, 0u);
}

// The backend answers and keeps the page mapped: nobody may have the page back.
TEST_F(Hostile, Xsa396GrantHeld)
{
    backend->follow_states = false; // it would unmap everything when it closes
    uint8_t *mapped = backend->peer().map(requests[0].segments[0].grant);
    ASSERT_NE(mapped, nullptr);
    backend->respond(backend->serve(requests[0]));
    ASSERT_EQ(kernel.completions.size(), 2u); // the other two failed
    for (const auto &done : kernel.completions)
        EXPECT_NE(done.cookie, &pages[0]);
    EXPECT_EQ(blkfront_in_flight(disk), 1u);
    pump();
    ASSERT_EQ(sim::complaints().size(), 1u);
    EXPECT_NE(sim::complaints()[0].find("mapped grant is "), std::string::npos);
    blkfront_retry_held(disk);
    EXPECT_EQ(kernel.completions.size(), 2u);

    // Starting again does not help while the page is held.
    restart_backend();
    EXPECT_EQ(backend->frontend_state(), 5u);
    EXPECT_EQ(blkfront_in_flight(disk), 1u);

    // Requests fail meanwhile, they do not wait.
    EXPECT_EQ(kernel.paused, 0u);
    EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EIO);

    // When it lets go, the new start takes place.
    backend->automatic = backend->follow_states = true;
    backend->peer().unmap(mapped);
    blkfront_retry_held(disk);
    expect_all_failed();
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
    pump();
    EXPECT_EQ(kernel.ready, 2u);
    expect_working();
}

TEST_F(Hostile, Xsa396GrantHeldUntilDetach)
{
    backend->follow_states = false; // it would unmap everything when it closes
    uint8_t *mapped = backend->peer().map(requests[0].segments[0].grant);
    backend->respond(backend->serve(requests[0]));
    pump();
    detach();
    ASSERT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(kernel.completions[2].cookie, &pages[0]);
    EXPECT_EQ(kernel.completions[2].result, BLKFRONT_HELD);
    // The reference is in quarantine, not in anyone's hands.
    EXPECT_GT(xen::reclaim_grants(), 0u);
    EXPECT_GT(sim::grants_in_force(), 0u);
    backend->peer().unmap(mapped);
}

// The backend maps the page right after this side saw that nobody has it mapped.
TEST_F(Hostile, Xsa396MappedBetweenCheckAndRevoke)
{
    backend->follow_states = false; // it would unmap everything when it closes
    const Response response = backend->serve(requests[0]);
    uint8_t *mapped = nullptr;
    {
        const sim::LoadObserver racing([&](const void *, size_t size, unsigned) {
            if (size == sizeof(uint16_t) && mapped == nullptr) // a grant's flags
                mapped = backend->peer().map(requests[0].segments[0].grant);
        });
        backend->respond(response);
    }
    ASSERT_NE(mapped, nullptr);
    for (const auto &done : kernel.completions)
        EXPECT_NE(done.cookie, &pages[0]) << "the page is still the backend's, too";
    EXPECT_EQ(blkfront_in_flight(disk), 1u);
    pump();
    backend->peer().unmap(mapped);
    blkfront_retry_held(disk);
    expect_all_failed();
}

// The ring page, too: it is not given back to the kernel while the backend has it.
TEST_F(Hostile, Xsa396RingHeldAfterDetach)
{
    backend->follow_states = false; // it would unmap the ring
    detach();
    const unsigned pages_with_ring = sim::pages_in_use();
    EXPECT_EQ(xen::reclaim_grants(), 1u);
    backend->vanish();
    EXPECT_EQ(xen::reclaim_grants(), 0u);
    EXPECT_EQ(sim::pages_in_use(), pages_with_ring - 1);
}

// Every byte of the ring that the backend can change is loaded once: nothing is there to change
// between a check and a use.
TEST_F(Hostile, Xsa155ResponseIsLoadedOnce)
{
    sim::clear_loads();
    const uint8_t *slot = backend->ring().slot(backend->ring().response_index());
    backend->respond(backend->serve(requests[0]));
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(sim::loads(slot), 1u);
    EXPECT_EQ(sim::loads(slot, sizeof(Response)), 1u);
}

// A response is judged by this guest's copy: what the backend does to the slot later is nothing.
TEST_F(Hostile, Xsa155RequestsInTheRingAreNeverReadBack)
{
    std::memset(backend->ring().slot(0), 0xff, 32 * sizeof(Request));
    const Response good[3] = {backend->serve(requests[0]), backend->serve(requests[1]),
                              backend->serve(requests[2])};
    for (const Response &response : good)
        backend->respond(response);
    ASSERT_EQ(kernel.completions.size(), 3u);
    for (const auto &done : kernel.completions)
        EXPECT_EQ(done.result, BLKFRONT_DONE);
}

TEST_F(Hostile, WildRequestEventOnlyMattersForNotification)
{
    for (uint32_t wild : {0u, 0x80000000u, 0xffffffffu}) {
        __atomic_store_n(&backend->ring().shared().req_event, wild, __ATOMIC_RELEASE);
        ASSERT_EQ(submit(BLKFRONT_FLUSH, 0, {}), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        backend->respond(backend->serve(request));
    }
    EXPECT_EQ(kernel.completions.size(), 3u);
    EXPECT_TRUE(sim::complaints().empty());
}

} // namespace
} // namespace blktest
