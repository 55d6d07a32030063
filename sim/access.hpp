// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the guest loads from memory that a peer can change. Only the cores are seen: peers and tests
// reach the same memory without <xen/shared.hpp>. Addresses may be the guest's or, of the same
// byte, a peer's.
#pragma once

#include <cstddef>
#include <functional>

namespace sim {

// The guest's address of a byte that a peer has mapped; other addresses are returned as they are.
const void *guest_view(const void *address);

// How often the guest loaded a byte since boot() or clear_loads(): of a range, the highest count.
// A core that validates and uses one load has 1 here.
unsigned loads(const void *address, size_t size = 1);
void clear_loads();

// While it lives, the function is called right after each load took its value; `nth` counts the
// loads of the first byte from 1. It may change memory, as a peer on another processor does, but
// must not call the cores. One at a time.
class LoadObserver {
public:
    using Function = std::function<void(const void *guest_address, size_t size, unsigned nth)>;
    explicit LoadObserver(Function function);
    LoadObserver(const LoadObserver &) = delete;
    ~LoadObserver();
};

// From now on, an access of the guest's to this page other than through <xen/shared.hpp> is an
// error that the address sanitizer reports. Ends when the page is freed. Backends do it to rings.
void guard(const void *address);

} // namespace sim
