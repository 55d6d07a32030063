// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Exclusion inside the cores: an atomic number, a number of things that are given out, and a short
// spin lock that masks interrupts through the port. Nothing may sleep while it holds the lock.
#pragma once

#include <type_traits>

#include <xen/port.h>

namespace xen {

template <class T>
class Atomic {
    static_assert(std::is_integral_v<T> && sizeof(T) <= 8);

public:
    constexpr Atomic(T value = 0) : value_(value) {}
    T load() const { return __atomic_load_n(&value_, __ATOMIC_ACQUIRE); }
    void store(T value) { __atomic_store_n(&value_, value, __ATOMIC_RELEASE); }
    T exchange(T value) { return __atomic_exchange_n(&value_, value, __ATOMIC_ACQ_REL); }
    T add(T value) { return __atomic_add_fetch(&value_, value, __ATOMIC_ACQ_REL); }
    const T *address() const { return &value_; } // for a port function that watches the value

private:
    T value_;
};

// So many there are, for all who ask.
class Quota {
public:
    constexpr explicit Quota(uint32_t most) : most_(most) {}
    Quota(const Quota &) = delete;

    // All of them or none; `count` is far below 2^31.
    bool take(uint32_t count = 1)
    {
        if (taken_.add(count) <= most_)
            return true;
        give(count);
        return false;
    }

    void give(uint32_t count = 1) { taken_.add(0u - count); }

private:
    const uint32_t most_;
    Atomic<uint32_t> taken_;
};

class SpinLock {
public:
    constexpr SpinLock() = default;
    SpinLock(const SpinLock &) = delete;

    [[nodiscard]] unsigned long lock()
    {
        const unsigned long flags = xen_port_irq_save();
        while (held_.exchange(1))
            while (held_.load())
                __builtin_ia32_pause();
        return flags;
    }

    void unlock(unsigned long flags)
    {
        held_.store(0);
        xen_port_irq_restore(flags);
    }

private:
    Atomic<uint32_t> held_;
};

// Holds a lock for a scope.
class LockGuard {
public:
    explicit LockGuard(SpinLock &lock) : lock_(lock), flags_(lock.lock()) {}
    LockGuard(const LockGuard &) = delete;
    ~LockGuard() { lock_.unlock(flags_); }

private:
    SpinLock &lock_;
    unsigned long flags_;
};

} // namespace xen
