// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The matrix of negotiation: whatever a backend offers, in combination, the frontend connects or
// refuses with one line, uses nothing that was not offered, and its disk works.
#include <bit>
#include <set>

#include <sim/pairwise.hpp>
#include <xen/grant.hpp>

#include "buffer.hpp"

namespace blktest {
namespace {

using Value = std::optional<std::string>; // empty: the key is absent

struct Parameter {
    const char *key; // of the backend; "trusted" is the frontend's
    std::vector<Value> good;
    std::vector<Value> bad; // the frontend refuses the backend
};

const std::vector<Parameter> parameters = {
    // What the frontend asks for.
    {"wish-trusted", {"1", "0"}, {}},
    {"wish-persistent", {"1", "0"}, {}},
    {"wish-queues", {"4", "1"}, {}},
    {"wish-polled", {"0", "2"}, {}},
    {"wish-order", {"4", "0", "1"}, {}},
    {"wish-segments", {"512", "11", "64"}, {}},
    // What the toolstack and the backend say.
    {"trusted", {{}, "0", "1"}, {}},
    {"sectors", {"2048", "8", "0"}, {{}, "many", "36028797018963968"}},
    {"sector-size", {"512", "1024", "4096"}, {{}, "0", "513", "8192", "512b"}},
    {"physical-sector-size", {{}, "4096", "65536"}, {"0", "1000", "4294967296", "4k"}},
    {"info", {{}, "0", "1", "2", "4", "7", "4294967295"}, {"4294967296", "ro"}},
    {"feature-flush-cache", {{}, "0", "1"}, {"2", "yes"}},
    {"feature-barrier", {{}, "0", "1"}, {"2", "many"}},
    {"feature-discard", {{}, "0", "1"}, {}},
    {"discard-granularity", {{}, "4096", "65536"}, {}},
    {"discard-alignment", {{}, "0"}, {}},
    {"discard-secure", {{}, "0", "1"}, {}},
    {"feature-persistent", {{}, "0", "1"}, {"2", "many"}},
    {"feature-max-indirect-segments", {{}, "0", "11", "32", "4294967295"}, {"many"}},
    {"max-ring-page-order", {{}, "0", "1", "4294967295"}, {"many"}},
    {"max-ring-pages", {{}, "0", "1", "3", "4294967295"}, {"many"}},
    {"multi-queue-max-queues", {{}, "0", "1", "3", "4294967295"}, {"many"}},
    {"feature-large-sector-size", {{}, "1", "many"}, {}}, // the frontend does not look at it
};

struct Row {
    std::vector<Value> values;
    bool accepted = true;
};

void PrintTo(const Row &row, std::ostream *out)
{
    for (size_t i = 0; i < parameters.size(); ++i)
        *out << parameters[i].key << "=" << row.values[i].value_or("(absent)") << " ";
}

std::vector<Row> rows(bool with_bad)
{
    std::vector<unsigned> sizes;
    for (const Parameter &parameter : parameters)
        sizes.push_back(
            static_cast<unsigned>(parameter.good.size() + (with_bad ? parameter.bad.size() : 0)));
    std::vector<Row> all;
    for (const auto &combination : sim::pairwise(sizes)) {
        Row &row = all.emplace_back();
        for (size_t i = 0; i < parameters.size(); ++i) {
            const Parameter &parameter = parameters[i];
            const size_t bad = combination[i] - parameter.good.size();
            const bool good = combination[i] < parameter.good.size();
            row.accepted &= good;
            row.values.push_back(good ? parameter.good[combination[i]] : parameter.bad[bad]);
        }
    }
    return all;
}

class Matrix : public BlkfrontTest, public ::testing::WithParamInterface<Row> {
protected:
    Value value(const char *key) const
    {
        for (size_t i = 0; i < parameters.size(); ++i)
            if (std::string(parameters[i].key) == key)
                return GetParam().values[i];
        return {};
    }

    uint64_t number(const char *key, uint64_t fallback) const
    {
        const Value text = value(key);
        return text ? std::stoull(*text) : fallback;
    }

