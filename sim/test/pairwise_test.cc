// SPDX-License-Identifier: MIT OR GPL-2.0-only
// pairwise(): nothing is left out, and little is there twice.
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include <sim/pairwise.hpp>

namespace {

void expect_every_pair(const std::vector<unsigned> &sizes, size_t at_most)
{
    std::set<std::tuple<size_t, unsigned, size_t, unsigned>> seen;
    const auto rows = sim::pairwise(sizes);
    EXPECT_LE(rows.size(), at_most);
    for (const sim::Combination &row : rows) {
        ASSERT_EQ(row.size(), sizes.size());
        for (size_t a = 0; a < row.size(); a++) {
            ASSERT_LT(row[a], sizes[a]);
            for (size_t b = 0; b < a; b++)
                seen.emplace(a, row[a], b, row[b]);
        }
    }
    size_t pairs = 0;
    for (size_t a = 0; a < sizes.size(); a++)
        for (size_t b = 0; b < a; b++)
            pairs += size_t{sizes[a]} * sizes[b];
    EXPECT_EQ(seen.size(), pairs);
}

TEST(Pairwise, HasEveryPair)
{
    expect_every_pair({1, 1}, 1);
    expect_every_pair({2, 3}, 6);
    expect_every_pair({4, 2, 3}, 12);
    expect_every_pair({3, 3, 3, 3}, 12);
    expect_every_pair(std::vector<unsigned>(10, 2), 10);
    expect_every_pair(std::vector<unsigned>(17, 6), 90);
}

} // namespace
