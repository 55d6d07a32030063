// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Pages of a queue's own, which data goes through where the kernel's memory is not to be granted,
// and which list the segments of indirect requests (public/io/blkif.h). They are zeroed at first,
// and hold nothing later but what this backend was shown or wrote. One that the backend keeps
// mapped stays granted, and is the first to be used again: that is how grants persist.
//
// Not locked: the queue serialises the calls.
#pragma once

#include <xen/grant.hpp>

#include "table.hpp"

namespace xen::blk {

// An index that is none.
constexpr uint16_t none = 0xffff;

class OwnPages {
public:
    // So many, or as many as there is memory for: see available(). Sleeps.
    Status allocate(unsigned count);
    // Frees them all; those that the backend has mapped go to quarantine. None is in use.
    void release(GrantPool &pool);

    unsigned available() const { return available_; }
    unsigned granted() const { return granted_; } // of these

    // Takes an available one, and grants it unless it is.
    uint16_t take(GrantPool &pool, DomId peer, GrantAccess access);
    // Ends the access to one in use. False: the backend has it mapped.
    bool end(uint16_t index, GrantPool &pool);
    // Gives one back, whether it is granted or not.
    void put(uint16_t index);
    // Ends the access to those that were not used for two rounds, as far as it can be.
    void age(GrantPool &pool);

    void *page(uint16_t index) { return pages_[index].page; }
    GrantRef grant(uint16_t index) { return pages_[index].grant; }

private:
    struct OwnPage {
        void *page;
        GrantRef grant; // 0: none
        uint16_t next;
        uint8_t rounds; // of age() since it was used
    };

    Table<OwnPage> pages_;
    // Lists of those that are available, last in first out.
    uint16_t granted_head_ = none;
    uint16_t private_head_ = none;
    unsigned available_ = 0;
    unsigned granted_ = 0;
};

} // namespace xen::blk
