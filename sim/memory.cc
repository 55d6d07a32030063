// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Simulated memory: the guest's pages in a shared file, so that each mapping of a peer's has an
// address (and an end) of its own, and the grant table as Xen sees it. Freed pages and the gaps
// between pages are poisoned: the address sanitizer reports who touches them. (mprotect() says it
// without a sanitizer, but costs a third of the tests' time, and only coverage is built without.)
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include <sys/mman.h>
#include <unistd.h>

#include <xen/abi.hpp>
#include <xen/grant.hpp>
#include <xen/port.h>

#include "access.hpp"
#include "internal.hpp"
#include "sim.hpp"

namespace sim {

namespace {

constexpr size_t page_size = xen::page_size;
constexpr unsigned arena_pages = 16384; // with gaps between what is in use
constexpr uint64_t first_frame = 0x40000;
constexpr unsigned scramble = 0x2a5; // neighbours in memory are not neighbours in the machine

struct Arena {
    int file = -1;
    uint8_t *base = nullptr;
    std::vector<bool> used = std::vector<bool>(arena_pages);
    unsigned next = 0;
    unsigned count = 0;
};

struct Hold { // one reference, as long as a peer has it mapped
    uint64_t frame;
    unsigned readers = 0;
    unsigned writers = 0;
};

unsigned settled;
std::optional<unsigned> failing_alloc;
std::vector<xen::abi::GrantEntryV1> grants;
std::map<uint32_t, Hold> held;
std::map<const uint8_t *, std::vector<unsigned>> mapped; // a peer's address -> the pages there
constexpr uint64_t first_table_frame = 0x900000;

Arena &arena()
{
    static Arena the;
    if (the.file < 0) {
        the.file = memfd_create("guest", 0);
        if (the.file < 0 || ftruncate(the.file, arena_pages * page_size) != 0)
            internal::fatal("no memory file");
        void *base =
            mmap(nullptr, arena_pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, the.file, 0);
        if (base == MAP_FAILED)
            internal::fatal("no arena");
        the.base = static_cast<uint8_t *>(base);
        internal::poison(base, arena_pages);
    }
    return the;
}

bool in_arena(const uint8_t *byte)
{
    return byte >= arena().base && byte < arena().base + arena_pages * page_size;
}

// Index of the page in use that holds the address.
std::optional<unsigned> index_of(const void *address)
{
    const auto *byte = static_cast<const uint8_t *>(address);
    if (!in_arena(byte))
        return {};
    const auto index = static_cast<unsigned>((byte - arena().base) / page_size);
    if (!arena().used[index])
        return {};
    return index;
}

uint64_t frame_of(unsigned index) { return first_frame + (index ^ scramble); }

std::optional<unsigned> index_of_frame(uint64_t frame)
{
    if (frame < first_frame || frame >= first_frame + arena_pages)
        return {};
    const auto index = static_cast<unsigned>(frame - first_frame) ^ scramble;
    if (!arena().used[index])
        return {};
    return index;
}

// What Xen checks before it lets a domain use a grant.
std::optional<unsigned> permitted(uint32_t reference, uint16_t domid, bool writable)
{
    if (reference >= grants.size())
        return {};
    const xen::abi::GrantEntryV1 &entry = grants[reference];
    if ((entry.flags & 3) != xen::abi::gtf_permit_access || entry.domid != domid)
        return {};
    if (writable && (entry.flags & xen::abi::gtf_readonly) != 0)
        return {};
    return index_of_frame(entry.frame);
}

void check_free(unsigned index)
{
    const uint64_t frame = frame_of(index);
    for (const auto &[reference, hold] : held) {
        if (hold.frame == frame)
            internal::fatal("page freed while a peer has it mapped");
    }
    for (const auto &entry : grants) {
        if ((entry.flags & xen::abi::gtf_permit_access) != 0 && entry.frame == frame)
            internal::fatal("page freed while it is granted");
    }
}

void release(uint32_t reference, bool writable)
{
    const auto it = held.find(reference);
    if (it == held.end())
        return;
    --(writable ? it->second.writers : it->second.readers);
    uint16_t &flags = grants[reference].flags;
    if (it->second.writers == 0)
        flags &= static_cast<uint16_t>(~xen::abi::gtf_writing);
    if (it->second.writers + it->second.readers == 0) {
        flags &= static_cast<uint16_t>(~xen::abi::gtf_reading);
        held.erase(it);
    }
}

void hold(uint32_t reference, unsigned index, bool writable)
{
    Hold &entry = held[reference];
    entry.frame = frame_of(index);
    ++(writable ? entry.writers : entry.readers);
    grants[reference].flags |= xen::abi::gtf_reading;
    if (writable)
        grants[reference].flags |= xen::abi::gtf_writing;
}

} // namespace

namespace internal {

void boot_memory(unsigned grant_frames)
{
    boot_leak();
    failing_alloc.reset();
    held.clear();
    grants.assign(grant_frames * xen::abi::grants_per_frame, {});
    if (!xen::grant_table_init(grants.data(), grant_frames).ok())
        fatal("no grant table");
}

void settle_memory() { settled = arena().count; }

void shutdown_memory()
{
    held.clear();
    for (auto &entry : grants)
        entry = {};
}

void check_access(const volatile void *address, size_t size)
{
    // SAFETY: only the address is looked at.
    const auto *byte = static_cast<const uint8_t *>(const_cast<const void *>(address));
    if (size == 0 || (!in_arena(byte) && !in_arena(byte + size - 1)))
        return;
    if (!index_of(byte) || index_of(byte) != index_of(byte + size - 1))
        fatal("the guest reaches for a page that it does not have");
}

uint8_t *granted_page(uint32_t reference)
{
    if (reference >= grants.size() || (grants[reference].flags & xen::abi::gtf_permit_access) == 0)
        return nullptr;
    return static_cast<uint8_t *>(page_of(grants[reference].frame));
}

std::vector<std::pair<uint32_t, uint8_t *>> granted_pages()
{
    std::vector<std::pair<uint32_t, uint8_t *>> pages;
    for (uint32_t reference = 0; reference < grants.size(); ++reference) {
        if ((grants[reference].flags & xen::abi::gtf_permit_access) == 0)
            continue;
        pages.emplace_back(reference, static_cast<uint8_t *>(page_of(grants[reference].frame)));
    }
    return pages;
}

long grant_hypercall(unsigned command, void *argument, unsigned count)
{
    if (count != 1)
        return -EINVAL;
    const auto frames = static_cast<uint32_t>(grants.size() / xen::abi::grants_per_frame);
    if (command == xen::abi::gnttabop_query_size) {
        auto *op = static_cast<xen::abi::GnttabQuerySize *>(argument);
        op->nr_frames = 1;
        op->max_nr_frames = frames;
        op->status = 0;
        return 0;
    }
    if (command != xen::abi::gnttabop_setup_table)
        return -ENOSYS;
    auto *op = static_cast<xen::abi::GnttabSetupTable *>(argument);
    op->status = op->nr_frames > frames ? -1 : 0;
    for (uint32_t i = 0; op->status == 0 && i < op->nr_frames; ++i)
        op->frame_list[i] = first_table_frame + i;
    return 0;
}

} // namespace internal

unsigned pages_in_use() { return arena().count - settled; }
void fail_page_alloc(unsigned after) { failing_alloc = after; }

void *page_of(uint64_t frame)
{
    const auto index = index_of_frame(frame);
    return index ? arena().base + *index * page_size : nullptr;
}

unsigned grants_in_force() { return static_cast<unsigned>(internal::granted_pages().size()); }

const void *guest_view(const void *address)
{
    const auto *byte = static_cast<const uint8_t *>(address);
    auto it = mapped.upper_bound(byte);
    if (it == mapped.begin())
        return address;
    const auto &[base, indices] = *--it;
    const auto offset = static_cast<size_t>(byte - base);
    if (offset >= indices.size() * page_size)
        return address;
    return arena().base + indices[offset / page_size] * page_size + offset % page_size;
}

// ---- peers' access ----

struct Peer::Mapping {
    uint8_t *address;
    std::vector<uint32_t> references;
    bool writable;

