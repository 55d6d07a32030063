// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Several pages of the guest's as the buffer of one request, for tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>

#include "frontend.hpp"

namespace blktest {

class Buffer {
public:
    // Whole pages.
    explicit Buffer(unsigned pages)
    {
        for (unsigned i = 0; i < pages; ++i)
            add(0, 7);
    }
    // So many sectors of each page: (first, last) in turn.
    Buffer(unsigned pages, const std::vector<std::pair<unsigned, unsigned>> &parts)
    {
        for (unsigned i = 0; i < pages; ++i)
            add(parts[i % parts.size()].first, parts[i % parts.size()].second);
    }

    const std::vector<blkfront_segment> &segments() const { return segments_; }
    size_t bytes() const { return bytes_; }

    // Everything, also what is around the segments.
    void fill(uint8_t byte)
    {
        for (const Page &page : pages_)
            std::memset(page.data, byte, 4096);
    }
    // What the segments hold, in their order; another content for each seed.
    void number(unsigned seed)
    {
        for_each([&](uint8_t &byte, size_t at) {
            byte = static_cast<uint8_t>(at * 31 + at / 512 * 7 + seed * 101 + 1);
        });
    }
    // Do the segments hold this?
    bool holds(const uint8_t *expected)
    {
        bool same = true;
        for_each([&](uint8_t &byte, size_t at) { same &= byte == expected[at]; });
        return same;
    }
    // Is everything around the segments this?
    bool surrounded_by(uint8_t byte) const
    {
        for (size_t i = 0; i < segments_.size(); ++i) {
            const uint8_t *page = pages_[i].data;
            const auto is = [&](uint8_t other) { return other == byte; };
            if (!std::all_of(page, page + segments_[i].first_sector * 512, is) ||
                !std::all_of(page + (segments_[i].last_sector + 1) * 512, page + 4096, is))
                return false;
        }
        return true;
    }
    const Page &page(size_t index) const { return pages_[index]; }

private:
    void add(unsigned first, unsigned last)
    {
        segments_.push_back(pages_.emplace_back().segment(first, last));
        bytes_ += (last - first + 1) * 512;
    }

    template <class F>
    void for_each(F each)
    {
        size_t at = 0;
        for (size_t i = 0; i < segments_.size(); ++i)
            for (unsigned byte = segments_[i].first_sector * 512u;
                 byte < (segments_[i].last_sector + 1u) * 512; ++byte)
                each(pages_[i].data[byte], at++);
    }

    std::deque<Page> pages_;
    std::vector<blkfront_segment> segments_;
    size_t bytes_ = 0;
};

} // namespace blktest
