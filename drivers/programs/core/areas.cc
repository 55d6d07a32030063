// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Memory that programs of the guest's share with other domains (public/grant_table.h): the files'
// areas, their limits, and what happens at their end. Programs are the superuser's, but may be
// wrong; what they share is seen by their peers, what they map is their peers'.

#include "areas.h"

#include "evtchn.h"

#include <xen/abi.hpp>
#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/grant.hpp>
#include <xen/hypercall.hpp>
#include <xen/lock.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

#include <new>

using namespace xen;

namespace {

// Pages, of all programs together and of one file: libxenvchan takes 513 at most.
constinit Quota pages_of_all(2048);
constexpr uint32_t pages_of_file = 1024;
// Grants that devices are left: peers of programs' that hold on to pages can take all others.
constexpr unsigned grants_of_devices = 1024;
constexpr uint32_t domains_end = 0x7ff0;
enum : uint32_t { clear_byte = 1, send_event = 2 };

} // namespace

struct xen_areas {
    xen_area *areas;
    uint64_t pages; // so many had a place in the file
    Quota quota{pages_of_file};
};

struct xen_area {
    xen_areas *file;
    xen_area *next; // of the file's
    uint64_t first; // page of the file
    uint32_t count;
    bool borrowed;
    Atomic<uint32_t> users; // the file is one
    uint32_t action, port;  // at its end
    xen_evtchn *told;       // whose port that is, or null
    uint64_t byte;          // of the area
};

