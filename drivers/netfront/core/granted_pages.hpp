// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Packet buffers that stay granted to the backend for a whole connection (public/grant_table.h,
// version 1). They hold nothing but packets of this interface: zeroed when allocated, freed only
// when the backend's access was revoked, so no other memory of the guest ever shows in them.
#pragma once

#include <xen/grant.hpp>

namespace xen {

constexpr unsigned granted_pages_max = 256;

class GrantedPages final {
public:
    // Allocates and grants `count` pages. After an error, too, release() has to follow. May sleep.
    Status allocate(DomId peer, GrantAccess access, unsigned count);

    // Revokes and frees. False: the backend holds on to some, which stay here until another call
    // gets them; allocate() has to wait for that. Idempotent.
    bool release();
    // The same for the last time: what the backend holds on to goes to quarantine.
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
