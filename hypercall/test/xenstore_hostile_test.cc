// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client against an xenstored that is silent, slow, or breaks the protocol: requests
// fail in bounded time, nothing is read out of bounds, and the ring starts over where xenstored can
// do that.
#include <cstring>
#include <string>
#include <vector>

#include <sim/access.hpp>
#include <sim/sim.hpp>
#include <xen/abi.hpp>
#include <xen/hypercall.hpp>
#include <xen/xenstore.hpp>

#include "xenstore_wire.hpp"

namespace {

namespace xs = xen::xenstore;
namespace store = sim::store;
using Bytes = std::vector<uint8_t>;

Bytes message(uint32_t type, uint32_t request, const std::string &payload, uint32_t length)
{
    const xs::Header header{type, request, 0, length};
    Bytes bytes(sizeof(header));
    std::memcpy(bytes.data(), &header, sizeof(header));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

Bytes event(const std::string &payload)
{
    return message(static_cast<uint32_t>(xs::Message::watch_event), 0, payload,
                   static_cast<uint32_t>(payload.size()));
}

xs::Header header_of(const Bytes &bytes)
{
    xs::Header header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    return header;
}

void set_header(Bytes &bytes, const xs::Header &header)
{
    std::memcpy(bytes.data(), &header, sizeof(header));
}

xs::Interface &ring() { return *reinterpret_cast<xs::Interface *>(store::ring_page()); }

class HostileStoreTest : public sim::MachineTest {
protected:
    void SetUp() override
    {
        sim::MachineTest::SetUp();
        store::write("/a", "value");
        watch_.path = xen::join_path("/w", "").take();
        watch_.context = &fired_;
        watch_.changed = [](void *context, const char *) { ++*static_cast<unsigned *>(context); };
        ASSERT_TRUE(xs::watch(watch_).ok());
        sim::run();
        fired_ = 0;
    }

    void TearDown() override
    {
        store::filter_replies({});
        sim::MachineTest::TearDown();
    }

    xen::Error read() { return xs::read({}, "/a", "").error(); }

    // From now on xenstored, on a CPU of its own, is done with an event before the sender goes on.
    static void make_fast()
    {
        sim::filter_hypercalls([](unsigned number, const unsigned long *arguments) {
            static bool inside = false;
            if (inside || number != xen::abi::hypercall_event_channel_op ||
                arguments[0] != xen::abi::evtchnop_send)
                return std::optional<long>();
            inside = true;
            const long result = xen_hypercall(number, arguments[0], arguments[1], 0, 0, 0);
            sim::step();
            inside = false;
            return std::optional<long>(result);
        });
    }

    // Whatever happened: the ring has started over, requests work, and the watch is registered
    // again.
    void expect_healed()
    {
        store::filter_replies({});
        sim::run();
        EXPECT_EQ(read(), xen::Error::none);
        EXPECT_EQ(store::guest_watches(), 1u);
        fired_ = 0;
        store::write("/w", "x");
        sim::run();
        EXPECT_EQ(fired_, 1u);
    }

    // The next reply becomes what `change` makes of it.
    template <class Change>
    void spoil_one_reply(Change change)
    {
        store::filter_replies([change, done = false](Bytes &bytes) mutable {
            if (!std::exchange(done, true))
                change(bytes);
        });
    }

    xen::Watch watch_;
    unsigned fired_ = 0;
};

// What is answered is the whole request, even where nothing follows the path.
TEST_F(HostileStoreTest, AnswersBeforeTheSenderGoesOn)
{
    make_fast();
    EXPECT_EQ(xs::write({}, "/a", "", "").error(), xen::Error::none);
    EXPECT_EQ(store::read("/a"), "");
    EXPECT_EQ(xs::write({}, "/a", "", "text").error(), xen::Error::none);
    EXPECT_EQ(store::read("/a"), "text");
    EXPECT_EQ(read(), xen::Error::none);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(HostileStoreTest, Cve202537949LateReplyIsNotTheNextOnes)
{
    store::answer(false);
    const uint64_t start = sim::now();
    EXPECT_EQ(read(), xen::Error::timed_out);
    EXPECT_NEAR(static_cast<double>(sim::now() - start), 5e9, 1e8);
    store::answer(true);
    store::write("/b", "another");
    const auto next = xs::read({}, "/b", "");
    ASSERT_TRUE(next.ok());
    EXPECT_STREQ(next.value().c_str(), "another") << "the late reply is not taken for this one's";
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(HostileStoreTest, Cve202537949LostRepliesAreNotMixedUp)
{
    for (unsigned i = 0; i < 40; ++i) {
        spoil_one_reply([](Bytes &bytes) { bytes.clear(); });
        EXPECT_EQ(read(), xen::Error::timed_out);
    }
    EXPECT_EQ(read(), xen::Error::none);
}

// However long: what it could not be told is told when it goes on, and nothing is out of order.
TEST_F(HostileStoreTest, SilenceIsNoEnd)
{
    store::support_reconnect(false);
    store::answer(false);
    for (unsigned i = 0; i < 80; ++i)
        EXPECT_EQ(read(), xen::Error::timed_out);
    store::answer(true);
    EXPECT_EQ(read(), xen::Error::none);
    const std::string value(3000, 'v');
    store::answer(false);
    EXPECT_EQ(xs::write({}, "/big", "", value.c_str()).error(), xen::Error::timed_out);
    EXPECT_EQ(read(), xen::Error::timed_out);
    store::answer(true);
    expect_healed();
    EXPECT_TRUE(store::read("/big") == value);
    EXPECT_TRUE(sim::complaints().empty());
}

// Or xenstored would keep it, and soon allow the domain no other.
TEST_F(HostileStoreTest, TransactionsThatBeginTooLateAreEnded)
{
    for (const unsigned lost : {1u, 2u, 10u, 50u}) {
        store::answer(false);
        for (unsigned i = 0; i < lost; ++i)
            EXPECT_EQ(xs::begin().error(), xen::Error::timed_out);
        store::answer(true);
        sim::run();
        EXPECT_EQ(store::guest_transactions(), 0u) << lost;
    }
    const auto mine = xs::begin();
    ASSERT_TRUE(mine.ok());
    sim::run();
    EXPECT_TRUE(xs::commit(mine.value()).ok());
    EXPECT_TRUE(sim::complaints().empty());
}

// xenstored falls silent again, and what it is to hear of that has no room in the ring.
TEST_F(HostileStoreTest, TransactionsThatBeginTooLateAreEndedAsSoonAsItAnswers)
{
    store::answer(false);
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_EQ(xs::begin().error(), xen::Error::timed_out);
    store::answer(true);
    sim::before_request([] {
        store::answer(false);
        const std::string value(3000, 'v');
        EXPECT_EQ(xs::write({}, "/big", "", value.c_str()).error(), xen::Error::timed_out);
    });
    sim::run();
    EXPECT_EQ(store::guest_transactions(), 3u);
    store::answer(true);
    sim::run();
    EXPECT_EQ(store::guest_transactions(), 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

// After a new start, its number is another one's.
TEST_F(HostileStoreTest, TransactionsThatBeginTooLateAreEndedInTheirConnectionAlone)
{
    for (const bool restored : {true, false}) {
        sim::restore(); // the numbers begin anew
        store::answer(false);
        EXPECT_EQ(xs::begin().error(), xen::Error::timed_out);
        store::answer(true);
        EXPECT_EQ(read(), xen::Error::none);
        ASSERT_EQ(store::guest_transactions(), 1u);
        if (restored) {
            sim::restore();
        } else {
            store::send_raw(event("rubbish"));
            EXPECT_EQ(read(), xen::Error::protocol);
        }
        const auto mine = xs::begin();
        ASSERT_TRUE(mine.ok());
        ASSERT_EQ(mine.value().value, 1u);
        sim::run();
        EXPECT_TRUE(xs::commit(mine.value()).ok()) << restored;
    }
}

TEST_F(HostileStoreTest, SpoiledReplies)
{
    using Change = void (*)(Bytes &);
    const struct {
        const char *what;
        Change change;
    } table[] = {
        {"unknown request id",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.request += 1;
             set_header(bytes, header);
         }},
        {"id of an answered request",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.request -= 1;
             set_header(bytes, header);
         }},
        {"id 0xffffffff",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.request = 0xffffffff;
             set_header(bytes, header);
         }},
        {"another request's type",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.type = static_cast<uint32_t>(xs::Message::write);
             set_header(bytes, header);
         }},
        {"unknown type",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.type = 0xdeadbeef;
             set_header(bytes, header);
         }},
        {"length 4097",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.length = 4097;
             set_header(bytes, header);
         }},
        {"length 0xffffffff",
         [](Bytes &bytes) {
             auto header = header_of(bytes);
             header.length = 0xffffffff;
             set_header(bytes, header);
         }},
    };
    unsigned lines = 0;
    for (const auto &row : table) {
        SCOPED_TRACE(row.what);
        spoil_one_reply(row.change);
        EXPECT_EQ(read(), xen::Error::protocol);
        EXPECT_EQ(sim::complaints().size(), ++lines);
        expect_healed();
    }
}

