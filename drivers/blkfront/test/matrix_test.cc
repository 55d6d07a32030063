// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The matrix of negotiation: whatever a backend offers, in combination, the frontend connects or
// refuses with one line, uses nothing that was not offered, and its disk works.
#include <algorithm>
#include <cstring>
#include <set>

#include <sim/pairwise.hpp>
#include <xen/grant.hpp>

#include "frontend.hpp"

namespace blktest {
namespace {

using Value = std::optional<std::string>; // empty: the key is absent

struct Parameter {
    const char *key; // "trusted" is the frontend's, all others are the backend's
    std::vector<Value> good;
    std::vector<Value> bad; // the frontend refuses the backend
};

// What any feature may be: this frontend does not look at it.
const std::vector<Value> anything = {{}, "0", "1", "32", "4294967295", "many"};

// Later features only move a key from "anything" to values and expectations of its own.
const std::vector<Parameter> parameters = {
    {"trusted", {{}, "0", "1"}, {}},
    {"sectors", {"2048", "8", "0"}, {{}, "many", "36028797018963968"}},
    {"sector-size", {"512", "1024", "4096"}, {{}, "0", "513", "8192", "512b"}},
    {"physical-sector-size", {{}, "4096", "65536"}, {"0", "1000", "4294967296", "4k"}},
    {"info", {{}, "0", "1", "2", "4", "7", "4294967295"}, {"4294967296", "ro"}},
    {"feature-flush-cache", {{}, "0", "1"}, {"2", "yes"}},
    {"feature-barrier", anything, {}},
    {"feature-discard", anything, {}},
    {"discard-granularity", anything, {}},
    {"discard-alignment", anything, {}},
    {"discard-secure", anything, {}},
    {"feature-persistent", anything, {}},
    {"feature-max-indirect-segments", anything, {}},
    {"max-ring-page-order", anything, {}},
    {"max-ring-pages", anything, {}},
    {"multi-queue-max-queues", anything, {}},
    {"feature-large-sector-size", anything, {}},
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
            backend->keys[parameters[i].key] = GetParam().values[i];
        if (const Value trusted = value("trusted"))
            sim::store::write(frontend_dir + "/trusted", *trusted);
        backend->keys.erase("trusted");
        backend->change = [this](Response &response) { operations.insert(response.operation); };
    }

    void expect_geometry()
    {
        const auto &geometry = kernel.geometry;
        EXPECT_EQ(geometry.sectors, number("sectors", 0));
        EXPECT_EQ(geometry.sector_size, number("sector-size", 0));
        EXPECT_EQ(geometry.physical_sector_size,
                  number("physical-sector-size", geometry.sector_size));
        EXPECT_EQ(geometry.read_only, (number("info", 0) & 4) != 0);
        EXPECT_EQ(geometry.flush, number("feature-flush-cache", 0) == 1);
    }

    // Whole pages and single blocks, written and read back.
    void expect_io()
    {
        if (kernel.geometry.sectors == 0) {
            Page page;
            EXPECT_EQ(submit(BLKFRONT_READ, 0, {page.segment(0, 0)}), -EINVAL);
            return;
        }
        const unsigned block = kernel.geometry.sector_size / 512;
        for (const unsigned last : {7u, block - 1}) {
            Page out, in;
            for (unsigned i = 0; i < 4096; ++i)
                out.data[i] = static_cast<uint8_t>(i * 13 + last);
            auto expected = backend->disk;
            const size_t length = (last + 1) * 512;
            if (kernel.geometry.read_only) {
                EXPECT_EQ(submit(BLKFRONT_WRITE, 0, {out.segment(0, last)}), -EACCES);
            } else {
                EXPECT_EQ(request(BLKFRONT_WRITE, 0, {out.segment(0, last)}), BLKFRONT_DONE);
                std::memcpy(expected.data(), out.data, length);
            }
            EXPECT_EQ(backend->disk, expected);
            EXPECT_EQ(request(BLKFRONT_READ, 0, {in.segment(0, last)}), BLKFRONT_DONE);
            EXPECT_EQ(std::memcmp(in.data, expected.data(), length), 0);
        }
    }

    void expect_flush()
    {
        if (kernel.geometry.flush)
            EXPECT_EQ(request(BLKFRONT_FLUSH, 0, {}), BLKFRONT_DONE);
        else
            EXPECT_EQ(submit(BLKFRONT_FLUSH, 0, {}), -EOPNOTSUPP);
    }

    // Neither in requests nor in xenstore.
    void expect_only_what_was_offered()
    {
        std::set<unsigned> allowed = {0, 1};
        if (value("feature-flush-cache") == "1")
            allowed.insert(3);
        EXPECT_TRUE(
            std::includes(allowed.begin(), allowed.end(), operations.begin(), operations.end()));
        const std::set<std::string> known = {"backend", "backend-id", "virtual-device", "state",
                                             "trusted", "ring-ref",   "event-channel",  "protocol"};
        for (const auto &key : sim::store::list(frontend_dir))
            EXPECT_TRUE(known.contains(key)) << key;
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
    expect_geometry();
    expect_io();
    expect_flush();
    expect_only_what_was_offered();
    EXPECT_TRUE(sim::complaints().empty());
    EXPECT_EQ(sim::delayed_events(), 0u);
    EXPECT_EQ(sim::grants_in_force(), 1u); // nothing persistent but the ring
    detach();                              // the fixture looks for leaks
}

const auto row_name = [](const auto &info) { return "Row" + std::to_string(info.index); };

INSTANTIATE_TEST_SUITE_P(Good, Matrix, ::testing::ValuesIn(rows(false)), row_name);
INSTANTIATE_TEST_SUITE_P(WithBad, Matrix, ::testing::ValuesIn(rows(true)), row_name);

} // namespace
} // namespace blktest
