// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client's inside: one request in flight, watches, and what happens when xenstored
// breaks the protocol. xenstore.cc speaks the single commands on top of it.
#pragma once

#include <xen/lock.hpp>
#include <xen/xenstore.hpp>

#include "xenstore_wire.hpp"

namespace xen::xenstore {

struct Reply {
    const char *data;
    uint32_t length;
};

// One request, for a scope: nobody else uses the ring meanwhile, and the reply stays valid.
class Request {
public:
    Request(Message type, Transaction transaction);
    Request(const Request &) = delete;
    ~Request();

    Request &add(const char *data, size_t length);
    Request &add_string(const char *text); // with its NUL
    Result<Reply> run();

private:
    struct Part {
        const char *data;
        uint32_t length;
    };

    Status send(uint64_t deadline);

    Header header_;
    Part parts_[3];
    unsigned count_ = 0;
};

} // namespace xen::xenstore
