// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a backend in dom0 needs of Xen, over libxenstore, libxenevtchn and libxengnttab: a store, an
// event channel, pages of the guest. Failures that make no sense to go on after are thrown.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

namespace backends {

// A reason that a user can act on, in one line.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Store {
public:
    Store();
    ~Store();
    Store(const Store &) = delete;
    Store &operator=(const Store &) = delete;

    int fd() const { return xs_fileno(handle_); }
    std::optional<std::string> read(const std::string &path) const;
    // -1: there is none, or it is no number.
    long read_number(const std::string &path) const;
    void write(const std::string &path, const std::string &value);
    void remove(const std::string &path);
    // A directory of `owner` that `reader` can read, as the toolstack makes them.
    void make_directory(const std::string &path, unsigned owner, unsigned reader);
    // Everything that `change` does becomes visible at once.
    void transaction(const std::function<void()> &change);
    void watch(const std::string &path);
    void unwatch(const std::string &path);
    // True as long as watch events are waiting; takes one.
    bool take_event();

private:
    xs_handle *handle_;
    xs_transaction_t transaction_ = 0;
};

// One event channel to a guest. Notifying and taking are harmless while it is not bound.
class Channel {
public:
    Channel();
    ~Channel();
    Channel(const Channel &) = delete;
    Channel &operator=(const Channel &) = delete;

    int fd() const { return xenevtchn_fd(handle_); }
    bool bind(unsigned domain, uint32_t remote_port);
    void unbind();
    bool notify();
    void take_event();

private:
    xenevtchn_handle *handle_;
    int port_ = -1;
};

// A page of the guest, mapped for as long as this lives. Null if Xen refused.
class Mapping {
public:
    Mapping() = default;
    Mapping(unsigned domain, uint32_t reference, bool writable);
    ~Mapping();
    Mapping(Mapping &&other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
    Mapping &operator=(Mapping &&other) noexcept
    {
        std::swap(page_, other.page_);
        return *this;
    }

    uint8_t *page() const { return page_; }
    // Bytes that are not 0, outside of [first, end).
    unsigned non_zero_outside(unsigned first, unsigned end) const;

private:
    uint8_t *page_ = nullptr;
};

} // namespace backends
