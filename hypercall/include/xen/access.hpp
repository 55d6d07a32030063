// SPDX-License-Identifier: MIT OR GPL-2.0-only
// How shared.hpp touches memory that a peer can change. A home that wants to see each access (the
// host's simulator does) puts a file of this name earlier on the include path.
#pragma once

namespace xen::access {

// SAFETY, for all of it: the addresses are mapped and the caller's. Volatile makes a scalar one
// access of the full width.
template <class T>
[[gnu::always_inline]] inline T load(const volatile T *from)
{
    return *from;
}

template <class T>
[[gnu::always_inline]] inline void store(volatile T *to, T value)
{
    *to = value;
}

// The string move touches each byte once, and the compiler can neither repeat nor drop it.
[[gnu::always_inline]] inline void copy_in(void *to, const void *from, unsigned long size)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

[[gnu::always_inline]] inline void copy_out(void *to, const void *from, unsigned long size)
{
    copy_in(to, from, size);
}

} // namespace xen::access
