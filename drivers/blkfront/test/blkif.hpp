// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What is on a block ring (public/io/blkif.h), as a backend of the 64-bit layout sees it: written
// down once more, so that a mistake in the core's own view is not made on both sides.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blktest {

// The operations of public/io/blkif.h.
enum : uint8_t {
    op_read = 0,
    op_write = 1,
    op_barrier = 2,
    op_flush = 3,
    op_discard = 5,
    op_indirect = 6,
};

constexpr int16_t status_okay = 0;
constexpr int16_t status_error = -1;
constexpr int16_t status_not_supported = -2;

constexpr unsigned direct_segments = 11;
constexpr unsigned indirect_pages = 8;
constexpr unsigned segments_per_page = 512;

struct Segment {
    uint32_t grant;
    uint8_t first_sector;
    uint8_t last_sector;
    uint8_t pad[2];
};

struct Discard {
    uint8_t operation;
    uint8_t flags; // 1: secure
    uint16_t handle;
    uint32_t pad;
    uint64_t id;
    uint64_t sector;
    uint64_t sectors;
};

struct Indirect {
    uint8_t operation;
    uint8_t inner; // read or write
    uint16_t segment_count;
    uint32_t pad;
    uint64_t id;
    uint64_t sector;
    uint16_t handle;
    uint16_t pad2;
    uint32_t grants[indirect_pages];
    uint32_t pad3;
};
static_assert(sizeof(Indirect) == 64 && offsetof(Indirect, grants) == 28);

struct Request {
    uint8_t operation;
    uint8_t segment_count;
    uint16_t handle;
    uint32_t pad;
    uint64_t id;
    uint64_t sector;
    Segment segments[direct_segments];

    template <class T>
    T as() const
    {
        static_assert(sizeof(T) <= sizeof(Request));
        T other;
        __builtin_memcpy(&other, this, sizeof(other));
        return other;
    }
};
static_assert(sizeof(Request) == 112 && offsetof(Request, segments) == 24);

struct Response {
    uint64_t id;
    uint8_t operation;
    uint8_t pad0;
    int16_t status;
    uint32_t pad1;
};
static_assert(sizeof(Response) == 16);

} // namespace blktest
