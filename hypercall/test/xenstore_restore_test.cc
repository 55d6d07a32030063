// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The xenstore client around a suspension of its domain.
#include <string>
#include <vector>

#include <sim/sim.hpp>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include "recorder.hpp"
#include "xenstore_client.hpp"

namespace {

namespace xs = xen::xenstore;
namespace store = sim::store;

class Restore : public sim::MachineTest {
protected:
    void SetUp() override
    {
        MachineTest::SetUp();
        store::write("/a", "1");
        ASSERT_TRUE(xs::watch(watch_.watch).ok());
        sim::run();
        ASSERT_EQ(watch_.seen.size(), 1u);
    }
    void TearDown() override
    {
        xs::unwatch(watch_.watch);
        MachineTest::TearDown();
    }
    static bool works() { return xs::read({}, "/a", "").ok(); }

    Recorder watch_{"/a"};
};

// The kernel's own come first, when the other host allows fewer.
TEST_F(Restore, OldestWatchesAreRegisteredFirst)
{
    Recorder later("/b"), last("/c");
    ASSERT_TRUE(xs::watch(later.watch).ok() && xs::watch(last.watch).ok());
    sim::restore();
    unsigned watches = 0;
    store::refuse([&](xs::Message request, const std::string &) {
        return request == xs::Message::watch && ++watches > 2 ? "EQUOTA" : nullptr;
    });
    sim::run();
    store::refuse({});
    const size_t fired[] = {watch_.seen.size(), later.seen.size(), last.seen.size()};
    for (const char *path : {"/a", "/b", "/c"})
        store::write(path, "2");
    sim::run();
    EXPECT_EQ(watch_.seen.size(), fired[0] + 1);
    EXPECT_EQ(later.seen.size(), fired[1] + 1);
    EXPECT_EQ(last.seen.size(), fired[2]);
    EXPECT_EQ(sim::complaints().size(), 1u); // lost
    xs::unwatch(later.watch);
    xs::unwatch(last.watch);
}

TEST_F(Restore, WatchesAreRegisteredAgainAndFire)
{
    sim::restore();
    EXPECT_EQ(store::guest_watches(), 0u);
    sim::run();
    EXPECT_EQ(store::guest_watches(), 1u);
    EXPECT_EQ(watch_.seen.size(), 2u);
    store::write("/a", "2");
    sim::run();
    EXPECT_EQ(watch_.seen.size(), 3u);
    EXPECT_TRUE(works());
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, AgainAndAgain)
{
    for (unsigned round = 0; round < 20; ++round) {
        sim::restore();
        ASSERT_TRUE(works());
        sim::run();
        ASSERT_EQ(watch_.seen.size(), round + 2);
        ASSERT_EQ(store::guest_watches(), 1u);
    }
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, CancelledChangesNothing)
{
    const unsigned requests = store::requests();
    ASSERT_TRUE(xs::suspend().ok());
    xs::resume();
    sim::run();
    EXPECT_EQ(store::requests(), requests);
    EXPECT_EQ(watch_.seen.size(), 1u);
    EXPECT_TRUE(works());
}

// What of a message had arrived is of no use: the rest of it never comes.
TEST_F(Restore, HalfAMessageIsForgotten)
{
    const std::vector<uint8_t> half{15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, '/'};
    store::send_raw(half);
    sim::run();
    sim::restore();
    EXPECT_TRUE(works());
    sim::run();
    EXPECT_EQ(watch_.seen.size(), 2u);
    EXPECT_TRUE(sim::complaints().empty());
}

// A request that was given up may be in the ring, and only the next xenstored answers it.
TEST_F(Restore, LateRepliesMayStillCome)
{
    store::answer(false);
    EXPECT_EQ(xs::read({}, "/a", "").error(), xen::Error::timed_out);
    sim::restore();
    store::answer(true);
    EXPECT_TRUE(works());
    EXPECT_TRUE(sim::complaints().empty());
}

// The next xenstored could not make sense of the rest of it.
TEST_F(Restore, HalfARequestIsSentFirst)
{
    const std::string value(3000, 'v');
    store::answer(false);
    EXPECT_EQ(xs::write({}, "/b", "", value.c_str()).error(), xen::Error::timed_out);
    ASSERT_EQ(xs::suspend().error(), xen::Error::busy);
    store::answer(true);
    sim::restore();
    EXPECT_TRUE(store::read("/b") == value);
    EXPECT_TRUE(works());
    EXPECT_TRUE(sim::complaints().empty());
}

TEST_F(Restore, TransactionsEndFirst)
{
    const auto transaction = xs::begin();
    ASSERT_TRUE(transaction.ok());
    EXPECT_EQ(xs::suspend().error(), xen::Error::busy);
    EXPECT_TRUE(xs::write(transaction.value(), "/b", "", "1").ok()) << "not kept out";
    // Another thread ends it meanwhile.
    sim::before_request([&] {
        sim::before_request({});
        EXPECT_TRUE(xs::commit(transaction.value()).ok());
    });
    EXPECT_TRUE(xs::suspend().ok());
    xs::resume();
    EXPECT_EQ(store::read("/b"), "1");
}

// Each begin() has one end, whatever xenstored says to either.
TEST_F(Restore, FailedTransactionsDoNotKeepItWaiting)
{
    store::fail_commits(1);
    const auto collided = xs::begin();
    ASSERT_TRUE(collided.ok());
    EXPECT_EQ(xs::commit(collided.value()).error(), xen::Error::again);
    const auto lost = xs::begin();
    ASSERT_TRUE(lost.ok());
    store::answer(false);
    xs::abort(lost.value());
    EXPECT_FALSE(xs::begin().ok());
    EXPECT_TRUE(xs::suspend().ok());
    xs::resume();
    store::answer(true);
}

// Starting over waits for whichever xenstored takes the wish up.
TEST_F(Restore, WhileStartingOver)
{
    store::answer(false);
    EXPECT_EQ(xs::read({}, "/a", "").error(), xen::Error::timed_out);
    store::send_raw(std::vector<uint8_t>(16, 0xff));
    store::answer(true);
    sim::step(); // the violation is there, and not seen
    store::answer(false);
    xs::run_once();
    sim::restore();
    store::answer(true);
    EXPECT_TRUE(works());
    sim::run();
    EXPECT_EQ(store::guest_watches(), 1u);
    EXPECT_EQ(sim::complaints().size(), 1u);
}

// A stream that xenstored broke is whole again.
TEST_F(Restore, HealsABrokenStream)
{
    store::support_reconnect(false);
    store::send_raw(std::vector<uint8_t>(16, 0xff));
    sim::run();
    EXPECT_FALSE(works());
    sim::restore();
    EXPECT_TRUE(works());
    sim::run();
    EXPECT_EQ(watch_.seen.size(), 2u);
}

} // namespace
