// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Requests of many segments, listed in a page of their own (public/io/blkif.h, BLKIF_OP_INDIRECT).
#include <sim/access.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

class Indirect : public BlkfrontTest {
protected:
    void connect_with(const std::string &offered, bool trusted = true)
    {
        sectors = 8192;
        make_disk_of_size();
        backend->keys["feature-max-indirect-segments"] = offered;
        kernel.wishes.trusted = trusted;
        connect();
    }

    void make_disk_of_size()
    {
        backend->disk.assign(sectors * 512, 0x11);
        backend->keys["sectors"] = std::to_string(sectors);
    }

    // Written, read back, and nothing else changed.
    void expect_transfer(uint64_t sector, Buffer &out, Buffer &in)
    {
        auto expected = backend->disk;
        out.number(static_cast<unsigned>(sector));
        EXPECT_EQ(request(BLKFRONT_WRITE, sector, out.segments()), BLKFRONT_DONE);
        EXPECT_TRUE(out.holds(&backend->disk[sector * 512]));
        std::copy_n(&backend->disk[sector * 512], out.bytes(), &expected[sector * 512]);
        EXPECT_TRUE(backend->disk == expected);
        in.fill(0xee);
        EXPECT_EQ(request(BLKFRONT_READ, sector, in.segments()), BLKFRONT_DONE);
        EXPECT_TRUE(in.holds(&expected[sector * 512]));
        EXPECT_TRUE(in.surrounded_by(0xee));
    }
};

TEST_F(Indirect, EverySizeAtTheEdges)
{
    connect_with("512");
    ASSERT_EQ(kernel.geometry.segments, 512u);
    for (const unsigned count :
         {1u, 2u, 10u, 11u, 12u, 13u, 31u, 32u, 33u, 255u, 256u, 257u, 511u, 512u}) {
        SCOPED_TRACE(count);
        Buffer out(count), in(count);
        const unsigned before = backend->indirect;
        expect_transfer(count, out, in);
        EXPECT_EQ(backend->indirect - before, count > 11 ? 2u : 0u);
    }
    EXPECT_EQ(sim::grants_in_force(), 1u);
    EXPECT_TRUE(sim::complaints().empty());
}

// Sectors in the middle of pages, for whom the memory around them is nobody's business.
TEST_F(Indirect, Xsa403PartsOfPages)
{
    for (const bool trusted : {true, false}) {
        SCOPED_TRACE(trusted);
        if (trusted)
            connect_with("256");
        else
            kernel.wishes.trusted = false, replace_backend();
        ASSERT_EQ(kernel.geometry.trusted, trusted);
        for (const unsigned count : {12u, 40u, 100u}) {
            Buffer out(count, {{0, 0}, {7, 7}, {1, 5}, {0, 7}, {3, 4}});
            Buffer in(count, {{2, 6}, {0, 3}, {4, 4}, {0, 7}, {6, 7}, {0, 0}});
            out.fill(0xa5);
            in.fill(0xa5);
            out.number(count);
            ASSERT_EQ(request(BLKFRONT_WRITE, 3, out.segments()), BLKFRONT_DONE);
            EXPECT_TRUE(out.holds(&backend->disk[3 * 512]));
            ASSERT_EQ(request(BLKFRONT_READ, 5, in.segments()), BLKFRONT_DONE);
            EXPECT_TRUE(in.holds(&backend->disk[5 * 512]));
            EXPECT_TRUE(in.surrounded_by(0xa5));
        }
    }
}

