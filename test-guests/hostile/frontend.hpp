// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a disk and a network interface have in common, seen from the side of a guest that need not
// keep the rules: the device's directory and states (public/io/xenbus.h), its keys, the event
// channel, and grants that no backend should get along with.
#pragma once

#include <xen/event.hpp>
#include <xen/grant.hpp>
#include <xen/ring.hpp>
#include <xen/xenstore.hpp>

#include "words.hpp"

// What came of a case.
enum class Outcome {
    ok,          // the request was served
    error,       // it was answered with an error
    unsupported, // it was answered as not supported
    dead,        // it was not answered
    refused,     // the backend did not connect
    trouble,     // this guest could not do what the case says
};
const char *outcome_name(Outcome outcome);

void sleep_ms(unsigned ms);

// A shared page with a ring's indices in it, of which all may be written as one likes.
struct RingPage {
    xen::RingHeader *header = nullptr;
    xen::Grant grant;

    // The slot of request number `index` in a ring of `slots` slots of `size` bytes.
    void *slot(uint32_t index, unsigned slots, size_t size) const;
    xen::Status open(xen::DomId peer);
    void close();
    // Shows the backend requests up to here.
    void publish(uint32_t req_prod);
    // Waits until there are responses up to here; false: they did not come.
    bool wait(uint32_t rsp_prod, const uint32_t &events, unsigned ms) const;
};

class Frontend {
public:
    Frontend() = default;
    Frontend(const Frontend &) = delete;

    // `node` below device/, as vbd/51728.
    xen::Status find(const char *node);
    const char *directory() const { return directory_.c_str(); }

    // Goes to Closed, waits for the backend, and takes everything back.
    void close();

    // Sends events that announce nothing.
    void storm(uint64_t count) const;

protected:
    // A number, or one of the names for grants that are not good: never (no such grant was given),
    // huge (beyond every table), readonly, foreign (given to another domain), revoked; or ring,
    // ring2, page, port, sectors: what an honest frontend writes.
    uint64_t number(const char *text) const;
    uint64_t number(const Words &words, const char *name, uint64_t otherwise) const;

    // Takes the device to where its backend waits for rings.
    xen::Status begin();
    xen::Status make_grants();
    // Writes a usual key unless the script leaves it out ("-key:NAME").
    xen::Status key(const Words &words, const char *name, uint64_t value);
    xen::Status key(const Words &words, const char *name, const char *value);
    // Writes the script's own keys ("key:NAME=VALUE").
    xen::Status other_keys(const Words &words);
    // Goes through the script's states ("states=1,4,3") or the usual one; did the backend connect?
    xen::Result<bool> offer(const Words &words, const char *usual);

    xen::Path directory_;
    xen::Value backend_;
    xen::DomId peer_;
    xen::EventChannel events_;
    uint32_t event_count_ = 0;
    uint64_t sectors_ = 0;
    RingPage rings_[2];
    uint8_t *page_ = nullptr; // of the data
    xen::Grant page_grant_;

private:
    static void on_event(void *context);
    bool wait_backend(unsigned wanted, unsigned ms) const;
    void remember(const char *name);

    xen::Grant readonly_, foreign_, revoked_;
    static constexpr unsigned max_keys = 16;
    xen::Text<40> keys_[max_keys]; // that were written, to be removed
    unsigned key_count_ = 0;
};
