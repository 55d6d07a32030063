// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Grants (public/grant_table.h), with this domain as its own peer: it maps and copies what it
// granted.
#include <xen/grant.hpp>
#include <xen/hypercall.hpp>
#include <xen/port.h>

#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

// ---- the peer's side, which the library does not have ----

constexpr uint16_t gntcopy_source_gref = 1;
constexpr int16_t gntst_bad_copy_arg = -10;
constexpr int16_t not_written = 1; // Xen's statuses are 0 or negative

class Mapping {
public:
    // The status that Xen gives to mapping `ref` at the tests' window.
    int16_t map(GrantRef ref, uint32_t flags)
    {
        if (!window_)
            window_ = guest::window();
        abi::GnttabMapGrantRef map{reinterpret_cast<uint64_t>(window_),
                                   abi::gntmap_host_map | flags,
                                   ref.value,
                                   guest::own_domid().value,
                                   not_written,
                                   0,
                                   0};
        auto result =
            hypercall(abi::hypercall_grant_table_op, abi::gnttabop_map_grant_ref, &map, 1);
        if (!result.ok())
            return not_written;
        if (map.status == 0) {
            address_ = static_cast<uint8_t *>(window_);
            handle_ = map.handle;
        }
        return map.status;
    }

    int16_t unmap()
    {
        if (!address_)
            return 0;
        abi::GnttabUnmapGrantRef unmap{reinterpret_cast<uint64_t>(address_), 0, handle_,
                                       not_written};
        address_ = nullptr;
        auto result =
            hypercall(abi::hypercall_grant_table_op, abi::gnttabop_unmap_grant_ref, &unmap, 1);
        return result.ok() ? unmap.status : not_written;
    }

    ~Mapping() { unmap(); }
    uint8_t *address() const { return address_; }

private:
    static void *window_; // one for all tests
    uint8_t *address_ = nullptr;
    uint32_t handle_ = 0;
};

constinit void *Mapping::window_;

} // namespace

void grant_ends()
{
    unsigned before = free_grants();
    void *page = xen_port_page_alloc();
    CHECK(page);
    Grant grant = NEED(Grant::give(guest::own_domid(), page, GrantAccess::read_write));
    CHECK(grant.active() && grant.ref().value >= abi::grant_reserved_entries);
    CHECK(free_grants() == before - 1);
    GrantRef ref = grant.ref();
    NEED(grant.end());
    CHECK(!grant.active());
    CHECK(free_grants() == before);
    Mapping mapping;
    CHECK(mapping.map(ref, 0) < 0);
    xen_port_page_free(page);
}

void grant_mapped()
{
    auto *page = static_cast<uint8_t *>(xen_port_page_alloc());
    CHECK(page);
    Grant grant = NEED(Grant::give(guest::own_domid(), page, GrantAccess::read_write));
    Mapping mapping;
    CHECK(mapping.map(grant.ref(), 0) == 0);
    page[5] = 42;
    CHECK(mapping.address()[5] == 42);
    mapping.address()[6] = 43;
    CHECK(page[6] == 43);
    CHECK_ERROR(grant.end(), Error::busy);
    CHECK(grant.active());
    CHECK(mapping.unmap() == 0);
    NEED(grant.end());
    xen_port_page_free(page);
}

void grant_read_only()
{
    auto *page = static_cast<uint8_t *>(xen_port_page_alloc());
    CHECK(page);
    page[7] = 44;
    Grant grant = NEED(Grant::give(guest::own_domid(), page, GrantAccess::read_only));
    Mapping mapping;
    CHECK(mapping.map(grant.ref(), 0) < 0);
    CHECK(mapping.map(grant.ref(), abi::gntmap_readonly) == 0);
    CHECK(mapping.address()[7] == 44);
    CHECK_ERROR(grant.end(), Error::busy);
    CHECK(mapping.unmap() == 0);
    NEED(grant.end());
    xen_port_page_free(page);
}

void grant_quarantine()
{
    unsigned before = free_grants();
    CHECK(reclaim_grants() == 0);
    void *page = xen_port_page_alloc();
    CHECK(page);
    Grant grant = NEED(Grant::give(guest::own_domid(), page, GrantAccess::read_write));
    GrantRef ref = grant.ref();
    Mapping mapping;
    CHECK(mapping.map(ref, 0) == 0);
    grant.end_and_free(page);
    CHECK(!grant.active());
    CHECK(free_grants() == before - 1);
    CHECK(reclaim_grants() == 1);

    // Neither is handed out while the peer can write to the page.
    void *other = xen_port_page_alloc();
    CHECK(other && other != page);
    Grant next = NEED(Grant::give(guest::own_domid(), other, GrantAccess::read_write));
    CHECK(next.ref() != ref);
    next.end_and_free(other);
    CHECK(reclaim_grants() == 1);

    CHECK(mapping.unmap() == 0);
    CHECK(reclaim_grants() == 0);
    CHECK(free_grants() == before);
    CHECK(mapping.map(ref, 0) < 0);
}

void grant_pool()
{
    unsigned before = free_grants();
    GrantPool pool;
    CHECK_ERROR(pool.reserve(before + 1), Error::no_space);
    CHECK(free_grants() == before);
    NEED(pool.reserve(before));
    CHECK(free_grants() == 0 && pool.available() == before);
    void *page = xen_port_page_alloc();
    CHECK(page);
    CHECK_ERROR(Grant::give(guest::own_domid(), page, GrantAccess::read_write), Error::no_space);

    GrantRef ref =
        NEED(pool.give(guest::own_domid(), xen_port_frame(page), GrantAccess::read_write));
    CHECK(pool.available() == before - 1);
    Mapping mapping;
    CHECK(mapping.map(ref, 0) == 0);
    CHECK_ERROR(pool.end(ref), Error::busy);
    CHECK(mapping.unmap() == 0);
    NEED(pool.end(ref));
    CHECK(pool.available() == before);
    pool.release();
    CHECK(free_grants() == before);
    xen_port_page_free(page);
}

void grant_copy()
{
    auto *from = static_cast<uint8_t *>(xen_port_page_alloc());
    auto *to = static_cast<uint8_t *>(xen_port_page_alloc());
    CHECK(from && to);
    for (unsigned i = 0; i < page_size; ++i)
        from[i] = static_cast<uint8_t>(i * 7);
    Grant grant = NEED(Grant::give(guest::own_domid(), from, GrantAccess::read_only));
    abi::GnttabCopyEnd source{grant.ref().value, guest::own_domid().value, 100};
    abi::GnttabCopyEnd dest{xen_port_frame(to), domid_self.value, 1000};
    abi::GnttabCopy copies[3] = {
        {source, dest, 3000, gntcopy_source_gref, not_written},
        {source, dest, 3500, gntcopy_source_gref, not_written}, // beyond the page
        {source, {dest.frame, dest.domid, 0}, 10, gntcopy_source_gref, not_written},
    };
    NEED(hypercall(abi::hypercall_grant_table_op, abi::gnttabop_copy, copies, 3));
    CHECK(copies[0].status == 0);
    CHECK(copies[1].status == gntst_bad_copy_arg);
    CHECK(copies[2].status == 0);
    for (unsigned i = 0; i < page_size; ++i) {
        if (i < 10)
            CHECK(to[i] == from[100 + i]);
        else
            CHECK(to[i] == (i >= 1000 && i < 4000 ? from[i - 900] : 0));
    }
    NEED(grant.end());
    xen_port_page_free(from);
    xen_port_page_free(to);
}