// While it is under way, an untrusted backend sees what was written and the list, and of what is
// read nothing.
TEST_F(Indirect, Xsa403NothingElseIsShown)
{
    connect_with("64", false);
    backend->automatic = false;
    Buffer out(30, {{1, 6}, {0, 7}}), in(30, {{0, 7}, {2, 2}});
    out.fill(0xa5);
    in.fill(0xa5);
    for (auto *buffer : {&out, &in}) {
        const auto operation = buffer == &out ? BLKFRONT_WRITE : BLKFRONT_READ;
        ASSERT_EQ(submit(operation, 0, buffer->segments()), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        const auto segments = *backend->segments_of(request);
        for (const Segment &segment : segments)
            if (buffer == &out)
                sim::declare(segment.grant, segment.first_sector * 512u,
                             (segment.last_sector - segment.first_sector + 1u) * 512);
        EXPECT_EQ(sim::leaked(), "");
        backend->respond(backend->serve(request));
    }
    EXPECT_EQ(kernel.completions.size(), 2u);
}

TEST_F(Indirect, TheWire)
{
    connect_with("32");
    backend->automatic = false;
    Buffer eleven(11), twelve(12);
    ASSERT_EQ(submit(BLKFRONT_WRITE, 5, eleven.segments()), 0);
    ASSERT_EQ(submit(BLKFRONT_WRITE, 7, twelve.segments()), 0);
    ASSERT_EQ(submit(BLKFRONT_READ, 9, twelve.segments()), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    EXPECT_EQ(request.operation, op_write);
    EXPECT_EQ(request.segment_count, 11u);
    backend->respond(backend->serve(request));
    for (const unsigned inner : {op_write, op_read}) {
        ASSERT_TRUE(backend->take(request));
        const auto wire = request.as<blktest::Indirect>();
        EXPECT_EQ(wire.operation, op_indirect);
        EXPECT_EQ(wire.inner, inner);
        EXPECT_EQ(wire.segment_count, 12u);
        EXPECT_EQ(wire.sector, inner == op_write ? 7u : 9u);
        EXPECT_EQ(wire.handle, disk_number);
        EXPECT_NE(wire.grants[0], 0u);
        for (unsigned i = 1; i < indirect_pages; ++i)
            EXPECT_EQ(wire.grants[i], 0u) << i;
        EXPECT_EQ(wire.pad | wire.pad2 | wire.pad3, 0u);
        uint8_t byte = 0; // the list is the frontend's
        EXPECT_FALSE(backend->peer().write(wire.grants[0], 0, &byte, 1));
        backend->respond(backend->serve(request));
    }
    EXPECT_EQ(kernel.completions.size(), 3u);
    EXPECT_EQ(sim::grants_in_force(), 1u);
}

struct Limit {
    const char *offered;
    unsigned wished;
    unsigned agreed;
};

void PrintTo(const Limit &limit, std::ostream *out)
{
    *out << limit.offered << "_of_" << limit.wished;
}

class Limits : public Indirect, public ::testing::WithParamInterface<Limit> {};

TEST_P(Limits, AreTheSmallerOne)
{
    kernel.wishes.segments = static_cast<uint16_t>(GetParam().wished);
    connect_with(GetParam().offered);
    EXPECT_EQ(kernel.geometry.segments, GetParam().agreed);
    Buffer most(GetParam().agreed);
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, most.segments()), BLKFRONT_DONE);
    Buffer more(GetParam().agreed + 1);
    EXPECT_EQ(submit(BLKFRONT_WRITE, 0, more.segments()), -E2BIG);
    EXPECT_EQ(blkfront_in_flight(disk), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Limits,
                         ::testing::Values(Limit{"0", 512, 11}, Limit{"1", 512, 11},
                                           Limit{"11", 512, 11}, Limit{"12", 512, 12},
                                           Limit{"20", 512, 20}, Limit{"256", 64, 64},
                                           Limit{"256", 1, 11}, Limit{"4096", 512, 512},
                                           Limit{"4294967295", 512, 512}),
                         [](const auto &info) { return testing::PrintToString(info.param); });

TEST_F(Indirect, ErrorsAndWhatIsOutside)
{
    connect_with("64");
    Buffer buffer(40);
    buffer.fill(0xee);
    backend->change = [](Response &response) { response.status = status_error; };
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, buffer.segments()), BLKFRONT_ERROR);
    backend->change = {};
    EXPECT_EQ(submit(BLKFRONT_READ, sectors - 40 * 8 + 1, buffer.segments()), -EINVAL);
    EXPECT_EQ(request(BLKFRONT_READ, sectors - 40 * 8, buffer.segments()), BLKFRONT_DONE);
    auto segments = buffer.segments();
    segments[30].last_sector = 8;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, segments), -EINVAL);
    segments[30] = buffer.segments()[30];
    segments[39].frame = uint64_t{1} << 32;
    EXPECT_EQ(submit(BLKFRONT_READ, 0, segments), -ERANGE);
    EXPECT_EQ(sim::grants_in_force(), 1u);
    expect_working();
}