    void offer()
    {
        for (size_t i = 0; i < parameters.size(); ++i)
            if (!std::string(parameters[i].key).starts_with("wish-"))
                backend->keys[parameters[i].key] = GetParam().values[i];
        if (const Value trusted = value("trusted"))
            sim::store::write(frontend_dir + "/trusted", *trusted);
        backend->keys.erase("trusted");
        backend->change = [this](Response &response) { operations.insert(response.operation); };
        kernel.wishes = {
            .trusted = number("wish-trusted", 0) == 1,
            .persistent_grants = number("wish-persistent", 0) == 1,
            .queues = static_cast<uint16_t>(number("wish-queues", 0)),
            .polled_queues = static_cast<uint16_t>(number("wish-polled", 0)),
            .ring_page_order = static_cast<uint16_t>(number("wish-order", 0)),
            .segments = static_cast<uint16_t>(number("wish-segments", 0)),
        };
    }

    void expect_disk()
    {
        const auto &geometry = kernel.geometry;
        const uint64_t info = number("info", 0);
        EXPECT_EQ(geometry.sectors, number("sectors", 0));
        EXPECT_EQ(geometry.sector_size, number("sector-size", 0));
        EXPECT_EQ(geometry.physical_sector_size,
                  number("physical-sector-size", geometry.sector_size));
        EXPECT_EQ(geometry.read_only, (info & 4) != 0);
        EXPECT_EQ(geometry.removable, (info & 2) != 0);
        EXPECT_EQ(geometry.cdrom, (info & 1) != 0);
        EXPECT_EQ(geometry.flush, number("feature-flush-cache", 0) ? BLKFRONT_FLUSH_CACHE
                                  : number("feature-barrier", 0)   ? BLKFRONT_BARRIER
                                                                   : BLKFRONT_NO_FLUSH);
        const bool discard = number("feature-discard", 0);
        EXPECT_EQ(geometry.discard_granularity,
                  discard ? number("discard-granularity", geometry.sector_size) : 0);
        EXPECT_EQ(geometry.discard_alignment, 0u);
        EXPECT_EQ(geometry.secure_discard, discard && number("discard-secure", 0));
    }

    void expect_rings()
    {
        const auto &geometry = kernel.geometry;
        EXPECT_EQ(geometry.trusted, kernel.wishes.trusted && number("trusted", 1) != 0);
        EXPECT_EQ(geometry.persistent_grants,
                  kernel.wishes.persistent_grants && number("feature-persistent", 0));
        const uint64_t queues = std::clamp<uint64_t>(number("multi-queue-max-queues", 1), 1, 32);
        EXPECT_EQ(geometry.polled_queues,
                  std::min<uint64_t>(kernel.wishes.polled_queues, queues - 1));
        EXPECT_EQ(geometry.queues,
                  std::min<uint64_t>(kernel.wishes.queues, queues - geometry.polled_queues));
        uint64_t pages = number("max-ring-pages", 1);
        if (value("max-ring-page-order"))
            pages = uint64_t{1} << std::min<uint64_t>(number("max-ring-page-order", 0), 10);
        pages = std::clamp<uint64_t>(pages, 1, 1u << kernel.wishes.ring_page_order);
        EXPECT_EQ(geometry.ring_pages, std::bit_floor(pages));
        expect_transport(geometry.queues + geometry.polled_queues, geometry.ring_pages);
        const uint64_t segments =
            std::min<uint64_t>(kernel.wishes.segments, number("feature-max-indirect-segments", 0));
        EXPECT_LE(geometry.segments, std::max<uint64_t>(segments, 11));
        EXPECT_GE(geometry.segments, std::clamp<uint64_t>(segments, 11, 64));
    }