namespace {

struct Share : xen_area {
    struct {
        void *page; // null: it did not come so far
        Grant grant;
    } pages[XEN_AREA_PAGES];
};

struct Loan : xen_area {
    Loan *next_mapped;
    uint32_t mapped; // so many of the pages
    bool was_mapped; // and is not again: it is its first user who unmaps it
    uint8_t zero;    // always
    uint32_t life;   // of the domain, whose peers are meant
    struct {
        uint64_t entry; // machine address
        uint32_t handle;
        uint32_t reference;
        uint16_t domain;
    } pages[XEN_AREA_PAGES];
};

constexpr unsigned memory_pages = 2;
static_assert(sizeof(Share) <= memory_pages * page_size);
static_assert(sizeof(Loan) <= memory_pages * page_size);

constinit Loan *mapped_loans = nullptr;

// ---- any area ----

template <class T>
Result<T *> make(xen_areas &file, uint32_t count)
{
    if (count == 0 || count > XEN_AREA_PAGES)
        return Error::invalid;
    if (!file.quota.take(count))
        return Error::no_space;
    if (!pages_of_all.take(count)) {
        file.quota.give(count);
        return Error::no_space;
    }
    void *memory = xen_port_pages_alloc(memory_pages);
    if (memory == nullptr) {
        pages_of_all.give(count);
        file.quota.give(count);
        return Error::no_memory;
    }
    auto *area = new (memory) T{};
    area->file = &file;
    area->count = count;
    area->users.store(1);
    return area;
}

uint64_t add(xen_areas &file, xen_area &area)
{
    area.first = file.pages;
    file.pages += area.count;
    area.next = file.areas;
    file.areas = &area;
    return area.first * page_size;
}

// Once; after that, the area asks for nothing.
void send(xen_area &area)
{
    area.action = 0;
    if (xen_evtchn *told = std::exchange(area.told, nullptr); told != nullptr)
        xen_evtchn_let_go(told, area.port);
}

void end_pages(Share &share)
{
    if (share.action & clear_byte) {
        auto *page = static_cast<uint8_t *>(share.pages[share.byte / page_size].page);
        store_shared(page[share.byte % page_size], 0);
    }
    for (uint32_t i = 0; i < share.count; i++) {
        if (share.pages[i].page != nullptr)
            share.pages[i].grant.end_and_free(share.pages[i].page);
    }
}

void end(xen_area &area)
{
    if (!area.borrowed)
        end_pages(static_cast<Share &>(area));
    send(area);
    pages_of_all.give(area.count);
    area.file->quota.give(area.count);
    // SAFETY: the area is the start of its pages.
    auto *memory = reinterpret_cast<uint8_t *>(&area);
    for (unsigned i = 0; i < memory_pages; i++)
        xen_port_page_free(memory + i * page_size);
}

// The link to the area with these pages, or to nothing.
xen_area **find(xen_areas &file, uint64_t page, uint64_t count)
{
    xen_area **link = &file.areas;
    while (*link != nullptr && ((*link)->first != page || (*link)->count != count))
        link = &(*link)->next;
    return link;
}

// ---- pages of the guest's ----

Status grant_all(Share &share, DomId domain, GrantAccess access, uint32_t *references)
{
    for (uint32_t i = 0; i < share.count; i++) {
        auto &[page, grant] = share.pages[i];
        page = xen_port_page_alloc();
        if (page == nullptr)
            return Error::no_memory;
        grant = TRY(Grant::give(domain, page, access));
        references[i] = grant.ref().value;
    }
    return {};
}

// ---- pages of others' ----

Status map_page(Loan &loan, uint32_t number, uint64_t entry, uint32_t flags)
{
    auto &page = loan.pages[number];
    abi::GnttabMapGrantRef op{entry, flags, page.reference, page.domain, -1, 0, 0};
    TRY(hypercall(abi::hypercall_grant_table_op, abi::gnttabop_map_grant_ref, &op, 1));
    if (op.status != 0)
        return op.status == abi::gntst_eagain ? Error::again : Error::invalid;
    page.entry = entry;
    page.handle = op.handle;
    return {};
}

void unmap_pages(Loan &loan)
{
    for (; loan.mapped > 0; loan.mapped--) {
        const auto &page = loan.pages[loan.mapped - 1];
        abi::GnttabUnmapGrantRef op{page.entry, 0, page.handle, -1};
        const auto done =
            hypercall(abi::hypercall_grant_table_op, abi::gnttabop_unmap_grant_ref, &op, 1);
        if (done.ok() && op.status == 0)
            continue;
        Line line;
        line.text("grant ").number(page.reference).text(" of domain ").number(page.domain);
        log_error(line.text(" is not unmapped"));
    }
}

// The byte is in nobody's address space but a program's, so Xen writes it. If it refuses, the
// page's owner has gone, or never allowed it.
void clear(const Loan &loan)
{
    const auto &page = loan.pages[loan.byte / page_size];
    // SAFETY: only the address is looked at.
    const auto zero = reinterpret_cast<uintptr_t>(&loan.zero);
    abi::GnttabCopy op{};
    op.source = {xen_port_frame(&loan.zero), domid_self.value,
                 static_cast<uint16_t>(zero % page_size)};
    op.dest = {page.reference, page.domain, static_cast<uint16_t>(loan.byte % page_size)};
    op.len = sizeof(loan.zero);
    op.flags = abi::gntcopy_dest_gref;
    (void)hypercall(abi::hypercall_grant_table_op, abi::gnttabop_copy, &op, 1);
}

} // namespace

size_t xen_areas_size() { return sizeof(xen_areas); }

xen_areas *xen_areas_open(void *memory) { return new (memory) xen_areas{}; }

void xen_areas_close(xen_areas *file)
{
    while (file->areas != nullptr)
        xen_area_put(std::exchange(file->areas, file->areas->next));
}

int xen_area_share(xen_areas *file, uint32_t domain, int writable, uint32_t count,
                   uint32_t *references, uint64_t *index)
{
    if (domain >= domains_end)
        return to_errno(Error::invalid);
    if (free_grants() < grants_of_devices + count)
        return to_errno(Error::no_space);
    const auto share = make<Share>(*file, count);
    if (!share.ok())
        return to_errno(share.error());
    const Status granted =
        grant_all(*share.value(), DomId{static_cast<uint16_t>(domain)},
                  writable ? GrantAccess::read_write : GrantAccess::read_only, references);
    if (granted.ok())
        *index = add(*file, *share.value());
    else
        end(*share.value());
    return to_errno(granted.error());
}

