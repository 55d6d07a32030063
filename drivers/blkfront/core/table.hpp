// SPDX-License-Identifier: MIT OR GPL-2.0-only
// An array whose length is known when a disk connects, in pages of its own. Speaks no part of Xen's
// interface.
#pragma once

#include <type_traits>

#include <xen/port.h>
#include <xen/types.hpp>

namespace xen::blk {

template <class T>
class Table {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    // Of zeroes. Sleeps.
    Status allocate(unsigned count)
    {
        // SAFETY: zeroed pages, large enough for `count` of these, that nobody else has.
        entries_ = static_cast<T *>(xen_port_pages_alloc(pages(count)));
        count_ = entries_ ? count : 0;
        return entries_ ? Status() : Error::no_memory;
    }

    void free()
    {
        for (unsigned i = 0; i < pages(count_); ++i)
            xen_port_page_free(reinterpret_cast<char *>(entries_) + i * page_size);
        entries_ = nullptr;
        count_ = 0;
    }

    unsigned count() const { return count_; }
    T &operator[](unsigned index) { return entries_[index]; }

private:
    static unsigned pages(unsigned count)
    {
        return static_cast<unsigned>((count * sizeof(T) + page_size - 1) / page_size);
    }

    T *entries_ = nullptr;
    unsigned count_ = 0;
};

} // namespace xen::blk
