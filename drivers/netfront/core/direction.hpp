// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What both directions of a network frontend's queue have (public/io/netif.h): a ring's page,
// packet buffers that stay granted, and the word that the ring may be looked at.
#pragma once

#include "granted_pages.hpp"
#include "link.hpp"

namespace xen {

class Direction {
public:
    void init(Link &link, unsigned queue)
    {
        link_ = &link;
        queue_ = queue;
    }

    // Of a thread, and no lock is needed yet or any more.
    bool release()
    {
        const bool ring = page_.release();
        return buffers_.release() && ring;
    }
    void abandon()
    {
        page_.abandon();
        buffers_.abandon();
    }
    GrantRef grant() const { return page_.grant(); }
    const GrantedPages &buffers() const { return buffers_; }

    // The direction's lock is held for these, and wherever nothing else is said.
    void open() { open_ = true; }
    void close() { open_ = false; }
    bool usable() const { return open_ && link_->broken.load() == 0; }

protected:
    Link *link_ = nullptr;
    unsigned queue_ = 0;
    GrantedPage page_;
    GrantedPages buffers_;

private:
    bool open_ = false; // the ring may be looked at
};

} // namespace xen
