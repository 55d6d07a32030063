// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fault schedules as text, their enumeration, and shrinking.
#include <algorithm>
#include <set>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <sim/schedule.hpp>

namespace {

using sim::Schedule;

const sim::Vocabulary words = {
    {"response", {1, 2, 3}, {{"id", {0, 32, UINT64_MAX}}, {"skip", {}}}},
    {"state", {4}, {{"vanish", {}}}},
};

TEST(ScheduleText, ParsesWhatItPrints)
{
    for (const auto &schedules : {sim::singles(words), sim::pairs(words, 50)}) {
        for (const Schedule &schedule : schedules) {
            std::string error;
            EXPECT_EQ(sim::parse(sim::print(schedule), words, error), schedule) << error;
        }
    }
    std::string error;
    EXPECT_EQ(sim::print(*sim::parse(" response@3:id=32  state@4:vanish", words, error)),
              "response@3:id=0x20 state@4:vanish");
    EXPECT_EQ(sim::parse("", words, error), Schedule{});
}

TEST(ScheduleText, SaysWhatIsWrong)
{
    const std::pair<const char *, const char *> bad[] = {
        {"response", "it is not TRIGGER@NUMBER:ACTION[=VALUE]"},
        {"answer@1:skip", "there is no trigger answer"},
        {"response@one:skip", "what follows @ is no number"},
        {"response@:skip", "what follows @ is no number"},
        {"response@1:vanish", "response has no action vanish"},
        {"response@1:id", "id needs a value"},
        {"response@1:skip=1", "skip takes no value"},
        {"response@1:id=0x", "what follows = is no number"},
        {"response@1:id=12x", "what follows = is no number"},
    };
    for (const auto &[text, reason] : bad) {
        std::string error;
        EXPECT_FALSE(sim::parse(std::string("state@4:vanish ") + text, words, error));
        EXPECT_EQ(error, std::string("schedule: \"") + text + "\": " + reason);
    }
}

TEST(ScheduleText, EnumeratesAllOnce)
{
    const auto one = sim::singles(words);
    EXPECT_EQ(one.size(), 3 * 4 + 1u);
    auto two = sim::pairs(words, 1000);
    EXPECT_EQ(two.size(), 13 * 12u);
    EXPECT_EQ(two, sim::pairs(words, 1000));
    std::ranges::sort(two, {}, [](const Schedule &s) { return sim::print(s); });
    EXPECT_EQ(std::ranges::adjacent_find(two), two.end());
    EXPECT_EQ(sim::pairs(words, 20).size(), 20u);
}

// Also where the step that the count suggests has a divisor in common with the number of faults:
// 12 faults, 12 * 12 / 16 = 9.
TEST(ScheduleText, SpreadsPairsOverAllSecondFaults)
{
    const sim::Vocabulary twelve = {{"t", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {{"a", {}}}}};
    std::set<unsigned> second;
    for (const Schedule &schedule : sim::pairs(twelve, 16))
        second.insert(schedule[1].at);
    EXPECT_GE(second.size(), 10u);
}

TEST(ScheduleShrink, FindsTheLeast)
{
    std::string error;
    const auto start = sim::parse("state@4:vanish response@3:skip response@9:id=0xffffffff "
                                  "response@8:id=3",
                                  words, error);
    // Fails if any response from the fifth on has an id of at least 32.
    const auto least = sim::shrink(*start, [](const Schedule &schedule) {
        return std::ranges::any_of(
            schedule, [](const sim::Fault &f) { return f.at >= 5 && f.value && *f.value >= 32; });
    });
    EXPECT_EQ(sim::print(least), "response@5:id=0x20");
}

// A test that fails under some schedule, also by a crash, is reported with the line that replays
// it.
TEST(ScheduleExplore, ReportsTheShrunkFailure)
{
    EXPECT_FATAL_FAILURE(sim::explore(words, sim::pairs(words, 1000),
                                      [](const Schedule &schedule) {
                                          for (const auto &fault : schedule)
                                              if (fault.action == "vanish")
                                                  abort();
                                      }),
                         "SCHEDULE='state@1:vanish' ");
    sim::explore(words, sim::singles(words), [](const Schedule &) {});
}

} // namespace
