// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Distinct types for the things Xen numbers (frames, grants, event ports, domains), and the
// Result that every fallible call returns. Speaks no part of Xen's interface by itself, except
// that error numbers are Xen's (public/errno.h), which are Linux's as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace xen {

// A number that cannot be mistaken for another kind of number.
template <class Tag, class Rep>
struct Number {
    Rep value{};

    constexpr Number() = default;
    constexpr explicit Number(Rep v) : value(v) {}
    friend constexpr bool operator==(Number, Number) = default;
    friend constexpr auto operator<=>(Number a, Number b) = default;
};

using Pfn = Number<struct PfnTag, uint64_t>; // frame as this guest counts its memory
using Mfn = Number<struct MfnTag, uint64_t>; // frame as the machine counts it
using Gfn = Number<struct GfnTag, uint64_t>; // frame as handed to Xen: mfn in PV, pfn in PVH
using GrantRef = Number<struct GrantRefTag, uint32_t>;
using EventPort = Number<struct EventPortTag, uint32_t>;
using DomId = Number<struct DomIdTag, uint16_t>;

constexpr DomId domid_self{0x7ff0};
constexpr DomId domid_nobody{0x7ff4}; // Xen's DOMID_INVALID
constexpr size_t page_size = 4096;
constexpr unsigned page_shift = 12;

// Errors, positive, numerically Xen's and Linux's errno.
enum class Error : int {
    none = 0,
    perm = 1,
    no_entry = 2,
    io = 5,
    too_big = 7,
    again = 11,
    no_memory = 12,
    access = 13,
    fault = 14,
    busy = 16,
    exists = 17,
    no_device = 19,
    invalid = 22,
    no_space = 28,
    range = 34,
    not_implemented = 38,
    protocol = 71, // the peer broke the protocol
    not_supported = 95,
    timed_out = 110,
};

// The negative errno that C callers expect.
constexpr int to_errno(Error e) { return -static_cast<int>(e); }

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
public:
    constexpr Result(T value) : value_(std::move(value)) {}
    constexpr Result(Error error) : error_(error) {}

    constexpr bool ok() const { return error_ == Error::none; }
    constexpr Error error() const { return error_; }
    constexpr T &value() { return value_; }
    constexpr const T &value() const { return value_; }
    constexpr T take() { return std::move(value_); }

private:
    T value_{};
    Error error_ = Error::none;
};

template <>
class [[nodiscard]] Result<void> {
public:
    constexpr Result() = default;
    constexpr Result(Error error) : error_(error) {}

    constexpr bool ok() const { return error_ == Error::none; }
    constexpr Error error() const { return error_; }
    constexpr void take() {}

private:
    Error error_ = Error::none;
};

using Status = Result<void>;

// What a hypercall's register value means: the one place where its sign is looked at.
constexpr Result<uint64_t> decode_hypercall(long rc)
{
    if (rc < 0)
        return static_cast<Error>(static_cast<int>(-rc));
    return static_cast<uint64_t>(rc);
}

} // namespace xen

// Evaluates a Result; on error returns it from the calling function, else yields the value.
#define TRY(expression)                                                                            \
    ({                                                                                             \
        auto try_result_ = (expression);                                                           \
        if (!try_result_.ok())                                                                     \
            return try_result_.error();                                                            \
        try_result_.take();                                                                        \
    })
