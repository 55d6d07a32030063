// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulator's version of <xen/access.hpp>: each access of a core to memory that a peer can
// change goes through the machine, which counts it and lets tests act on it (sim/access.hpp).
#pragma once

#include <cstdint>

extern "C" {
uint64_t sim_load(const volatile void *from, unsigned size);
void sim_store(volatile void *to, uint64_t value, unsigned size);
void sim_copy_in(void *to, const void *from, unsigned long size);
void sim_copy_out(void *to, const void *from, unsigned long size);
}

namespace xen::access {

template <class T>
inline T load(const volatile T *from)
{
    return static_cast<T>(sim_load(from, sizeof(T)));
}

template <class T>
inline void store(volatile T *to, T value)
{
    sim_store(to, static_cast<uint64_t>(value), sizeof(T));
}

inline void copy_in(void *to, const void *from, unsigned long size) { sim_copy_in(to, from, size); }

inline void copy_out(void *to, const void *from, unsigned long size)
{
    sim_copy_out(to, from, size);
}

} // namespace xen::access
