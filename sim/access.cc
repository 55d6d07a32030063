// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The guest's accesses to shared memory, each through here: include/xen/access.hpp.
#include "access.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include <xen/access.hpp>
#include <xen/types.hpp>

#include "internal.hpp"

#include <sanitizer/asan_interface.h> // without the sanitizer its macros do nothing

namespace sim {

namespace {

using Counts = std::array<unsigned, xen::page_size>; // of a page's bytes

std::unordered_map<uintptr_t, Counts> pages;
LoadObserver::Function load_observer;

uintptr_t number(const volatile void *address) { return reinterpret_cast<uintptr_t>(address); }

// The count of a byte; `from` and up to `size` bytes of its page are counted once more.
unsigned count_in_page(uintptr_t from, size_t size)
{
    Counts &counts = pages[from / xen::page_size];
    const size_t first = from % xen::page_size;
    for (size_t i = first; i < first + size; ++i)
        ++counts[i];
    return counts[first];
}

void loaded(const volatile void *address, size_t size)
{
    const uintptr_t from = number(address);
    unsigned nth = 0;
    for (size_t done = 0; done < size;) {
        const size_t part = std::min(size - done, xen::page_size - (from + done) % xen::page_size);
        const unsigned count = count_in_page(from + done, part);
        nth = done == 0 ? count : nth;
        done += part;
    }
    if (load_observer && size != 0)
        load_observer(const_cast<const void *>(address), size, nth);
}

} // namespace

namespace internal {

void boot_access() { pages.clear(); }

void poison(void *page, size_t pages) { ASAN_POISON_MEMORY_REGION(page, pages * xen::page_size); }
void unpoison(void *page) { ASAN_UNPOISON_MEMORY_REGION(page, xen::page_size); }

} // namespace internal

unsigned loads(const void *address, size_t size)
{
    const uintptr_t from = number(guest_view(address));
    unsigned most = 0;
    for (uintptr_t at = from; at < from + size; ++at) {
        const auto it = pages.find(at / xen::page_size);
        if (it != pages.end())
            most = std::max(most, it->second[at % xen::page_size]);
    }
    return most;
}

void clear_loads() { pages.clear(); }

LoadObserver::LoadObserver(Function function)
{
    if (load_observer)
        internal::fatal("two load observers");
    load_observer = std::move(function);
}

LoadObserver::~LoadObserver() { load_observer = {}; }

void guard(const void *address)
{
    const uintptr_t page = number(guest_view(address)) & ~(xen::page_size - 1);
    internal::poison(reinterpret_cast<void *>(page), 1);
}

} // namespace sim

// ---- what the cores call: not instrumented, because the page may be guarded; so check_access()
// sees to it that it is there ----

#define SIM_UNCHECKED __attribute__((no_sanitize("address", "thread")))

namespace {

template <class T>
SIM_UNCHECKED uint64_t load(const volatile void *from)
{
    return *static_cast<const volatile T *>(from);
}

template <class T>
SIM_UNCHECKED void store(volatile void *to, uint64_t value)
{
    *static_cast<volatile T *>(to) = static_cast<T>(value);
}

void copy(void *to, const void *from, unsigned long size)
{
    sim::internal::check_access(to, size);
    sim::internal::check_access(from, size);
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

} // namespace

uint64_t sim::internal::peek(const uint8_t *address) { return load<uint64_t>(address); }

uint64_t sim_load(const volatile void *from, unsigned size)
{
    sim::internal::check_access(from, size);
    const uint64_t value = size == 1   ? load<uint8_t>(from)
                           : size == 2 ? load<uint16_t>(from)
                           : size == 4 ? load<uint32_t>(from)
                                       : load<uint64_t>(from);
    sim::loaded(from, size);
    return value;
}

void sim_store(volatile void *to, uint64_t value, unsigned size)
{
    sim::internal::check_access(to, size);
    switch (size) {
    case 1:
        return store<uint8_t>(to, value);
    case 2:
        return store<uint16_t>(to, value);
    case 4:
        return store<uint32_t>(to, value);
    default:
        return store<uint64_t>(to, value);
    }
}

void sim_copy_in(void *to, const void *from, unsigned long size)
{
    copy(to, from, size);
    sim::loaded(from, size);
}

void sim_copy_out(void *to, const void *from, unsigned long size) { copy(to, from, size); }
