// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target xenstore: the client's commands and watches against an xenstored that answers as the
// script says, byte by byte if it likes (docs/misc/xenstore-ring.txt). Every command ends in
// bounded time; where xenstored can start over, all is well afterwards.
#include <deque>

#include <sim/sim.hpp>
#include <xen/xenstore.hpp>

#include "race.hpp"
#include "xenstore_wire.hpp"

namespace {

namespace xs = xen::xenstore;
namespace store = sim::store;
using Bytes = std::vector<uint8_t>;

class StoreRun : public sim::MachineTest {
public:
    void TestBody() override {}

    void play(fuzz::Script &script)
    {
        SetUp();
        sim::set_idle_time(100'000'000); // a silence is soon over
        store::forgive_bad_requests();
        store::write("/a", "value");
        store::write("/a/b", "below");
        store::filter_replies([&](Bytes &message) { spoil(script, message); });
        while (script.next_step())
            step(script);
        end();
    }

private:
    static constexpr unsigned watch_count = 3;
    // A command that is given up waits for the ring, for room, and for its reply; of a transaction
    // or a registration there may be one more.
    static constexpr uint64_t command_limit = 5'500'000'000;

    xs::Interface &ring() { return *reinterpret_cast<xs::Interface *>(store::ring_page()); }

    void step(fuzz::Script &script)
    {
        const uint64_t start = sim::now();
        const uint8_t what = script.below(14);
        if (what < 8)
            command(what, script);
        else
            misbehave(what, script);
        if (what < 7) {
            EXPECT_LE(sim::now() - start, command_limit) << "a command without end";
        }
    }

    void command(unsigned what, fuzz::Script &script)
    {
        switch (what) {
        case 0:
            (void)xs::read({}, "/a", "");
            break;
        case 1:
            (void)xs::write({}, "/a", "", std::string(script.number(2) % 4200, 'v').c_str());
            break;
        case 2:
            (void)xs::list(
                {}, "/", [](void *, const char *name) { EXPECT_LT(std::strlen(name), 4096u); },
                nullptr);
            break;
        case 3:
            (void)xs::begin();
            break;
        case 4:
            (void)xs::remove({}, "/a", "b");
            break;
        case 5:
            return toggle_watch(script.below(watch_count));
        case 6:
            store::write("/w/" + std::to_string(script.below(watch_count)), "x");
            break;
        case 7:
            sim::run();
            break;
        }
    }

    void toggle_watch(unsigned which)
    {
        xen::Watch &watch = watches_[which];
        if (watching_[which]) {
            watching_[which] = false;
            xs::unwatch(watch);
            return;
        }
        watch.path = xen::join_path("/w", std::to_string(which).c_str()).take();
        watch.context = &fired_[which];
        watch.changed = [](void *context, const char *path) {
            EXPECT_LT(std::strlen(path), sizeof(xen::Path::data));
            ++*static_cast<unsigned *>(context);
        };
        watching_[which] = xs::watch(watch).ok();
    }

    void misbehave(unsigned what, fuzz::Script &script)
    {
        switch (what) {
        case 8:
            store::send_raw(script.bytes(script.byte()));
            break;
        case 9:
            return send_message(script);
        case 10:
            return set_index(script);
        case 11:
            store::answer(script.byte() & 1 || silences_++ > 4);
            break;
        case 12:
            spoilers_ = 1 + script.below(4);
            break;
        case 13:
            race_.arm(store::ring_page(), script);
            break;
        }
    }

    void set_index(fuzz::Script &script)
    {
        switch (script.below(3)) {
        case 0:
            ring().rsp_prod = static_cast<uint32_t>(script.near(ring().rsp_prod));
            break;
        case 1:
            ring().req_cons = static_cast<uint32_t>(script.near(ring().req_cons));
            break;
        case 2:
            store::support_reconnect(script.byte() & 1);
            break;
        }
    }

    // A message with a header that may be right.
    void send_message(fuzz::Script &script)
    {
        static constexpr uint32_t types[] = {15, 16, 2, 1, 4, 5, 6, 7, 11, 13};
        const Bytes payload = script.bytes(script.below(64));
        const xs::Header header{types[script.below(10)], static_cast<uint32_t>(script.near(0)), 0,
                                static_cast<uint32_t>(script.near(payload.size()))};
        Bytes message(sizeof(header));
        std::memcpy(message.data(), &header, sizeof(header));
        message.insert(message.end(), payload.begin(), payload.end());
        store::send_raw(message);
    }

    // Changes a reply or an event that xenstored is about to send.
    void spoil(fuzz::Script &script, Bytes &message)
    {
        if (spoilers_ == 0 || script.done())
            return;
        --spoilers_;
        xs::Header header;
        std::memcpy(&header, message.data(), sizeof(header));
        const uint8_t fields = script.byte();
        if (fields & 1)
            header.type = static_cast<uint32_t>(script.near(header.type));
        if (fields & 2)
            header.request = static_cast<uint32_t>(script.near(header.request));
        if (fields & 4)
            header.length = static_cast<uint32_t>(script.near(header.length));
        std::memcpy(message.data(), &header, sizeof(header));
        if (fields & 8)
            message.resize(script.number(2) % 4200);
        for (unsigned changes = fields >> 4; changes > 0 && !message.empty(); --changes)
            message[script.number(2) % message.size()] = script.byte();
    }

    // xenstored behaves from now on.
    void end()
    {
        race_.disarm();
        store::filter_replies({});
        store::answer(true);
        store::support_reconnect(true);
        sim::run();
        // What was left of the stream may look like the beginning of a message that never ends: one
        // command finds out. It may also have been the last straw.
        for (unsigned tries = 0; tries < 3 && !xs::read({}, "/", "").ok(); ++tries)
            sim::run();
        if (!xs::read({}, "/", "").ok())
            restart();
        expect_working();
        for (unsigned i = 0; i < watch_count; ++i) {
            if (watching_[i])
                xs::unwatch(watches_[i]);
        }
        sim::run();
        TearDown();
    }

    void restart()
    {
        xs::stop();
        for (bool &watching : watching_)
            watching = false;
        boot_again();
    }

    static void boot_again()
    {
        sim::shutdown();
        fuzz::forget_store_client();
        sim::boot();
        sim::set_idle_time(100'000'000);
        store::write("/a", "value");
    }

    void expect_working()
    {
        store::write("/a", "value");
        const auto value = xs::read({}, "/a", "");
        EXPECT_TRUE(value.ok());
        EXPECT_STREQ(value.value().c_str(), "value");
    }

    xen::Watch watches_[watch_count];
    bool watching_[watch_count]{};
    unsigned fired_[watch_count]{};
    unsigned spoilers_ = 0;
    unsigned silences_ = 0;
    fuzz::Race race_;
};

} // namespace

FUZZ_TARGET(StoreRun)
