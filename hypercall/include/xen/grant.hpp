// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Grants, version 1 (public/grant_table.h): giving a peer access to one of our frames, and the
// only safe way of taking it back. A page whose grant could not be revoked is quarantined.
#pragma once

#include <xen/abi.hpp>
#include <xen/types.hpp>

namespace xen {

enum class GrantAccess { read_write, read_only };

// Asks Xen for `count` grant-table frames, or as many as it allows: fills list[] for the kernel to
// map contiguously. GNTTABOP_query_size, GNTTABOP_setup_table.
Result<unsigned> grant_table_frames(uint64_t *list, unsigned count);

constexpr unsigned grant_frames_max = 64;

// Sets the table up from `frames` mapped grant-table pages (from grant_table_frames(), mapped
// contiguously at `table`). May sleep. Called once, and again when every grant has become void.
Status grant_table_init(abi::GrantEntryV1 *table, unsigned frames);

// The table has only so many frames from now on: a restored domain's, where there are no more.
// Never sleeps. no_space: references beyond them are in use or reserved.
Status grant_table_shrink(unsigned frames);

// A reservation-free, single grant. Move-only; must be ended explicitly.
class Grant {
public:
    Grant() = default;
    Grant(Grant &&other);
    Grant &operator=(Grant &&other);
    Grant(const Grant &) = delete;
    ~Grant();

    // Grants `peer` access to the frame of `page` (see xen_port_frame). Never sleeps.
    // no_space: the table is full.
    static Result<Grant> give(DomId peer, const void *page, GrantAccess access);

    // Revokes: only the outcome of the compare-and-swap on the entry's flags counts. busy: the
    // peer has the page mapped; the grant stays in force. Never sleeps.
    Status end();

    // Revokes, and if the peer holds on, keeps page and reference in quarantine: reclaim_grants()
    // frees both later. Afterwards the caller no longer owns `page` (from xen_port_page_alloc).
    void end_and_free(void *page);

    bool active() const { return ref_.value != 0; }
    GrantRef ref() const { return ref_; }

private:
    GrantRef ref_{}; // references below 8 are reserved, so 0 is "none"
};

// A reserve of references for an I/O path: taken at connect, so that granting never fails later.
// Not locked: its driver serialises the calls on one pool.
class GrantPool {
public:
    constexpr GrantPool() = default;
    GrantPool(const GrantPool &) = delete;
    // Reserves `count` references. no_space: too few are free (nothing is kept). Never sleeps.
    Status reserve(unsigned count);
    // Gives all unused references back.
    void release();
    // Grants a frame with a reserved reference; an empty pool is no_space. Never sleeps. If the
    // domain was restored since the last reserve(), nobody gets it: the peer's number is of the
    // time before.
    Result<GrantRef> give(DomId peer, uint64_t frame, GrantAccess access);
    // Revokes and puts the reference back. busy: the peer holds the page; nothing changed.
    Status end(GrantRef ref);
    // The peer holds on: moves reference (and page, if not null) to quarantine; the pool has one
    // fewer.
    void quarantine(GrantRef ref, void *page);
    unsigned available() const { return available_; }
    ~GrantPool() { release(); }

private:
    uint32_t head_ = 0; // list threaded through the table's free list
    unsigned available_ = 0;
    uint32_t life_ = 0; // of the domain, in which the references were reserved
};

// Tries to revoke everything in quarantine; returns how many grants remain there. May sleep. The
// kernel calls it every few seconds.
unsigned reclaim_grants();

// References neither in use nor reserved, for tests and statistics.
unsigned free_grants();

} // namespace xen
