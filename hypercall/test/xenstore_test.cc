// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client against an xenstored that behaves: commands, transactions, watches, states.
#include <string>
#include <vector>

#include <sim/sim.hpp>
#include <xen/xenstore.hpp>

#include "recorder.hpp"
#include "xenstore_client.hpp"

namespace {

namespace xs = xen::xenstore;
namespace store = sim::store;

class XenstoreTest : public sim::MachineTest {
protected:
    std::vector<std::string> list(const char *directory)
    {
        std::vector<std::string> names;
        EXPECT_TRUE(xs::list({}, directory, collect, &names).ok());
        return names;
    }
    static void collect(void *context, const char *name)
    {
        static_cast<std::vector<std::string> *>(context)->emplace_back(name);
    }
};

TEST_F(XenstoreTest, ReadsAndWrites)
{
    EXPECT_TRUE(xs::write({}, "device/vbd/1", "state", "1").ok());
    EXPECT_EQ(store::read(sim::guest_home + "/device/vbd/1/state"), "1");
    store::write("/tool/x", "some text");
    const auto value = xs::read({}, "/tool", "x");
    ASSERT_TRUE(value.ok());
    EXPECT_STREQ(value.value().c_str(), "some text");
    EXPECT_EQ(value.value().length, 9u);
    EXPECT_EQ(xs::read({}, "/tool", "y").error(), xen::Error::no_entry);
    EXPECT_TRUE(xs::remove({}, "/tool", "x").ok());
    EXPECT_FALSE(store::read("/tool/x").has_value());
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(XenstoreTest, EmptyValue)
{
    EXPECT_TRUE(xs::write({}, "a", "b", "").ok());
    EXPECT_EQ(xs::read({}, "a", "b").value().length, 0u);
}

TEST_F(XenstoreTest, ValuesThatDoNotFit)
{
    store::write("/v", std::string(255, 'a'));
    EXPECT_EQ(xs::read({}, "/v", "").value().length, 255u);
    store::write("/v", std::string(256, 'a'));
    EXPECT_EQ(xs::read({}, "/v", "").error(), xen::Error::too_big);
    store::write("/v", std::string(4096, 'a')); // longer than the ring
    EXPECT_EQ(xs::read({}, "/v", "").error(), xen::Error::too_big);
    store::write("/v", std::string("a\0b", 3));
    EXPECT_EQ(xs::read({}, "/v", "").error(), xen::Error::invalid);
    store::write("/v", "fine");
    EXPECT_STREQ(xs::read({}, "/v", "").value().c_str(), "fine");
}

TEST_F(XenstoreTest, PathsThatDoNotFit)
{
    const std::string longest(255, 'p');
    EXPECT_EQ(xs::read({}, longest.c_str(), "").error(), xen::Error::no_entry);
    EXPECT_EQ(xs::read({}, longest.c_str(), "k").error(), xen::Error::too_big);
    EXPECT_EQ(xen::join_path("a/b", "c").value().length, 5u);
}

TEST_F(XenstoreTest, RequestsLongerThanTheRing)
{
    const std::string value(3000, 'v');
    EXPECT_TRUE(xs::write({}, "big", "", value.c_str()).ok());
    EXPECT_EQ(store::read(sim::guest_home + "/big"), value);
    EXPECT_EQ(xs::write({}, "big", "", std::string(4096, 'v').c_str()).error(),
              xen::Error::too_big);
}

TEST_F(XenstoreTest, ListsADirectory)
{
    store::write("/d/one", "");
    store::write("/d/two/below", "");
    EXPECT_EQ(list("/d"), (std::vector<std::string>{"one", "two"}));
    EXPECT_EQ(list("/d/one"), std::vector<std::string>{});
    EXPECT_EQ(xs::list({}, "/none", collect, nullptr).error(), xen::Error::no_entry);
    for (unsigned i = 100; i < 500; ++i)
        store::write("/many/" + std::to_string(i), "");
    EXPECT_EQ(list("/many").size(), 400u);
    EXPECT_EQ(sim::pages_in_use(), 0u);
    sim::fail_page_alloc(0);
    EXPECT_EQ(xs::list({}, "/d", collect, nullptr).error(), xen::Error::no_memory);
}

TEST_F(XenstoreTest, RequestsInsideOfAList)
{
    store::write("/d/one", "1");
    store::write("/d/two", "2");
    uint64_t sum = 0;
    EXPECT_TRUE(xs::list(
                    {}, "/d",
                    [](void *context, const char *name) {
                        *static_cast<uint64_t *>(context) +=
                            xs::read_number({}, "/d", name).value();
                    },
                    &sum)
                    .ok());
    EXPECT_EQ(sum, 3u);
}

TEST_F(XenstoreTest, Numbers)
{
    const struct {
        const char *text;
        xen::Error error;
        uint64_t value;
    } table[] = {
        {"0", xen::Error::none, 0},
        {"42", xen::Error::none, 42},
        {"18446744073709551615", xen::Error::none, UINT64_MAX},
        {"18446744073709551616", xen::Error::invalid, 0},
        {"99999999999999999999999", xen::Error::invalid, 0},
        {"", xen::Error::invalid, 0},
        {"-1", xen::Error::invalid, 0},
        {"+1", xen::Error::invalid, 0},
        {" 1", xen::Error::invalid, 0},
        {"1 ", xen::Error::invalid, 0},
        {"0x10", xen::Error::invalid, 0},
        {"1\n", xen::Error::invalid, 0},
        {"one", xen::Error::invalid, 0},
    };
    for (const auto &row : table) {
        store::write("/n", row.text);
        const auto number = xs::read_number({}, "/n", "");
        EXPECT_EQ(number.error(), row.error) << row.text;
        EXPECT_EQ(number.value(), row.value) << row.text;
    }
    EXPECT_TRUE(xs::write_number({}, "n", "", UINT64_MAX).ok());
    EXPECT_EQ(store::read(sim::guest_home + "/n"), "18446744073709551615");
}

TEST_F(XenstoreTest, Transactions)
{
    const auto t = xs::begin().take();
    EXPECT_TRUE(xs::write(t, "a", "", "1").ok());
    EXPECT_FALSE(store::read(sim::guest_home + "/a").has_value());
    EXPECT_STREQ(xs::read(t, "a", "").value().c_str(), "1");
    EXPECT_TRUE(xs::commit(t).ok());
    EXPECT_EQ(store::read(sim::guest_home + "/a"), "1");

    const auto dropped = xs::begin().take();
    EXPECT_TRUE(xs::write(dropped, "b", "", "1").ok());
    xs::abort(dropped);
    EXPECT_FALSE(store::read(sim::guest_home + "/b").has_value());

    const auto late = xs::begin().take();
    EXPECT_TRUE(xs::write(late, "b", "", "1").ok());
    store::write("/other", "");
    EXPECT_EQ(xs::commit(late).error(), xen::Error::again);
    EXPECT_EQ(xs::read(late, "b", "").error(), xen::Error::no_entry);
}

TEST_F(XenstoreTest, WatchesRunInRunOnceOnly)
{
    Recorder recorder("/w");
    ASSERT_TRUE(xs::watch(recorder.watch).ok());
    EXPECT_TRUE(recorder.seen.empty());
    sim::run();
    EXPECT_EQ(recorder.seen, std::vector<std::string>{"/w"});
    store::write("/w/below", "1");
    EXPECT_TRUE(xs::write({}, "unrelated", "", "").ok());
    EXPECT_EQ(recorder.seen.size(), 1u);
    sim::run();
    EXPECT_EQ(recorder.seen.back(), "/w/below");
    xs::unwatch(recorder.watch);
    EXPECT_EQ(store::guest_watches(), 0u);
    store::write("/w", "2");
    sim::run();
    EXPECT_EQ(recorder.seen.size(), 2u);
}

TEST_F(XenstoreTest, RelativeWatch)
{
    Recorder recorder("device");
    ASSERT_TRUE(xs::watch(recorder.watch).ok());
    sim::run();
    store::write(sim::guest_home + "/device/vbd/1", "");
    sim::run();
    EXPECT_EQ(recorder.seen, (std::vector<std::string>{"device", "device/vbd/1"}));
    xs::unwatch(recorder.watch);
}

TEST_F(XenstoreTest, OneCallIsPendingHoweverManyEvents)
{
    Recorder recorder("/w");
    ASSERT_TRUE(xs::watch(recorder.watch).ok());
    sim::run();
    for (unsigned i = 0; i < 10'000; ++i) {
        store::write("/w/" + std::to_string(i % 3), "x");
        if (i % 100 == 0) {
            EXPECT_TRUE(xs::read({}, "/w", "").ok());
        }
    }
    EXPECT_TRUE(xs::read({}, "/w", "").ok());
    recorder.seen.clear();
    xs::run_once();
    EXPECT_EQ(recorder.seen, std::vector<std::string>{"/w"}) << "several: the watch's own path";
    xs::unwatch(recorder.watch);
}

TEST_F(XenstoreTest, ALongPathBecomesTheWatchesOwn)
{
    Recorder recorder("/w");
    ASSERT_TRUE(xs::watch(recorder.watch).ok());
    sim::run();
    store::write("/w/" + std::string(1500, 'x'), "1");
    sim::run();
    EXPECT_EQ(recorder.seen.back(), "/w");
    xs::unwatch(recorder.watch);
}

TEST_F(XenstoreTest, ACallbackMayUseXenstoreAndOtherWatches)
{
    struct Both {
        Recorder other{"/other"};
        std::string value;
        xen::Watch watch;
    } both;
    ASSERT_TRUE(xs::watch(both.other.watch).ok());
    both.watch.path = xen::join_path("/w", "").take();
    both.watch.context = &both;
    both.watch.changed = [](void *context, const char *path) {
        auto &all = *static_cast<Both *>(context);
        const auto value = xs::read({}, path, "");
        if (!value.ok())
            return;
        all.value = value.value().c_str();
        xs::unwatch(all.other.watch);
    };
    ASSERT_TRUE(xs::watch(both.watch).ok());
    sim::run();
    store::write("/w", "news");
    sim::run();
    EXPECT_EQ(both.value, "news");
    EXPECT_EQ(store::guest_watches(), 1u);
    xs::unwatch(both.watch);
}

TEST_F(XenstoreTest, AWatchThatFiresItselfDoesNotStarveAnother)
{
    struct Selfish {
        xen::Watch watch;
        unsigned runs = 0;
    } selfish;
    Recorder quiet("/quiet");
    selfish.watch.path = xen::join_path("/selfish", "").take();
    selfish.watch.context = &selfish;
    selfish.watch.changed = [](void *context, const char *) {
        if (++static_cast<Selfish *>(context)->runs == 100)
            return;
        store::write("/selfish", "again");
        EXPECT_TRUE(xs::read({}, "/selfish", "").ok()); // the event has arrived with it
    };
    ASSERT_TRUE(xs::watch(quiet.watch).ok());
    ASSERT_TRUE(xs::watch(selfish.watch).ok());
    EXPECT_TRUE(sim::run_until([&] { return !quiet.seen.empty(); }, 100));
    EXPECT_LE(selfish.runs, 2u);
    sim::run();
    EXPECT_EQ(selfish.runs, 100u);
    xs::unwatch(quiet.watch);
    xs::unwatch(selfish.watch);
}

TEST_F(XenstoreTest, AFailedWatchLeavesNothing)
{
    Recorder recorder("/bad//path");
    EXPECT_EQ(xs::watch(recorder.watch).error(), xen::Error::invalid);
    sim::run();
    EXPECT_TRUE(recorder.seen.empty());
}

TEST_F(XenstoreTest, States)
{
    const struct {
        const char *text;
        xen::XenbusState state;
    } table[] = {
        {"1", xen::XenbusState::initialising},     {"4", xen::XenbusState::connected},
        {"8", xen::XenbusState::reconfigured},     {"9", xen::XenbusState::unknown},
        {"4294967300", xen::XenbusState::unknown}, {"-1", xen::XenbusState::unknown},
        {"", xen::XenbusState::unknown},           {"connected", xen::XenbusState::unknown},
    };
    EXPECT_EQ(xen::read_state("/b"), xen::XenbusState::unknown) << "missing";
    for (const auto &row : table) {
        store::write("/b/state", row.text);
        EXPECT_EQ(xen::read_state("/b"), row.state) << row.text;
    }
    EXPECT_TRUE(xen::write_state("device/x", xen::XenbusState::closing).ok());
    EXPECT_EQ(store::read(sim::guest_home + "/device/x/state"), "5");
}

TEST_F(XenstoreTest, StoppedClientRefuses)
{
    xs::stop();
    EXPECT_EQ(xs::read({}, "/a", "").error(), xen::Error::no_device);
    xs::stop();
}

// A kernel without an xenstored, or before there is one: no ring page to look at.
TEST(XenstoreUnstarted, RequestsFail)
{
    xs::client.ring = {}; // whatever ran before in this process
    EXPECT_EQ(xs::read({}, "/a", "").error(), xen::Error::no_device);
    xs::run_once();
}

} // namespace