    // A request as large as can be, and a single block, written and read back, on every queue.
    void expect_io()
    {
        if (kernel.geometry.sectors == 0) {
            Page page;
            EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment(0, 0)}), -EINVAL);
            return;
        }
        const unsigned block = kernel.geometry.sector_size / 512;
        const auto most = static_cast<unsigned>(
            std::min<uint64_t>(kernel.geometry.segments, kernel.geometry.sectors / 8));
        for (uint16_t queue = 0; queue < kernel.geometry.queues; ++queue) {
            Buffer large(most), small(1, {{0, block - 1}});
            expect_transfer(large, {.queue = queue});
            expect_transfer(small, {.queue = queue});
        }
        for (uint16_t queue = 0; queue < kernel.geometry.polled_queues; ++queue) {
            Buffer one(1);
            ASSERT_EQ(
                submit(BLKFRONT_READ, 0, one.segments(), nullptr, {.queue = queue, .polled = true}),
                0);
            sim::run();
            EXPECT_EQ(blkfront_poll(disk, queue, true), 1u);
            EXPECT_TRUE(one.holds(backend->disk.data()));
        }
    }

    void expect_transfer(Buffer &buffer, const Options &options)
    {
        auto expected = backend->disk;
        buffer.number(static_cast<unsigned>(expected[0]));
        if (kernel.geometry.read_only) {
            EXPECT_EQ(submit(BLKFRONT_WRITE, 0, buffer.segments(), nullptr, options), -EACCES);
        } else {
            EXPECT_EQ(request(BLKFRONT_WRITE, 0, buffer.segments(), options), BLKFRONT_DONE);
            EXPECT_TRUE(buffer.holds(backend->disk.data()));
            std::copy_n(backend->disk.begin(), buffer.bytes(), expected.begin());
        }
        EXPECT_TRUE(backend->disk == expected);
        EXPECT_EQ(sim::leaked(), "");
        buffer.fill(0);
        EXPECT_EQ(request(BLKFRONT_READ, 0, buffer.segments(), options), BLKFRONT_DONE);
        EXPECT_TRUE(buffer.holds(expected.data()));
    }

    void expect_flush_and_discard()
    {
        if (kernel.geometry.flush != BLKFRONT_NO_FLUSH)
            EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
        else
            EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
        const bool possible = kernel.geometry.sectors > 0 && !kernel.geometry.read_only;
        for (const auto operation : {BLKFRONT_DISCARD, BLKFRONT_SECURE_DISCARD}) {
            const bool offered = operation == BLKFRONT_DISCARD
                                     ? kernel.geometry.discard_granularity > 0
                                     : kernel.geometry.secure_discard;
            if (!offered) {
                EXPECT_EQ(submit(operation, 0, {}, nullptr, {.sectors = 8}), -EOPNOTSUPP);
            } else if (possible) {
                EXPECT_EQ(request(operation, 0, {}, {.sectors = 8}), BLKFRONT_DONE);
            }
        }
    }

    // Neither in requests nor in xenstore.
    void expect_only_what_was_offered()
    {
        std::set<unsigned> allowed = {0, 1};
        if (value("feature-flush-cache") == "1")
            allowed.insert(3);
        if (value("feature-barrier") == "1")
            allowed.insert(2);
        if (value("feature-discard") == "1")
            allowed.insert(5);
        if (number("feature-max-indirect-segments", 0) > 11)
            allowed.insert(6);
        EXPECT_TRUE(
            std::includes(allowed.begin(), allowed.end(), operations.begin(), operations.end()));
        // Of the rings, see expect_rings().
        const std::set<std::string> known = {"backend", "backend-id", "virtual-device",
                                             "state",   "trusted",    "protocol"};
        for (const auto &key : sim::store::list(frontend_dir)) {
            const bool of_rings = key.starts_with("ring-") || key.starts_with("queue-") ||
                                  key.starts_with("multi-queue-") || key == "num-ring-pages" ||
                                  key == "event-channel";
            const bool persistent = key == "feature-persistent" && kernel.wishes.persistent_grants;
            EXPECT_TRUE(of_rings || persistent || known.contains(key)) << key;
        }
    }

    // Nothing persists but the rings, unless that was agreed on; and the backend has the rest.
    void expect_grants()
    {
        const auto &geometry = kernel.geometry;
        const unsigned rings = (geometry.queues + geometry.polled_queues) * geometry.ring_pages;
        EXPECT_EQ(sim::grants_in_force(), rings + backend->kept());
        EXPECT_EQ(backend->kept() > 0, geometry.persistent_grants && geometry.sectors > 0);
    }

    std::set<unsigned> operations;
};

TEST_P(Matrix, ConnectsAndWorksOrRefuses)
{
    offer();
    backend->start();
    if (!GetParam().accepted) {
        expect_broken("refused, the backend's ");
        EXPECT_EQ(kernel.ready, 0u);
        return;
    }
    pump();
    ASSERT_EQ(kernel.ready, 1u);
    expect_disk();
    expect_rings();
    expect_io();
    expect_flush_and_discard();
    expect_only_what_was_offered();
    EXPECT_TRUE(sim::complaints().empty());
    EXPECT_EQ(sim::delayed_events(), 0u);
    expect_grants();
    detach(); // the fixture looks for leaks
}

const auto row_name = [](const auto &info) { return "Row" + std::to_string(info.index); };

INSTANTIATE_TEST_SUITE_P(Good, Matrix, ::testing::ValuesIn(rows(false)), row_name);
INSTANTIATE_TEST_SUITE_P(WithBad, Matrix, ::testing::ValuesIn(rows(true)), row_name);

} // namespace
} // namespace blktest
