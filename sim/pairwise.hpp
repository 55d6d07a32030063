// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Combinations of parameters for tests of negotiation: every value of each parameter meets every
// value of each other one in some combination, and there are about as few as that takes.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace sim {

using Combination = std::vector<unsigned>; // for each parameter the index of its value

// `sizes`: of each of two or more parameters, how many values it has. Always the same result.
class Pairwise {
public:
    explicit Pairwise(std::vector<unsigned> sizes) : sizes_(std::move(sizes))
    {
        for (const unsigned size : sizes_) {
            first_.push_back(values_);
            values_ += size;
        }
        covered_.assign(size_t{values_} * values_, false);
    }

    std::vector<Combination> combinations()
    {
        std::vector<Combination> all;
        for (unsigned a = 0; a < sizes_.size(); a++)
            for (unsigned b = 0; b < a; b++)
                for (unsigned i = 0; i < sizes_[a]; i++)
                    for (unsigned j = 0; j < sizes_[b]; j++)
                        if (!covered(a, i, b, j))
                            all.push_back(combine(a, i, b, j));
        return all;
    }

private:
    static constexpr unsigned open = ~0u;

    std::vector<bool>::reference covered(unsigned a, unsigned i, unsigned b, unsigned j)
    {
        return covered_[size_t{first_[a] + i} * values_ + first_[b] + j];
    }

    // A combination with the given pair, and for the rest what covers most.
    Combination combine(unsigned a, unsigned i, unsigned b, unsigned j)
    {
        Combination row(sizes_.size(), open);
        row[a] = i;
        row[b] = j;
        for (unsigned parameter = 0; parameter < row.size(); parameter++)
            if (row[parameter] == open)
                row[parameter] = best(row, parameter);
        for (unsigned p = 0; p < row.size(); p++)
            for (unsigned q = 0; q < row.size(); q++)
                covered(p, row[p], q, row[q]) = true;
        rows_++;
        return row;
    }

    unsigned best(const Combination &row, unsigned parameter)
    {
        unsigned choice = 0, most = 0;
        for (unsigned k = 0; k < sizes_[parameter]; k++) {
            // Starting somewhere else each time spreads what makes no difference.
            const unsigned value = (k + rows_) % sizes_[parameter];
            unsigned gain = 1;
            for (unsigned other = 0; other < row.size(); other++)
                gain += row[other] != open && !covered(parameter, value, other, row[other]);
            if (gain > most) {
                most = gain;
                choice = value;
            }
        }
        return choice;
    }

    std::vector<unsigned> sizes_;
    std::vector<unsigned> first_; // number of each parameter's first value among all values
    unsigned values_ = 0;
    unsigned rows_ = 0;
    std::vector<bool> covered_; // pairs of values
};

inline std::vector<Combination> pairwise(std::vector<unsigned> sizes)
{
    return Pairwise(std::move(sizes)).combinations();
}

} // namespace sim
