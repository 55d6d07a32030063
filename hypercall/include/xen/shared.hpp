// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The one place that reads and writes memory which a peer (a backend, xenstored, the console
// daemon, Xen) can change at any time. A field is loaded exactly once; whatever was loaded is
// private from then on. Barriers are SMP barriers always: the peer runs on another CPU even when
// this guest has one.
#pragma once

#include <cstdint>
#include <type_traits>

#include <xen/access.hpp>

namespace xen {

template <class T>
concept SharedScalar = std::is_integral_v<T> && sizeof(T) <= 8;

// Loads a shared field once.
template <SharedScalar T>
[[nodiscard, gnu::always_inline]] inline T load_shared(const T &field)
{
    return access::load(&field);
}

// Stores a shared field once.
template <SharedScalar T>
[[gnu::always_inline]] inline void store_shared(T &field, std::type_identity_t<T> value)
{
    access::store(&field, value);
}

// Orders this side's earlier reads before its later ones.
[[gnu::always_inline]] inline void read_barrier()
{
    // SAFETY: x86 does not reorder loads; the compiler must not either.
    asm volatile("" ::: "memory");
}

// Orders this side's earlier writes before its later ones.
[[gnu::always_inline]] inline void write_barrier()
{
    // SAFETY: x86 does not reorder stores to write-back memory; the compiler must not either.
    asm volatile("" ::: "memory");
}

// Orders earlier writes before later reads, too.
[[gnu::always_inline]] inline void full_barrier() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// A wire structure: copied word by word, each word once.
template <class T>
concept SharedObject = std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(uint32_t) == 0 &&
                       alignof(T) <= 8;

using SharedWord [[gnu::may_alias]] = uint32_t;

template <SharedObject T>
[[nodiscard]] inline T load_shared_object(const void *from)
{
    uint32_t words[sizeof(T) / sizeof(uint32_t)];
    // SAFETY: wire structures lie at multiples of 4 inside a mapped page.
    const auto *shared = static_cast<const SharedWord *>(from);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); ++i)
        words[i] = load_shared(shared[i]);
    T object;
    __builtin_memcpy(&object, words, sizeof(object));
    return object;
}

template <SharedObject T>
inline void store_shared_object(void *to, const T &object)
{
    uint32_t words[sizeof(T) / sizeof(uint32_t)];
    __builtin_memcpy(words, &object, sizeof(object));
    // SAFETY: as above.
    auto *shared = static_cast<SharedWord *>(to);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); ++i)
        store_shared(shared[i], words[i]);
}

// Copies out of a shared page into private memory, touching each byte once.
inline void copy_from_shared(void *to, const void *from, unsigned long size)
{
    access::copy_in(to, from, size);
}

// Copies private memory into a shared page.
inline void copy_to_shared(void *to, const void *from, unsigned long size)
{
    access::copy_out(to, from, size);
}

} // namespace xen
