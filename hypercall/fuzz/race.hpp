// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A peer on another processor, which changes shared memory between two loads of the guest's.
// Speaks no part of Xen's interface.
#pragma once

#include <sim/access.hpp>

#include "script.hpp"

namespace fuzz {

class Race {
public:
    Race() : observer_([this](const void *at, size_t size, unsigned) { loaded(at, size); }) {}

    // Right after one of the guest's next loads from this page, which the peer has mapped, what was
    // loaded changes. Once; the page stays mapped until then, or until disarm().
    void arm(uint8_t *page, Script &script)
    {
        page_ = page;
        guest_page_ = static_cast<const uint8_t *>(sim::guest_view(page));
        loads_left_ = script.below(8);
        change_ = script.bytes(1 + script.below(8));
    }

    void disarm() { page_ = nullptr; }

private:
    void loaded(const void *address, size_t size)
    {
        const auto *at = static_cast<const uint8_t *>(address);
        if (page_ == nullptr || at < guest_page_ || at + size > guest_page_ + 4096)
            return;
        if (loads_left_-- > 0)
            return;
        uint8_t *bytes = page_ + (at - guest_page_);
        for (size_t i = 0; i < size && i < change_.size(); ++i)
            bytes[i] ^= change_[i];
        page_ = nullptr;
    }

    uint8_t *page_ = nullptr;
    const uint8_t *guest_page_ = nullptr;
    unsigned loads_left_ = 0;
    std::vector<uint8_t> change_;
    sim::LoadObserver observer_;
};

} // namespace fuzz