    ~Mapping()
    {
        mapped.erase(address);
        for (const uint32_t reference : references)
            release(reference, writable);
        munmap(address, references.size() * page_size);
    }
};

Peer::Peer(uint16_t domid) : domid_(domid) {}

Peer::~Peer()
{
    while (!ports_.empty())
        close(ports_.back());
}

uint8_t *Peer::map(uint32_t reference, bool writable) { return map_all({reference}, writable); }

uint8_t *Peer::map_all(const std::vector<uint32_t> &references, bool writable)
{
    std::vector<unsigned> indices;
    for (const uint32_t reference : references) {
        const auto index = permitted(reference, domid_, writable);
        if (!index)
            return nullptr;
        indices.push_back(*index);
    }
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base =
        mmap(nullptr, references.size() * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        internal::fatal("no address space for a peer");
    auto *address = static_cast<uint8_t *>(base);
    for (size_t i = 0; i < indices.size(); ++i) {
        if (mmap(address + i * page_size, page_size, protection, MAP_SHARED | MAP_FIXED,
                 arena().file, static_cast<off_t>(indices[i] * page_size)) == MAP_FAILED)
            internal::fatal("a peer cannot map");
        hold(references[i], indices[i], writable);
    }
    mapped[address] = std::move(indices);
    mappings_.emplace_back(new Mapping{address, references, writable});
    return address;
}

void Peer::unmap(uint8_t *address)
{
    const auto erased =
        std::erase_if(mappings_, [&](const auto &mapping) { return mapping->address == address; });
    if (erased != 1)
        internal::fatal("a peer unmaps what it did not map");
}

bool Peer::read(uint32_t reference, unsigned offset, void *to, unsigned length)
{
    const auto index = permitted(reference, domid_, false);
    if (!index || offset > page_size || length > page_size - offset)
        return false;
    std::memcpy(to, arena().base + *index * page_size + offset, length);
    return true;
}

bool Peer::write(uint32_t reference, unsigned offset, const void *from, unsigned length)
{
    const auto index = permitted(reference, domid_, true);
    if (!index || offset > page_size || length > page_size - offset)
        return false;
    std::memcpy(arena().base + *index * page_size + offset, from, length);
    return true;
}

} // namespace sim

extern "C" {

void *xen_port_pages_alloc(unsigned count)
{
    sim::internal::must_be_able_to_sleep(__func__);
    if (sim::failing_alloc && (*sim::failing_alloc)-- == 0) {
        sim::failing_alloc.reset();
        return nullptr;
    }
    sim::Arena &arena = sim::arena();
    for (unsigned tries = 0; tries < sim::arena_pages; ++tries) {
        const unsigned index = arena.next + 1; // and a gap before it
        if (index + count >= sim::arena_pages) {
            arena.next = 0;
            continue;
        }
        const auto run = arena.used.begin() + arena.next;
        if (std::find(run, run + count + 2, true) != run + count + 2) {
            ++arena.next;
            continue;
        }
        arena.next = index + count;
        arena.count += count;
        uint8_t *pages = arena.base + index * sim::page_size;
        for (unsigned i = 0; i < count; ++i) {
            arena.used[index + i] = true;
            sim::internal::unpoison(pages + i * sim::page_size);
        }
        std::memset(pages, 0, count * sim::page_size);
        return pages;
    }
    return nullptr;
}

void xen_port_page_free(void *page)
{
    sim::Arena &arena = sim::arena();
    const auto index = sim::index_of(page);
    if (!index || reinterpret_cast<uintptr_t>(page) % sim::page_size != 0)
        sim::internal::fatal("freed what is no page in use");
    sim::check_free(*index);
    sim::internal::forget_declared(page);
    sim::internal::unpoison(page);           // it may be guarded
    std::memset(page, 0xdd, sim::page_size); // whoever still maps it notices
    sim::internal::poison(page, 1);
    arena.used[*index] = false;
    --arena.count;
}

uint64_t xen_port_frame(const void *page)
{
    const auto index = sim::index_of(page);
    if (!index)
        sim::internal::fatal("frame of something that is no page in use");
    return sim::frame_of(*index);
}

} // extern "C"
