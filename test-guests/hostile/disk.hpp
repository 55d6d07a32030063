// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A disk whose frontend need not keep the rules (public/io/blkif.h).
#pragma once

#include "frontend.hpp"

class Disk : public Frontend {
public:
    // Connects as the script says; false: the backend does not want to.
    xen::Result<bool> connect(const Words &words);
    // Sends the script's requests and waits for the answer of the first.
    Outcome send(const Words &words);
    // Writes, flushes and reads back a page that no request before this one held.
    bool works();

private:
    struct Segment {
        uint32_t gref;
        uint8_t first, last;
        uint16_t pad;
    };
    struct Request { // of direct segments
        uint8_t operation, segments;
        uint16_t handle;
        uint32_t pad;
        uint64_t id, sector;
        Segment segment[11];
    };
    struct Indirect {
        uint8_t operation, inner;
        uint16_t segments;
        uint32_t pad;
        uint64_t id, sector;
        uint16_t handle, pad2;
        uint32_t gref[8];
        uint64_t pad3;
    };
    struct Discard {
        uint8_t operation, flag;
        uint16_t handle;
        uint32_t pad;
        uint64_t id, sector, count;
    };
    struct Response {
        uint64_t id;
        uint8_t operation, pad;
        int16_t status;
        uint32_t pad2;
    };
    static_assert(sizeof(Request) == 112 && sizeof(Response) == 16);
    static_assert(offsetof(Indirect, gref) == 28);
    static constexpr unsigned slots = 32;

    void put(const Words &words, uint32_t index);
    void put_indirect(const Words &words, void *slot, uint32_t index);
    Outcome answer(unsigned ms);
    bool transfer(uint8_t operation);
    void flip(const Words &words, unsigned count);

    uint32_t req_prod_ = 0;
    uint32_t rsp_cons_ = 0;
    uint64_t pattern_ = 0;
};