// Linux's backend answers with the inner operation, as other requests are answered; the header only
// says "copied from request".
TEST_F(Indirect, EitherOperationIsAnAnswer)
{
    connect_with("64");
    Buffer buffer(12);
    backend->change = [](Response &response) { response.operation = op_write; };
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, buffer.segments()), BLKFRONT_DONE);
    backend->change = {};
    EXPECT_EQ(request(BLKFRONT_WRITE, 0, buffer.segments()), BLKFRONT_DONE);
}

// ---- and one that breaks the protocol ----

TEST_F(Indirect, Xsa376OtherOperationIsNone)
{
    connect_with("64");
    Buffer buffer(12);
    backend->change = [](Response &response) { response.operation = op_read; };
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, buffer.segments()), 0);
    expect_broken("operation is 0");
}

TEST_F(Indirect, Xsa376IndirectAnswerToADirectRequest)
{
    connect_with("64");
    Buffer buffer(11);
    backend->change = [](Response &response) { response.operation = op_indirect; };
    ASSERT_EQ(submit(BLKFRONT_WRITE, 0, buffer.segments()), 0);
    expect_broken("operation is 6");
}

TEST_F(Indirect, Xsa376NotSupported)
{
    connect_with("64");
    Buffer buffer(12);
    backend->change = [](Response &response) { response.status = status_not_supported; };
    ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
    expect_broken("status is 65534");
}

// The list is written by this side alone, and never read: what the backend does to it, if it could,
// changes nothing.
TEST_F(Indirect, Xsa155TheListIsNeverReadBack)
{
    connect_with("64");
    backend->automatic = false;
    Buffer buffer(20);
    ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
    Request request;
    ASSERT_TRUE(backend->take(request));
    const auto wire = request.as<blktest::Indirect>();
    uint8_t *list = backend->peer().map(wire.grants[0], false);
    ASSERT_NE(list, nullptr);
    sim::clear_loads();
    const Response response = backend->serve(request);
    const unsigned loads = sim::loads(sim::guest_view(list), 4096);
    backend->peer().unmap(list);
    backend->respond(response);
    EXPECT_EQ(loads, 0u);
    ASSERT_EQ(kernel.completions.size(), 1u);
    EXPECT_EQ(kernel.completions[0].result, BLKFRONT_DONE);
}

// A list or a page of data that stays mapped breaks the device, and is nobody's until it is let go.
TEST_F(Indirect, Xsa396PagesHeld)
{
    for (const bool list : {true, false}) {
        SCOPED_TRACE(list);
        if (list)
            connect_with("64");
        else
            replace_backend();
        backend->automatic = false;
        Buffer buffer(20);
        ASSERT_EQ(submit(BLKFRONT_READ, 0, buffer.segments()), 0);
        Request request;
        ASSERT_TRUE(backend->take(request));
        const auto segments = *backend->segments_of(request);
        const uint32_t grant =
            list ? request.as<blktest::Indirect>().grants[0] : segments[13].grant;
        const Response response = backend->serve(request);
        backend->follow_states = false;
        uint8_t *page = backend->peer().map(grant, false);
        ASSERT_NE(page, nullptr);
        const size_t before = kernel.completions.size();
        backend->respond(response);
        // A list is this side's own.
        EXPECT_EQ(kernel.completions.size(), before + list);
        pump();
        EXPECT_EQ(sim::complaints().size(), list ? 1u : 2u);
        EXPECT_NE(sim::complaints().back().find("mapped grant is "), std::string::npos);
        backend->peer().unmap(page);
        blkfront_retry_held(disk);
        ASSERT_EQ(kernel.completions.size(), before + 1);
        EXPECT_EQ(kernel.completions.back().result, BLKFRONT_ERROR);
        EXPECT_EQ(blkfront_in_flight(disk), 0u);
    }
}

} // namespace
} // namespace blktest