int xen_area_borrow(xen_areas *file, uint32_t count, const uint32_t *pairs, uint64_t *index)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[2 * i] >= domains_end)
            return to_errno(Error::invalid);
    }
    const auto loan = make<Loan>(*file, count);
    if (!loan.ok())
        return to_errno(loan.error());
    loan.value()->borrowed = true;
    loan.value()->life = domain_lives();
    for (size_t i = 0; i < count; i++) {
        loan.value()->pages[i].domain = static_cast<uint16_t>(pairs[2 * i]);
        loan.value()->pages[i].reference = pairs[2 * i + 1];
    }
    *index = add(*file, *loan.value());
    return 0;
}

int xen_area_forget(xen_areas *file, uint64_t index, uint32_t count)
{
    xen_area **link = find(*file, index / page_size, count);
    xen_area *area = *link;
    if (area == nullptr || index % page_size != 0)
        return to_errno(Error::no_entry);
    *link = area->next;
    xen_area_put(area);
    return 0;
}

int xen_area_notify(xen_areas *file, uint64_t index, uint32_t action, uint32_t port)
{
    if ((action & ~uint32_t{clear_byte | send_event}) != 0)
        return to_errno(Error::invalid);
    for (xen_area *area = file->areas; area != nullptr; area = area->next) {
        if (index / page_size - area->first >= area->count)
            continue;
        xen_evtchn *told = nullptr;
        if ((action & send_event) && (told = xen_evtchn_hold(port)) == nullptr)
            return to_errno(Error::invalid);
        if (xen_evtchn *before = std::exchange(area->told, told); before != nullptr)
            xen_evtchn_let_go(before, 0);
        area->action = action;
        area->byte = index - area->first * page_size;
        area->port = port;
        return 0;
    }
    return to_errno(Error::no_entry);
}

xen_area *xen_area_get(xen_areas *file, uint64_t page, uint64_t count)
{
    xen_area *area = *find(*file, page, count);
    if (area != nullptr)
        xen_area_hold(area);
    return area;
}

void xen_area_hold(xen_area *area) { area->users.add(1); }

void xen_area_put(xen_area *area)
{
    if (area->users.add(UINT32_MAX) == 0) // one less
        end(*area);
}

void *xen_area_page(const xen_area *area, uint32_t number)
{
    if (area->borrowed)
        return nullptr;
    return static_cast<const Share *>(area)->pages[number].page;
}

int xen_area_map(xen_area *area, const uint64_t *entries, int writable)
{
    auto &loan = static_cast<Loan &>(*area);
    if (loan.was_mapped)
        return to_errno(Error::busy);
    if (loan.life != domain_lives())
        return to_errno(Error::io);
    // Bit 9 of an entry is what Linux marks those with that have no struct page.
    uint32_t flags = abi::gntmap_host_map | abi::gntmap_application_map | abi::gntmap_contains_pte |
                     1u << abi::gntmap_guest_avail0;
    if (!writable)
        flags |= abi::gntmap_readonly;
    while (loan.mapped < loan.count) {
        const Status status = map_page(loan, loan.mapped, entries[loan.mapped], flags);
        if (!status.ok()) {
            unmap_pages(loan);
            return to_errno(status.error());
        }
        loan.mapped++;
    }
    loan.was_mapped = true;
    loan.next_mapped = mapped_loans;
    mapped_loans = &loan;
    return 0;
}

void xen_area_unmap(xen_area *area)
{
    auto &loan = static_cast<Loan &>(*area);
    if (loan.mapped == 0)
        return;
    Loan **link = &mapped_loans;
    while (*link != &loan)
        link = &(*link)->next_mapped;
    *link = loan.next_mapped;
    if (loan.action & clear_byte)
        clear(loan);
    unmap_pages(loan);
    send(loan);
}

void xen_areas_unmap_all()
{
    while (mapped_loans != nullptr)
        xen_area_unmap(mapped_loans);
}
