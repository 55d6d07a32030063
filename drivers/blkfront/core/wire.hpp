// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a block frontend and its backend exchange on the ring, in the layout that the frontend
// announces as protocol "x86_64-abi" (public/io/blkif.h). All sector numbers and counts are in
// units of 512 bytes, whatever the disk's sector size.
#pragma once

#include <cstddef>
#include <cstdint>

#include <xen/ring.hpp>

namespace xen::blk {

constexpr const char protocol_name[] = "x86_64-abi";
constexpr unsigned max_segments = 11;
constexpr unsigned sectors_per_page = page_size / 512;

enum class Operation : uint8_t {
    read = 0,
    write = 1,
    barrier = 2,
    flush = 3,
    discard = 5,
    indirect = 6,
};
constexpr uint8_t discard_secure = 1; // a flag of a discard

// Statuses of a response.
constexpr int16_t status_okay = 0;
constexpr int16_t status_error = -1;
constexpr int16_t status_not_supported = -2;

// Bits of the backend's key `info`.
constexpr uint32_t info_cdrom = 1;
constexpr uint32_t info_removable = 2;
constexpr uint32_t info_read_only = 4;

// A run of sectors inside one page.
struct Segment {
    uint32_t grant;
    uint8_t first_sector; // both inclusive
    uint8_t last_sector;
    uint8_t pad[2];
};
static_assert(sizeof(Segment) == 8);
static_assert(offsetof(Segment, first_sector) == 4 && offsetof(Segment, last_sector) == 5);

struct Request {
    uint8_t operation;
    uint8_t segment_count;
    uint16_t handle;
    uint32_t pad;
    uint64_t id; // echoed in the response
    uint64_t sector;
    Segment segments[max_segments];
};
static_assert(sizeof(Request) == 112);
static_assert(offsetof(Request, handle) == 2 && offsetof(Request, id) == 8);
static_assert(offsetof(Request, sector) == 16 && offsetof(Request, segments) == 24);

struct DiscardRequest {
    Operation operation;
    uint8_t flags;
    uint16_t handle;
    uint32_t pad;
    uint64_t id;
    uint64_t sector;
    uint64_t sectors;
};
static_assert(sizeof(DiscardRequest) == 32);
static_assert(offsetof(DiscardRequest, id) == 8 && offsetof(DiscardRequest, sectors) == 24);

// A read or write whose segments lie in pages of their own.
struct IndirectRequest {
    Operation operation;
    Operation inner;
    uint16_t segment_count;
    uint32_t pad0;
    uint64_t id;
    uint64_t sector;
    uint16_t handle;
    uint16_t pad1;
    uint32_t grants[8]; // of these pages; this side uses one
    uint32_t pad2;
};
static_assert(sizeof(IndirectRequest) == 64);
static_assert(offsetof(IndirectRequest, segment_count) == 2 && offsetof(IndirectRequest, id) == 8);
static_assert(offsetof(IndirectRequest, sector) == 16 && offsetof(IndirectRequest, handle) == 24);
static_assert(offsetof(IndirectRequest, grants) == 28);
constexpr unsigned max_indirect_segments = page_size / sizeof(Segment);

struct Response {
    uint64_t id;
    uint8_t operation;
    uint8_t pad0;
    int16_t status;
    uint8_t pad1[4];
};
static_assert(sizeof(Response) == 16);
static_assert(offsetof(Response, operation) == 8 && offsetof(Response, status) == 10);

using Ring = FrontRing<Request, Response>;
static_assert(ring_slots(page_size, sizeof(Ring::Slot)) == 32);

} // namespace xen::blk
