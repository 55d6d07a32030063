// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client with real threads, under the thread sanitizer: requesters, the xenstore
// thread, watches that come and go, events at any moment, and requests that time out while the
// reply is on its way. Has a threaded home of its own instead of the simulated machine.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <xen/hypercall.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include "xenstore_wire.hpp"

namespace xs = xen::xenstore;

namespace {

std::mutex request_lock;
std::mutex wait_lock;
std::condition_variable changed;
std::atomic<uint64_t> skipped_time; // moves the clock, so that requests time out
std::atomic<bool> interrupts;
std::atomic<bool> masked;
std::atomic<unsigned> late; // uses of a port that is being unbound or was
void (*handler)(void *);

// xenstored in a thread: answers everything with its own request, and fires a watch now and then.
class Daemon {
public:
    void start()
    {
        thread_ = std::thread([this] { serve(); });
    }

    void stop()
    {
        stopping_ = true;
        thread_.join();
    }

    // Does nothing, from the end of a message until going on.
    void pause(bool on)
    {
        pausing_ = on;
        while (on && !paused_)
            std::this_thread::yield();
    }

    alignas(8) uint8_t page[4096]{};

private:
    xs::Interface &ring() { return *reinterpret_cast<xs::Interface *>(page); }
    static uint32_t load(const uint32_t &index)
    {
        return __atomic_load_n(&index, __ATOMIC_ACQUIRE);
    }
    static void store(uint32_t &index, uint32_t value)
    {
        __atomic_store_n(&index, value, __ATOMIC_RELEASE);
    }

    void serve()
    {
        while (!stopping_) {
            paused_ = pausing_.load();
            if (paused_) {
                std::this_thread::yield();
                continue;
            }
            const uint32_t produced = load(ring().req_prod);
            uint32_t consumed = ring().req_cons;
            while (consumed != produced)
                incoming_.push_back(ring().req[consumed++ % xs::ring_size]);
            store(ring().req_cons, consumed);
            answer();
            if (interrupts && !masked.exchange(true))
                handler(nullptr);
            std::this_thread::yield();
        }
    }

    void answer()
    {
        xs::Header header;
        if (incoming_.size() < sizeof(header))
            return;
        std::memcpy(&header, incoming_.data(), sizeof(header));
        const size_t size = sizeof(header) + header.length;
        if (incoming_.size() < size)
            return;
        const std::string payload = incoming_.substr(sizeof(header), header.length);
        incoming_.erase(0, size);
        if (++requests_ % 50 == 0) // long enough for a timeout
            skipped_time += 6'000'000'000;
        send(header, payload);
        if (header.type == static_cast<uint32_t>(xs::Message::watch))
            send({static_cast<uint32_t>(xs::Message::watch_event), 0, 0, 0}, payload);
    }

    void send(xs::Header header, const std::string &payload)
    {
        header.length = static_cast<uint32_t>(payload.size());
        std::string bytes(reinterpret_cast<const char *>(&header), sizeof(header));
        bytes += payload;
        for (const char c : bytes) {
            while (ring().rsp_prod - load(ring().rsp_cons) == xs::ring_size && !stopping_)
                std::this_thread::yield();
            ring().rsp[ring().rsp_prod % xs::ring_size] = c;
            store(ring().rsp_prod, ring().rsp_prod + 1);
        }
    }

    std::thread thread_;
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> pausing_ = false;
    std::atomic<bool> paused_ = false;
    std::string incoming_;
    unsigned requests_ = 0;
};

// The xenstore thread, two requesters, and one whose watches come and go.
class Crowd {
public:
    Crowd()
    {
        threads_.emplace_back([this] {
            while (!stopping_)
                xs::run_once();
        });
        for (unsigned id = 0; id < 2; ++id)
            threads_.emplace_back([this, id] { request("/requester/" + std::to_string(id)); });
        threads_.emplace_back([this] { watch(); });
    }

    void end()
    {
        stopping_ = true;
        for (auto &thread : threads_)
            thread.join();
    }

    std::atomic<unsigned> answered = 0;
    std::atomic<unsigned> wrong = 0;
    std::atomic<unsigned> fired = 0;

private:
    void request(const std::string &path)
    {
        while (!stopping_) {
            // The daemon answers with the path and its NUL, which a value may not contain.
            const auto value = xs::read({}, path.c_str(), "");
            answered += value.error() == xen::Error::invalid;
            wrong += value.error() != xen::Error::invalid &&
                     value.error() != xen::Error::timed_out &&
                     value.error() != xen::Error::no_device; // after stop()
        }
    }

