// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The front ring against a backend that behaves and against one that writes what it likes.
#include <algorithm>
#include <array>

#include <gtest/gtest.h>

#include <sim/back_ring.hpp>
#include <xen/ring.hpp>

namespace {

struct Request {
    uint32_t id;
    uint32_t payload[3];
};
struct Response {
    uint32_t id;
    uint32_t status;
};
struct Extra { // another shape of a slot
    uint32_t kind;
};

using Front = xen::FrontRing<Request, Response>;

class RingTest : public ::testing::Test {
protected:
    void SetUp() override
    {
        front_.init(page_.data(), page_.size());
        back_ = {page_.data(), static_cast<uint32_t>(page_.size())};
    }

    void send(unsigned count)
    {
        for (unsigned i = 0; i < count; ++i)
            front_.put(Request{i, {1, 2, 3}});
        (void)front_.push();
    }

    void answer(unsigned count)
    {
        for (unsigned i = 0; i < count; ++i) {
            Request request;
            ASSERT_TRUE(back_.get(request));
            back_.put(Response{request.id, 7});
        }
        (void)back_.push();
    }

    // The index must break the ring, whether polled or finally checked.
    void expect_broken(uint32_t rsp_prod)
    {
        xen::store_shared(back_.shared().rsp_prod, rsp_prod);
        EXPECT_EQ(front_.poll().error(), xen::Error::protocol) << rsp_prod;
    }

    alignas(4096) std::array<uint8_t, 4096> page_{};
    Front front_;
    sim::BackRing<Request, Response> back_;
};

TEST(RingSize, IsThePowerOfTwoThatFits)
{
    EXPECT_EQ(xen::ring_slots(4096, 112), 32u); // block
    EXPECT_EQ(xen::ring_slots(4096, 12), 256u); // net tx
    EXPECT_EQ(xen::ring_slots(4096, 8), 256u);  // net rx
    EXPECT_EQ(xen::ring_slots(4 * 4096, 112), 128u);
    EXPECT_EQ(xen::ring_slots(64 + 112, 112), 1u);
}

TEST_F(RingTest, RoundTripsAcrossTheWrap)
{
    EXPECT_EQ(front_.size(), 128u);
    for (unsigned round = 0; round < 1000; ++round) {
        send(3);
        answer(3);
        const auto ready = front_.poll();
        ASSERT_TRUE(ready.ok());
        ASSERT_EQ(ready.value(), 3u);
        for (unsigned i = 0; i < 3; ++i) {
            EXPECT_EQ(front_.response_slot(), (round * 3 + i) % 128);
            EXPECT_EQ(front_.take().id, i);
        }
        EXPECT_EQ(front_.free_slots(), 128u);
    }
}

TEST_F(RingTest, SlotsAreFreeOnceTaken)
{
    send(128);
    EXPECT_EQ(front_.free_slots(), 0u);
    answer(5);
    EXPECT_EQ(front_.free_slots(), 0u);
    ASSERT_EQ(front_.poll().value(), 5u);
    EXPECT_EQ(front_.take().status, 7u);
    EXPECT_EQ(front_.free_slots(), 1u);
}

TEST_F(RingTest, OtherShapesOfASlot)
{
    front_.put(Extra{42});
    (void)front_.push();
    Extra seen{};
    ASSERT_TRUE(back_.get(seen));
    EXPECT_EQ(seen.kind, 42u);
    back_.put(Extra{43});
    (void)back_.push();
    ASSERT_EQ(front_.poll().value(), 1u);
    EXPECT_EQ(front_.take<Extra>().kind, 43u);
}

TEST_F(RingTest, NotInvisiblyBeforePush)
{
    front_.put(Request{});
    Request request;
    EXPECT_FALSE(back_.get(request));
    EXPECT_TRUE(front_.push()) << "req_event is 1 on a fresh ring";
    EXPECT_TRUE(back_.get(request));
}

TEST_F(RingTest, NotifiesOnlyWhenAsked)
{
    send(1);
    Request request;
    ASSERT_TRUE(back_.get(request));
    front_.put(Request{});
    EXPECT_FALSE(front_.push()) << "the backend did not ask";
    ASSERT_TRUE(back_.get(request));
    EXPECT_FALSE(back_.final_check());
    front_.put(Request{});
    EXPECT_TRUE(front_.push());
}

TEST_F(RingTest, AnyReqEventOnlyChangesNotification)
{
    for (const uint32_t event : {0u, 1u, 5u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        xen::store_shared(back_.shared().req_event, event);
        send(1);
        answer(1);
        ASSERT_EQ(front_.poll().value(), 1u);
        (void)front_.take();
    }
}

TEST_F(RingTest, FinalCheckArmsTheEvent)
{
    send(2);
    EXPECT_EQ(front_.final_check().value(), 0u);
    Request request;
    ASSERT_TRUE(back_.get(request));
    back_.put(Response{});
    EXPECT_TRUE(back_.push());
    EXPECT_EQ(front_.final_check().value(), 1u);
}

TEST_F(RingTest, FinalCheckArmsTheEventForLater)
{
    send(5);
    EXPECT_EQ(front_.outstanding(), 5u);
    EXPECT_EQ(front_.final_check(3).value(), 0u);
    Request request;
    for (unsigned i = 1; i <= 5; i++) {
        ASSERT_TRUE(back_.get(request));
        back_.put(Response{});
        EXPECT_EQ(back_.push(), i == 3) << i;
    }
    ASSERT_EQ(front_.poll().value(), 5u);
    (void)front_.take();
    EXPECT_EQ(front_.outstanding(), 4u);
    front_.put(Request{}); // not published
    EXPECT_EQ(front_.outstanding(), 4u);
}

TEST_F(RingTest, ResponsesThatNobodyAskedFor)
{
    send(4);
    for (const uint32_t bad : {5u, 6u, 128u, 129u, 0x80000000u, 0xffffffffu})
        expect_broken(bad);
}

TEST_F(RingTest, ResponsesBeforeAnyRequest) { expect_broken(1); }

TEST_F(RingTest, StagedRequestsCannotBeAnswered)
{
    front_.put(Request{});
    expect_broken(1);
}

TEST_F(RingTest, ProducerGoesBack)
{
    send(4);
    answer(3);
    ASSERT_EQ(front_.poll().value(), 3u);
    (void)front_.take();
    expect_broken(2); // responses that were announced, not yet taken
}

TEST_F(RingTest, ProducerGoesBehindTheConsumer)
{
    send(4);
    answer(3);
    ASSERT_EQ(front_.poll().value(), 3u);
    for (unsigned i = 0; i < 3; ++i)
        (void)front_.take();
    expect_broken(2);
}

TEST_F(RingTest, OwnIndicesInThePageDoNotMatter)
{
    send(2);
    back_.shared().req_prod = 77;
    back_.shared().rsp_event = 99;
    back_.shared().rsp_prod = 1;
    EXPECT_EQ(front_.poll().value(), 1u);
    (void)front_.take();
    EXPECT_EQ(front_.free_slots(), front_.size() - 1);
    send(1);
    EXPECT_EQ(back_.shared().req_prod, 3u);
}

TEST_F(RingTest, ATakenResponseIsPrivate)
{
    send(1);
    answer(1);
    ASSERT_EQ(front_.poll().value(), 1u);
    const Response response = front_.take();
    std::fill(page_.begin(), page_.end(), 0xff);
    EXPECT_EQ(response.status, 7u);
}

} // namespace
