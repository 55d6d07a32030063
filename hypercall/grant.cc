// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The grant table, version 1 (public/grant_table.h). Each reference has a private shadow entry that
// links it into exactly one list: free, some pool's, or quarantine. Nothing here allocates after
// grant_table_init().
#include <xen/grant.hpp>

#include <xen/event.hpp>
#include <xen/format.hpp>
#include <xen/hypercall.hpp>
#include <xen/lock.hpp>
#include <xen/port.h>
#include <xen/shared.hpp>

namespace xen {

namespace {

struct Shadow {
    void *page;    // in quarantine: to be freed with the reference, or null
    uint32_t next; // in its list; 0 ends it
    uint32_t pad;
};
constexpr unsigned shadows_per_page = page_size / sizeof(Shadow);

struct List {
    uint32_t head = 0;
    unsigned count = 0;
};

constexpr unsigned shadow_pages_max = grant_frames_max * abi::grants_per_frame / shadows_per_page;

struct Table {
    SpinLock lock; // for the two lists; an entry in neither belongs to its user
    abi::GrantEntryV1 *entries = nullptr;
    uint32_t size = 0;
    Shadow *shadows[shadow_pages_max] = {};
    List free;
    List quarantine;
};

constinit Table table;

Shadow &shadow(uint32_t ref)
{
    return table.shadows[ref / shadows_per_page][ref % shadows_per_page];
}

void push(List &list, uint32_t ref)
{
    shadow(ref).next = list.head;
    list.head = ref;
    ++list.count;
}

uint32_t pop(List &list)
{
    const uint32_t ref = list.head;
    if (ref != 0) {
        list.head = shadow(ref).next;
        --list.count;
    }
    return ref;
}

void put_free(uint32_t ref)
{
    LockGuard guard(table.lock);
    push(table.free, ref);
}

void put_quarantine(uint32_t ref, void *page)
{
    LockGuard guard(table.lock);
    shadow(ref).page = page;
    push(table.quarantine, ref);
}

Status permit(uint32_t ref, DomId peer, uint64_t frame, GrantAccess access)
{
    if (frame > UINT32_MAX)
        return Error::range;
    abi::GrantEntryV1 &entry = table.entries[ref];
    store_shared(entry.frame, static_cast<uint32_t>(frame));
    store_shared(entry.domid, peer.value);
    write_barrier(); // frame and domid before flags; pairs with Xen's reading flags first
    const uint16_t readonly = access == GrantAccess::read_only ? abi::gtf_readonly : 0;
    store_shared(entry.flags, static_cast<uint16_t>(abi::gtf_permit_access | readonly));
    return {};
}

// The only way back: the flags go to 0 in one step, or the peer is using the page.
Status revoke(uint32_t ref)
{
    // SAFETY: Xen changes the flags at any time, with atomic operations of the same width.
    uint16_t *flags = &table.entries[ref].flags;
    uint16_t seen = load_shared(*flags);
    // A peer that maps and unmaps all the time can make the exchange fail each time.
    for (unsigned tries = 0; tries < 16; ++tries) {
        if ((seen & (abi::gtf_reading | abi::gtf_writing)) != 0)
            return Error::busy;
        if (__atomic_compare_exchange_n(flags, &seen, uint16_t{0}, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return {};
    }
    return Error::busy;
}

Status prepare_shadows(uint32_t entries)
{
    for (unsigned i = 0; i < entries / shadows_per_page; ++i) {
        if (table.shadows[i] == nullptr)
            table.shadows[i] = static_cast<Shadow *>(xen_port_page_alloc());
        if (table.shadows[i] == nullptr)
            return Error::no_memory;
    }
    return {};
}

} // namespace

Result<unsigned> grant_table_frames(uint64_t *list, unsigned count)
{
    // GNTST_general_error, in case Xen returns 0 and leaves the field alone
    constexpr int16_t unset = -1;
    abi::GnttabQuerySize query{domid_self.value, 0, 0, unset};
    TRY(hypercall(abi::hypercall_grant_table_op, abi::gnttabop_query_size, &query, 1));
    if (query.status != 0)
        return Error::io;
    if (count > query.max_nr_frames)
        count = query.max_nr_frames;
    if (count > grant_frames_max)
        count = grant_frames_max;
    abi::GnttabSetupTable setup{domid_self.value, count, unset, list};
    TRY(hypercall(abi::hypercall_grant_table_op, abi::gnttabop_setup_table, &setup, 1));
    if (setup.status != 0)
        return Error::io;
    return count;
}

Status grant_table_init(abi::GrantEntryV1 *entries, unsigned frames)
{
    if (frames == 0 || frames > grant_frames_max)
        return Error::range;
    const uint32_t size = frames * abi::grants_per_frame;
    TRY(prepare_shadows(size));
    LockGuard guard(table.lock);
    table.entries = entries;
    table.size = size;
    table.free = {};
    table.quarantine = {};
    for (uint32_t ref = size - 1; ref >= abi::grant_reserved_entries; --ref)
        push(table.free, ref);
    return {};
}

Status grant_table_shrink(unsigned frames)
{
    const uint32_t size = frames * abi::grants_per_frame;
    LockGuard guard(table.lock);
    List kept;
    uint32_t unused = 0; // of those that go
    while (const uint32_t ref = pop(table.free)) {
        if (ref < size)
            push(kept, ref);
        else
            ++unused;
    }
    while (const uint32_t ref = pop(kept))
        push(table.free, ref); // in the order of before: the first ones are used first
    if (size + unused < table.size)
        return Error::no_space;
    table.size = size;
    return {};
}

unsigned free_grants()
{
    LockGuard guard(table.lock);
    return table.free.count;
}

unsigned reclaim_grants()
{
    List held;
    {
        LockGuard guard(table.lock);
        held = std::exchange(table.quarantine, {});
    }
    while (const uint32_t ref = pop(held)) {
        void *page = std::exchange(shadow(ref).page, nullptr);
        if (!revoke(ref).ok()) {
            put_quarantine(ref, page);
            continue;
        }
        put_free(ref);
        if (page != nullptr)
            xen_port_page_free(page);
    }
    LockGuard guard(table.lock);
    return table.quarantine.count;
}

// ---- single grants ----

Grant::Grant(Grant &&other) : ref_(std::exchange(other.ref_, {})) {}

Grant &Grant::operator=(Grant &&other)
{
    if (this != &other) {
        end_and_free(nullptr);
        ref_ = std::exchange(other.ref_, {});
    }
    return *this;
}

Grant::~Grant() { end_and_free(nullptr); }

Result<Grant> Grant::give(DomId peer, const void *page, GrantAccess access)
{
    Grant grant;
    {
        LockGuard guard(table.lock);
        grant.ref_ = GrantRef{pop(table.free)};
    }
    if (!grant.active())
        return Error::no_space;
    const Status permitted = permit(grant.ref_.value, peer, xen_port_frame(page), access);
    if (!permitted.ok())
        return permitted.error(); // the destructor puts the reference back
    return grant;
}

Status Grant::end()
{
    if (!active())
        return {};
    TRY(revoke(ref_.value));
    put_free(std::exchange(ref_, {}).value);
    return {};
}

void Grant::end_and_free(void *page)
{
    if (!end().ok())
        put_quarantine(std::exchange(ref_, {}).value, page);
    else if (page != nullptr)
        xen_port_page_free(page);
}

// ---- pools ----

Status GrantPool::reserve(unsigned count)
{
    LockGuard guard(table.lock);
    if (count > table.free.count)
        return Error::no_space;
    List mine{head_, available_};
    for (unsigned i = 0; i < count; ++i)
        push(mine, pop(table.free));
    head_ = mine.head;
    available_ = mine.count;
    life_ = domain_lives();
    return {};
}

void GrantPool::release()
{
    LockGuard guard(table.lock);
    List mine{std::exchange(head_, 0), std::exchange(available_, 0)};
    while (const uint32_t ref = pop(mine))
        push(table.free, ref);
}

Result<GrantRef> GrantPool::give(DomId peer, uint64_t frame, GrantAccess access)
{
    if (head_ == 0)
        return Error::no_space;
    const uint32_t ref = head_;
    TRY(permit(ref, life_ == domain_lives() ? peer : domid_nobody, frame, access));
    head_ = shadow(ref).next;
    --available_;
    return GrantRef{ref};
}

Status GrantPool::end(GrantRef ref)
{
    TRY(revoke(ref.value));
    shadow(ref.value).next = head_;
    head_ = ref.value;
    ++available_;
    return {};
}

void GrantPool::quarantine(GrantRef ref, void *page) { put_quarantine(ref.value, page); }

} // namespace xen
