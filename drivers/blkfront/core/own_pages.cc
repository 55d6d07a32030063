// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Allocating, granting and taking back a queue's own pages (public/grant_table.h, version 1).
#include "own_pages.hpp"

#include <xen/port.h>

namespace xen::blk {

Status OwnPages::allocate(unsigned count)
{
    TRY(pages_.allocate(count));
    for (unsigned i = 0; i < count; ++i) {
        void *page = xen_port_page_alloc();
        if (!page)
            return {};
        if (xen_port_frame(page) > UINT32_MAX) { // no entry of the grant table can name it
            xen_port_page_free(page);
            return {};
        }
        pages_[i].page = page;
        put(static_cast<uint16_t>(i));
    }
    return {};
}

void OwnPages::release(GrantPool &pool)
{
    for (unsigned i = 0; i < pages_.count(); ++i) {
        const OwnPage &own = pages_[i];
        if (own.grant.value != 0 && !pool.end(own.grant).ok())
            pool.quarantine(own.grant, own.page);
        else if (own.page)
            xen_port_page_free(own.page);
    }
    pages_.free();
    granted_head_ = private_head_ = none;
    available_ = granted_ = 0;
}

uint16_t OwnPages::take(GrantPool &pool, DomId peer, GrantAccess access)
{
    uint16_t &head = granted_ > 0 ? granted_head_ : private_head_;
    const uint16_t index = head;
    OwnPage &own = pages_[index];
    head = own.next;
    --available_;
    if (own.grant.value != 0)
        --granted_;
    else
        own.grant = pool.give(peer, xen_port_frame(own.page), access).value();
    return index;
}

bool OwnPages::end(uint16_t index, GrantPool &pool)
{
    OwnPage &own = pages_[index];
    if (!pool.end(own.grant).ok())
        return false;
    own.grant = {};
    return true;
}

void OwnPages::put(uint16_t index)
{
    OwnPage &own = pages_[index];
    const bool granted = own.grant.value != 0;
    uint16_t &head = granted ? granted_head_ : private_head_;
    own.next = head;
    own.rounds = 0;
    head = index;
    ++available_;
    granted_ += granted;
}

void OwnPages::age(GrantPool &pool)
{
    uint16_t *link = &granted_head_;
    while (*link != none) {
        const uint16_t index = *link;
        OwnPage &own = pages_[index];
        if (own.rounds < 2) {
            ++own.rounds;
        } else if (end(index, pool)) {
            *link = own.next;
            --available_;
            --granted_;
            put(index);
            continue;
        }
        link = &own.next;
    }
}

} // namespace xen::blk
