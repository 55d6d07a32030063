// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Allocates, grants, revokes and frees rings and packet buffers (public/grant_table.h, version 1).
#include "granted_pages.hpp"

#include <xen/port.h>

#include "netfront_port.h"

namespace xen {

Status GrantedPage::allocate(DomId peer)
{
    page_ = netfront_port_page_alloc();
    if (page_ == nullptr)
        return Error::no_memory;
    grant_ = TRY(Grant::give(peer, page_, GrantAccess::read_write));
    return {};
}

bool GrantedPage::release()
{
    if (!grant_.end().ok())
        return false;
    if (page_ != nullptr)
        xen_port_page_free(page_);
    page_ = nullptr;
    return true;
}

void GrantedPage::abandon()
{
    if (!release())
        grant_.end_and_free(page_);
    page_ = nullptr;
}

Status GrantedPages::allocate(DomId peer, GrantAccess access, unsigned count)
{
    TRY(pool_.reserve(count));
    while (count_ < count) {
        void *page = netfront_port_page_alloc();
        if (page == nullptr)
            return Error::no_memory;
        auto grant = pool_.give(peer, xen_port_frame(page), access);
        if (!grant.ok()) {
            xen_port_page_free(page);
            return grant.error();
        }
        pages_[count_] = page;
        grants_[count_] = grant.value();
        ++count_;
    }
    return {};
}

bool GrantedPages::release()
{
    unsigned held = 0;
    for (unsigned i = 0; i < count_; ++i) {
        if (pool_.end(grants_[i]).ok()) {
            xen_port_page_free(pages_[i]);
        } else {
            pages_[held] = pages_[i];
            grants_[held++] = grants_[i];
        }
    }
    count_ = held;
    pool_.release();
    return held == 0;
}

void GrantedPages::abandon()
{
    (void)release();
    for (; count_ > 0; --count_)
        pool_.quarantine(grants_[count_ - 1], pages_[count_ - 1]);
}

} // namespace xen
