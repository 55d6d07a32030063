// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A block backend in the simulated machine: a disk in memory behind a volatile cache, served
// through grants as public/io/blkif.h says, with all that the interface has. What it offers is what
// its keys say. It behaves unless a test takes over.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sim/back_ring.hpp>
#include <sim/sim.hpp>

#include "blkif.hpp"

namespace blktest {

constexpr unsigned disk_number = 51713; // of a test with one disk
inline const std::string backend_dir = "/local/domain/0/backend/vbd/5/51713";
inline const std::string frontend_dir = "/local/domain/5/device/vbd/51713";

using Ring = sim::BackRing<Request, Response>;

class Backend {
public:
    explicit Backend(uint64_t sectors = 2048, unsigned number = disk_number);
    ~Backend();

    // What it publishes when it starts and connects; an empty optional leaves the key out.
    std::map<std::string, std::optional<std::string>> keys;
    bool publish_early = true; // false: only what concerns rings and queues before it connects
    bool automatic = true;     // serves requests as they come
    bool follow_states = true; // reacts to the frontend's states
    // A status that a request gets instead of being served.
    std::function<std::optional<int16_t>(const Request &)> refuse;
    // Changes a response before it is sent.
    std::function<void(Response &)> change;
    // Called before it reacts to an event, and to a state of the frontend's.
    std::function<void()> on_event;
    std::function<void(unsigned state)> on_frontend_state;

    void start(); // InitWait
    void set_state(unsigned state);
    unsigned state() const;
    unsigned frontend_state() const;
    bool attach(); // maps the rings and binds the ports
    void publish_keys();
    void republish(); // while it is connected: the disk has changed
    void resize(uint64_t sectors);
    void vanish(); // unmaps all, closes its ports, says nothing

    // ---- the disk ----

    // As it is read back. What was written and not flushed is in a cache, if it offers to flush.
    std::vector<uint8_t> disk;
    // Of what is in the cache, a part gets to the disk, as `keep` says of each sector, and the rest
    // is lost; the backend vanishes.
    void lose_power(const std::function<bool(uint64_t sector)> &keep);

    // Requests that it served.
    unsigned flushes = 0;
    unsigned barriers = 0;
    unsigned discards = 0;
    unsigned secure_discards = 0;
    unsigned indirect = 0;

    // ---- requests by hand: those that came and have no response, and how to answer ----

    unsigned connections = 0; // so far
    unsigned queues() const { return static_cast<unsigned>(queues_.size()); }
    bool take(Request &request, unsigned queue = 0);
    Response serve(const Request &request);
    void respond(const Response &response, unsigned queue = 0);
    void publish_producer(uint32_t rsp_prod, unsigned queue = 0);
    void notify(unsigned queue = 0) { peer_->notify(queues_.at(queue).port); }
    void serve_queue(unsigned queue); // all its requests

    // What a request really is: reads its indirect pages. Nothing: it is malformed.
    static uint8_t operation_of(const Request &request);
    std::optional<std::vector<Segment>> segments_of(const Request &request);

    Ring &ring(unsigned queue = 0) { return queues_.at(queue).ring; }
    const uint8_t *ring_page(unsigned queue = 0) const;
    unsigned ring_pages(unsigned queue = 0) const { return queues_.at(queue).pages; }
    unsigned taken(unsigned queue = 0) const { return queues_.at(queue).taken; }
    sim::Peer &peer() { return *peer_; }

    // ---- persistent grants ----

    unsigned keep_at_most = 1056;                   // pages that stay mapped
    bool persistent() const { return persistent_; } // both sides want it
    unsigned kept() const { return static_cast<unsigned>(kept_.size()); }
    void let_go(unsigned count); // unmaps those that were not used for longest

private:
    struct Queue {
        uint8_t *page = nullptr;
        unsigned pages = 0;
        uint32_t port = 0;
        unsigned taken = 0; // requests
        Ring ring;
    };
    struct Kept {
        uint32_t grant;
        uint8_t *page;
    };

    void frontend_changed();
    void event(unsigned queue);
    bool attach_queue(const std::string &dir, bool one_page, unsigned pages);
    uint64_t offer(const char *key, uint64_t fallback = 0) const;
    bool offers(const char *key) const { return offer(key) != 0; }
    bool copy(uint32_t grant, unsigned offset, void *memory, unsigned length, bool to_guest);
    int16_t transfer(const Request &request);
    int16_t discard(const Discard &request);
    void about_to_change(uint64_t sector, uint64_t sectors);

    const std::string backend_dir_;
    const std::string frontend_dir_;
    std::optional<sim::Peer> peer_;
    unsigned watch_ = 0;
    std::deque<Queue> queues_; // which stay where they are
    bool persistent_ = false;
    std::list<Kept> kept_; // the last used one first
    std::map<uint32_t, std::list<Kept>::iterator> kept_by_grant_;
    // What is on the disk of the sectors that the cache has.
    std::map<uint64_t, std::array<uint8_t, 512>> uncached_;
};

} // namespace blktest
