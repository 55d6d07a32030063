// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A simulated Xen for tests on the host: implements xen_hypercall() and xen/port.h for one guest,
// with event channels, grants, a xenstored behind a real ring, and peers (backends) as scriptable
// objects. Everything runs in one thread and in a fixed order: peers and xenstored act only in
// step(), which the guest's waiting functions call as well; time is virtual. A guest that breaks a
// rule of its contract (sleeps with interrupts off, frees a page that a peer can still reach)
// aborts the test.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace xen::xenstore {
enum class Message : uint32_t;
}

namespace sim {

constexpr uint16_t guest_domid = 5;
inline const std::string guest_home = "/local/domain/5"; // relative xenstore paths start here

// ---- the machine ----

// A fresh machine; then xen::grant_table_init() and xen::xenstore::start().
void boot(unsigned grant_frames = 4);
// Stops the guest's xenstore client and forgets everything.
void shutdown();

// The domain is suspended and restored, with what the kernel does around its drivers. Grants, event
// ports and what xenstored knew of the guest are gone; ports are given out again from the first one
// on. What a toolstack writes for the new domain is the test's to write; backends of before are to
// be destroyed.
void restore();

// Lets xenstored, watchers and peers do what they have to do, once. False: nothing to do.
bool step();
// Everything, with the guest's xen::xenstore::run_once(), until nothing happens any more.
void run();
// The same until the condition holds; false after so much virtual time.
bool run_until(const std::function<bool()> &condition, uint64_t milliseconds = 20000);

unsigned delayed_events(); // how often the guest left a port masked for a while, since boot()

uint64_t now(); // virtual nanoseconds
void advance(uint64_t nanoseconds);
// What passes when the guest waits and there is nothing to do; a millisecond after boot().
void set_idle_time(uint64_t nanoseconds);
// When the guest next wants the xenstore lock, another thread of it gets there first and does this.
void before_request(std::function<void()> function);

// Lines that the guest logged at warning or error level since boot().
const std::vector<std::string> &complaints();

// Decides about each hypercall before the machine does: a value is the hypercall's result.
using HypercallFilter =
    std::function<std::optional<long>(unsigned number, const unsigned long *arguments)>;
void filter_hypercalls(HypercallFilter filter);

// ---- the guest's memory ----

unsigned pages_in_use();              // from xen_port_page_alloc()
void fail_page_alloc(unsigned after); // the allocation after so many, once
void *page_of(uint64_t frame);        // the guest's address; null: no such page
unsigned grants_in_force();           // entries of the grant table that permit access

// A message of the guest's names these bytes of a granted page: a peer may see them, and what they
// become, until the page is freed. Reference backends say so of each ring and each request.
void declare(uint32_t reference, unsigned offset, unsigned length);
// The first byte that a peer could read through a grant in force, is not zero and was never
// declared; empty: there is none. Tests fill what surrounds their buffers with something.
std::string leaked();

// ---- peers ----

// Another domain. Reaches guest memory only through grants, and events only through bound ports.
class Peer {
public:
    explicit Peer(uint16_t domid = 0);
    Peer(const Peer &) = delete;
    ~Peer(); // unmaps everything, closes its ports

    uint16_t domid() const { return domid_; }

    // Maps a granted page at an address of its own, which unmap() makes invalid. Null: Xen refused.
    uint8_t *map(uint32_t reference, bool writable = true);
    // The same for several references, contiguously (multi-page rings).
    uint8_t *map_all(const std::vector<uint32_t> &references, bool writable = true);
    void unmap(uint8_t *address);
    // GNTTABOP_copy: false if Xen refuses.
    bool read(uint32_t reference, unsigned offset, void *to, unsigned length);
    bool write(uint32_t reference, unsigned offset, const void *from, unsigned length);

    // Binds to a port that the guest listens on. 0: refused. `on_event` runs in step().
    uint32_t bind(uint32_t guest_port, std::function<void()> on_event = {});
    void notify(uint32_t port); // the guest's handler runs at once, unless its interrupts are off
    bool take_event(uint32_t port); // did the guest notify since the last call? (without on_event)
    void close(uint32_t port);

private:
    struct Mapping;
    uint16_t domid_;
    std::vector<std::unique_ptr<Mapping>> mappings_;
    std::vector<uint32_t> ports_;
};

// ---- xenstore as the toolstack sees it: absolute paths, no permissions ----

namespace store {
std::optional<std::string> read(const std::string &path);
void write(const std::string &path, const std::string &value);
void remove(const std::string &path); // and all below
std::vector<std::string> list(const std::string &path);
// changed(path) runs in step(), first for the registration itself. Returns an id.
unsigned watch(const std::string &path, std::function<void(const std::string &)> changed);
void unwatch(unsigned id);
unsigned guest_watches();      // registered by the guest
unsigned guest_transactions(); // begun by it and not ended
unsigned requests();           // made by the guest since boot()

// Asked about each request of the guest's and its first word, mostly a path. What it returns is the
// error ("EQUOTA", "EACCES") with which the request fails without effect; null: it goes on.
using Judge = std::function<const char *(xen::xenstore::Message request, const std::string &path)>;
void refuse(Judge judge);

// Misbehaviour. Each reply or event passes the filter as raw bytes (header and payload), which may
// change, lengthen or drop (clear) it.
void filter_replies(std::function<void(std::vector<uint8_t> &message)> filter);
void answer(bool enabled);                        // false: xenstored stays silent
void fail_commits(unsigned count);                // so many commits fail with EAGAIN
void support_reconnect(bool enabled);             // server feature bit 0; on by default
void send_raw(const std::vector<uint8_t> &bytes); // into the ring as it is
uint8_t *ring_page();
// The test may break the guest's stream as well: at an impossible request xenstored stops listening
// until the ring starts over, instead of ending the test.
void forgive_bad_requests();
} // namespace store

// ---- a test on a fresh machine ----

class MachineTest : public ::testing::Test {
protected:
    void SetUp() override { boot(); }
    void TearDown() override { shutdown(); }
};

} // namespace sim
