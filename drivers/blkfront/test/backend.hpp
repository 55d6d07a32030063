// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A block backend in the simulated machine: a disk in memory, served through grants as
// public/io/blkif.h says. It behaves unless a test takes over.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <blkfront/core/wire.hpp>
#include <sim/back_ring.hpp>
#include <sim/sim.hpp>

namespace blktest {

constexpr unsigned disk_number = 51713; // of a test with one disk
inline const std::string backend_dir = "/local/domain/0/backend/vbd/5/51713";
inline const std::string frontend_dir = "/local/domain/5/device/vbd/51713";

using xen::blk::Request;
using xen::blk::Response;
using Ring = sim::BackRing<Request, Response>;

class Backend {
public:
    explicit Backend(uint64_t sectors = 2048, unsigned number = disk_number);
    ~Backend();

    // What it publishes when it connects; an empty optional leaves the key out.
    std::map<std::string, std::optional<std::string>> keys;
    std::vector<uint8_t> disk;
    bool automatic = true;     // serves requests as they come
    bool follow_states = true; // reacts to the frontend's states
    unsigned flushes = 0;
    // Changes a response before it is sent.
    std::function<void(Response &)> change;
    // Called before it reacts to an event, and to a state of the frontend's.
    std::function<void()> on_event;
    std::function<void(unsigned state)> on_frontend_state;

    void start(); // InitWait
    void set_state(unsigned state);
    unsigned state() const;
    unsigned frontend_state() const;
    bool attach(); // maps the ring and binds the port
    void publish_keys();
    void vanish(); // unmaps all, closes its ports, says nothing

    // By hand: the requests that came and have no response, and how to answer.
    bool take(Request &request);
    Response serve(const Request &request);
    void respond(const Response &response);
    void publish_producer(uint32_t rsp_prod);
    Ring &ring() { return ring_; }
    sim::Peer &peer() { return *peer_; }
    const uint8_t *ring_page() const { return page_; }
    void notify() { peer_->notify(port_); }

private:
    void frontend_changed();
    void serve_all();
    bool transfer(const Request &request);

    const std::string backend_dir_;
    const std::string frontend_dir_;
    std::optional<sim::Peer> peer_;
    unsigned watch_ = 0;
    uint8_t *page_ = nullptr;
    uint32_t port_ = 0;
    Ring ring_;
};

} // namespace blktest