    void watch()
    {
        while (!stopping_) {
            xen::Watch watch; // gone at the end of each round
            watch.path = xen::join_path("/w", "").take();
            watch.context = &fired;
            watch.changed = [](void *context, const char *) {
                ++*static_cast<std::atomic<unsigned> *>(context);
            };
            if (xs::watch(watch).ok())
                xs::unwatch(watch);
        }
    }

    std::atomic<bool> stopping_ = false;
    std::vector<std::thread> threads_;
};

void sleep(unsigned milliseconds)
{
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(XenstoreRace, Cve202537949RequestsTimeoutsAndWatches)
{
    static Daemon daemon;
    ASSERT_TRUE(xs::start(daemon.page, xen::EventPort{1}).ok());
    daemon.start();
    Crowd crowd;
    for (unsigned waited = 0; waited < 200 && (crowd.answered < 2000 || crowd.fired < 20); ++waited)
        sleep(50);
    xs::stop();
    sleep(50); // the others go on meanwhile
    crowd.end();
    daemon.stop();
    EXPECT_GE(crowd.answered, 100u);
    EXPECT_GE(crowd.fired, 1u);
    EXPECT_EQ(late, 0u) << "event_done while the port is unbound, or after that";
    EXPECT_LE(crowd.wrong, 4u) << "only stop() makes requests fail otherwise";
}

TEST(XenstoreRace, SuspendedAndRestoredAtAnyMoment)
{
    static Daemon daemon;
    ASSERT_TRUE(xs::start(daemon.page, xen::EventPort{1}).ok());
    daemon.start();
    Crowd crowd;
    for (unsigned round = 0; round < 100; ++round) {
        sleep(5);
        ASSERT_TRUE(xs::suspend().ok());
        const unsigned answered = crowd.answered;
        daemon.pause(true);
        interrupts = false;
        sleep(1);
        EXPECT_LE(crowd.answered, answered + 2) << "those that had their reply";
        ASSERT_TRUE(xs::resume_restored(daemon.page, xen::EventPort{1}).ok());
        daemon.pause(false);
        ASSERT_TRUE(xs::suspend().ok());
        xs::resume();
    }
    xs::stop();
    crowd.end();
    daemon.stop();
    EXPECT_GE(crowd.answered, 100u);
    EXPECT_GE(crowd.fired, 1u);
    EXPECT_LE(crowd.wrong, 4u);
}

} // namespace

// The ring itself is memory that both sides change at will; what it carries is checked. The
// sanitizer watches over everything private.
extern "C" const char *__tsan_default_suppressions()
{
    return "race:xen::load_shared\nrace:xen::store_shared\n";
}

// ---- the home ----

long xen_hypercall(unsigned long, unsigned long, unsigned long, unsigned long, unsigned long,
                   unsigned long)
{
    return 0;
}

extern "C" {

void *xen_port_pages_alloc(unsigned) { return nullptr; }
void xen_port_page_free(void *) {}
uint64_t xen_port_frame(const void *) { return 0; }
void xen_port_log(int, const char *line) { std::fprintf(stderr, "guest: %s\n", line); }

uint64_t xen_port_now(void)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(
               std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()) +
           skipped_time;
}

unsigned long xen_port_irq_save(void) { return 0; }
void xen_port_irq_restore(unsigned long) {}

int xen_port_event_bind(uint32_t, void (*function)(void *), void *)
{
    handler = function;
    masked = false;
    interrupts = true;
    return 0;
}

void xen_port_event_done(uint32_t, uint64_t)
{
    std::this_thread::yield();
    masked = false;
    late += !interrupts;
}
void xen_port_event_unbind(uint32_t) { interrupts = false; }

void xen_port_xenstore_lock(void) { request_lock.lock(); }
void xen_port_xenstore_unlock(void) { request_lock.unlock(); }

void xen_port_xenstore_wait(const uint32_t *counter, uint32_t seen, uint32_t timeout_ms)
{
    std::unique_lock lock(wait_lock);
    changed.wait_for(lock, std::chrono::milliseconds(std::min(timeout_ms, 10u)),
                     [&] { return __atomic_load_n(counter, __ATOMIC_ACQUIRE) != seen; });
}

void xen_port_xenstore_wake(void)
{
    const std::lock_guard lock(wait_lock);
    changed.notify_all();
}

} // extern "C"