TEST_F(HostileStoreTest, SpoiledEvents)
{
    const std::string nul(1, '\0');
    const std::string table[] = {
        "",
        nul,
        nul + nul,
        "/w",
        "/w" + nul,
        "/w" + nul + "1",
        "/w" + nul + "12",
        "/w" + nul + nul,
        "/w" + nul + "1" + nul + nul,
        "/w" + nul + "1" + nul + "more" + nul,
        "/w" + nul + "x" + nul,
        "/w" + nul + "-1" + nul,
        "/w" + nul + "0" + nul,
        "/w" + nul + "4294967295" + nul,
        "/w" + nul + "99999999999999999999" + nul,
        std::string(4096, 'x'),
        std::string(4096, '\0'),
    };
    unsigned lines = 0;
    for (const auto &payload : table) {
        SCOPED_TRACE(payload.size());
        store::send_raw(event(payload));
        sim::run();
        EXPECT_EQ(sim::complaints().size(), ++lines);
        expect_healed();
    }
}

TEST_F(HostileStoreTest, AnEventOfAnEndedWatchIsHarmless)
{
    const std::string token = std::to_string(watch_.token_);
    xs::unwatch(watch_);
    store::send_raw(event("/w" + std::string(1, '\0') + token + std::string(1, '\0')));
    sim::run();
    EXPECT_EQ(fired_, 0u);
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(HostileStoreTest, ImpossibleIndices)
{
    unsigned lines = 0;
    for (const uint32_t bad : {1025u, 0x80000000u, 0xffffffffu}) {
        SCOPED_TRACE(bad);
        std::memset(ring().rsp, 0, sizeof(ring().rsp));
        ring().rsp_prod = ring().rsp_cons + bad;
        EXPECT_EQ(read(), xen::Error::none) << "found and healed before the request was sent";
        EXPECT_EQ(sim::complaints().size(), ++lines);
        EXPECT_NE(sim::complaints().back().find("index"), std::string::npos);
        expect_healed();
    }
    for (const uint32_t bad : {1u, 0x80000000u, 0xfffffbffu}) {
        SCOPED_TRACE(bad);
        ring().req_cons = ring().req_prod + bad;
        EXPECT_EQ(read(), xen::Error::protocol);
        expect_healed();
    }
}

TEST_F(HostileStoreTest, WithoutReconnectTheClientIsDead)
{
    store::support_reconnect(false);
    store::send_raw(event("rubbish"));
    EXPECT_EQ(read(), xen::Error::protocol);
    EXPECT_EQ(sim::complaints().size(), 1u);
    EXPECT_EQ(read(), xen::Error::protocol);
    EXPECT_EQ(sim::complaints().size(), 1u) << "one line for all";
    sim::run();
    xs::unwatch(watch_);
}

// After it, the numbers of transactions begin anew: what is left of one is not for another.
TEST_F(HostileStoreTest, AReconnectForgetsTransactions)
{
    const xen::Transaction before = xs::begin().take();
    store::send_raw(event("rubbish"));
    sim::run();
    const xen::Transaction after = xs::begin().take();
    ASSERT_EQ(after.value, before.value);
    EXPECT_EQ(xs::write(before, "/a", "", "stale").error(), xen::Error::again);
    EXPECT_EQ(xs::commit(before).error(), xen::Error::again);
    xs::abort(before);
    EXPECT_TRUE(xs::write(after, "/a", "", "new").ok());
    EXPECT_TRUE(xs::commit(after).ok());
    EXPECT_EQ(store::read("/a"), "new");
}

TEST_F(HostileStoreTest, NoEndlessReconnecting)
{
    store::filter_replies([](Bytes &bytes) { bytes[0] ^= 0x80; });
    for (unsigned i = 0; i < 20; ++i) {
        EXPECT_NE(read(), xen::Error::none);
        sim::run();
    }
    EXPECT_LE(sim::complaints().size(), 20u);
    const size_t lines = sim::complaints().size();
    EXPECT_EQ(read(), xen::Error::protocol);
    EXPECT_EQ(sim::complaints().size(), lines);
}

TEST_F(HostileStoreTest, AReconnectThatNeverEndsTimesOut)
{
    store::send_raw(event("rubbish"));
    sim::step();
    store::answer(false);
    EXPECT_EQ(read(), xen::Error::timed_out);
    EXPECT_EQ(read(), xen::Error::timed_out);
    store::answer(true);
    expect_healed();
}

// What was read of a message is overwritten at once.
TEST_F(HostileStoreTest, Xsa155MessagesAreReadOnce)
{
    sim::LoadObserver overwrite([](const void *at, size_t size, unsigned) {
        auto *byte = static_cast<char *>(const_cast<void *>(at));
        if (byte >= ring().rsp && byte + size <= ring().rsp + sizeof(ring().rsp))
            std::memset(byte, 0xff, size);
    });
    const auto value = xs::read({}, "/a", "");
    ASSERT_TRUE(value.ok());
    EXPECT_STREQ(value.value().c_str(), "value");
    store::write("/w", "x");
    sim::run();
    EXPECT_EQ(fired_, 1u);
    EXPECT_TRUE(sim::complaints().empty());
}

// Another thread ends a watch that is about to be registered again.
TEST_F(HostileStoreTest, AnEndedWatchIsNotRenewed)
{
    store::send_raw(event("rubbish"));
    sim::before_request([this] { xs::unwatch(watch_); });
    sim::run();
    EXPECT_EQ(sim::complaints().size(), 1u);
    EXPECT_EQ(store::guest_watches(), 0u);
}

// No answer about a watch is not the end of it, whether xenstored registers it later or never
// heard.
TEST_F(HostileStoreTest, AWatchIsRenewedUntilThereIsAnAnswer)
{
    store::send_raw(event("rubbish"));
    sim::before_request([] { store::answer(false); });
    for (unsigned round = 0; round < 10; ++round) {
        sim::step();
        xs::run_once();
    }
    EXPECT_GT(sim::now(), 6'000'000'000u) << "the registration timed out";
    store::answer(true);
    expect_healed();
    EXPECT_EQ(sim::complaints().size(), 1u) << sim::complaints().back();
}

TEST_F(HostileStoreTest, Xsa349AFloodOfEventsDoesNotStopRequestsOrTime)
{
    const std::string nul(1, '\0');
    const Bytes one = event("/w" + nul + std::to_string(watch_.token_) + nul);
    Bytes flood;
    for (unsigned i = 0; i < 20'000; ++i)
        flood.insert(flood.end(), one.begin(), one.end());
    store::send_raw(flood);
    EXPECT_EQ(read(), xen::Error::none);
    sim::run();
    EXPECT_GE(fired_, 1u);
    EXPECT_LE(fired_, 1000u) << "one call is pending at most";
}

TEST_F(HostileStoreTest, Errors)
{
    const std::string nul(1, '\0');
    const struct {
        std::string text;
        xen::Error error;
    } table[] = {
        {"ENOENT" + nul, xen::Error::no_entry},
        {"EACCES" + nul, xen::Error::access},
        {"EAGAIN" + nul, xen::Error::again},
        {"EPERM" + nul, xen::Error::perm},
        {"ENOSPC" + nul, xen::Error::no_space},
        {"EQUOTA" + nul, xen::Error::no_space},
        {"ENOTEMPTY" + nul, xen::Error::io},
        {"ENOENT", xen::Error::io},
        {"", xen::Error::io},
        {std::string(4096, 'E'), xen::Error::io},
    };
    for (const auto &row : table) {
        spoil_one_reply([&row](Bytes &bytes) {
            bytes = message(static_cast<uint32_t>(xs::Message::error), header_of(bytes).request,
                            row.text, static_cast<uint32_t>(row.text.size()));
        });
        EXPECT_EQ(read(), row.error) << row.text;
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(HostileStoreTest, OddPayloads)
{
    const auto reply = [](const std::string &payload) {
        return [payload](Bytes &bytes) {
            auto header = header_of(bytes);
            bytes = message(header.type, header.request, payload,
                            static_cast<uint32_t>(payload.size()));
        };
    };
    spoil_one_reply(reply("no end"));
    EXPECT_EQ(xs::list(
                  {}, "/", [](void *, const char *) {}, nullptr)
                  .error(),
              xen::Error::protocol);
    for (const char *id : {"", "x", "-1", "4294967296"}) {
        spoil_one_reply(reply(std::string(id) + '\0'));
        EXPECT_EQ(xs::begin().error(), xen::Error::invalid) << id;
    }
    spoil_one_reply(reply(std::string(4096, '7')));
    EXPECT_EQ(xs::begin().error(), xen::Error::invalid);
    EXPECT_EQ(read(), xen::Error::none);
}

// The index of what xenstored took stays within its window and seems to move with every event.
TEST_F(HostileStoreTest, Xsa391RequestIndexThatGoesBackIsNoProgress)
{
    ASSERT_EQ(read(), xen::Error::none);
    sim::Peer daemon;
    const uint32_t taken = ring().req_cons;
    for (unsigned i = 0; i < 100; ++i) {
        ring().req_cons = taken - i % 2;
        daemon.notify(3);
        xs::run_once();
    }
    EXPECT_GT(sim::delayed_events(), 0u);
    ring().req_cons = taken;
    EXPECT_EQ(read(), xen::Error::none);
}

} // namespace
