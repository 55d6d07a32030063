// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Pages that stay granted to the backend for a whole connection (public/grant_table.h, version 1):
// rings, and packet buffers. They hold nothing else: zeroed when allocated, freed only when the
// backend's access was revoked, so no other memory of the guest ever shows in them.
#pragma once

#include <xen/grant.hpp>

namespace xen {

// After an error of allocate(), too, release() has to follow.

class GrantedPage final {
public:
    // May sleep.
    Status allocate(DomId peer);

    // Revokes and frees. False: the backend holds on to it; to be tried again. Idempotent.
    bool release();
    // The same for the last time: what the backend holds on to goes to quarantine.
    void abandon();

    void *page() { return page_; }
    GrantRef grant() const { return grant_.ref(); }

private:
    void *page_ = nullptr;
    Grant grant_;
};

constexpr unsigned granted_pages_max = 256;

class GrantedPages final {
public:
    // May sleep.
    Status allocate(DomId peer, GrantAccess access, unsigned count);

    // Revokes and frees. False: the backend holds on to some, which stay here until another call
    // gets them; allocate() has to wait for that. Idempotent.
    bool release();
    void abandon();

    unsigned count() const { return count_; }
    void *page(unsigned index) { return pages_[index]; }
    GrantRef grant(unsigned index) const { return grants_[index]; }

private:
    GrantPool pool_;
    void *pages_[granted_pages_max]{};
    GrantRef grants_[granted_pages_max]{};
    unsigned count_ = 0;
};

} // namespace xen
