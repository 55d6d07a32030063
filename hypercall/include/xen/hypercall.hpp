// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Hypercalls, typed. The only route to Xen is xen_hypercall(); each home links its own: an
// inline-free syscall stub (PV) in a guest, the simulator on the host. Xen's hypercall page is not
// used.
#pragma once

#include <xen/abi.hpp>
#include <xen/types.hpp>

// Calls Xen. `number` and the arguments are public/xen.h's; the result is a negative errno or a
// value. Never sleeps (SCHEDOP_block and SCHEDOP_poll stop this vCPU, in Xen).
extern "C" long xen_hypercall(unsigned long number, unsigned long a1, unsigned long a2,
                              unsigned long a3, unsigned long a4, unsigned long a5);

namespace xen {

// An argument as Xen takes it: pointers and integers alike fill one register.
template <class T>
constexpr unsigned long hypercall_argument(T argument)
{
    if constexpr (std::is_pointer_v<T> || std::is_null_pointer_v<T>)
        return (unsigned long)argument;
    else
        return static_cast<unsigned long>(argument);
}

// Issues hypercall `number` with up to five arguments.
template <class... Args>
inline Result<uint64_t> hypercall(abi::Hypercall number, Args... args)
{
    static_assert(sizeof...(Args) <= 5);
    unsigned long regs[5] = {hypercall_argument(args)...};
    return decode_hypercall(xen_hypercall(number, regs[0], regs[1], regs[2], regs[3], regs[4]));
}

} // namespace xen
