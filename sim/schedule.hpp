// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fault schedules: what a peer does wrong and when, as data. One line of text names a schedule,
//     response@3:id=0xffffffff grant@2:hold state@4:vanish
// at the third response, another id; at the second grant, ...: TRIGGER@NUMBER:ACTION[=VALUE]. Which
// words there are is the vocabulary of a backend. Schedules are enumerated, run each in a process
// of its own, shrunk when they fail, and replayed from the environment variable SCHEDULE.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sim {

struct Fault {
    std::string trigger;
    unsigned at = 1;
    std::string action;
    std::optional<uint64_t> value;

    bool operator==(const Fault &) const = default;
};
using Schedule = std::vector<Fault>;

struct ActionRule {
    std::string name;
    std::vector<uint64_t> values; // that are tried; none: the action takes no value
};
struct TriggerRule {
    std::string name;
    std::vector<unsigned> numbers; // that are tried
    std::vector<ActionRule> actions;
};
using Vocabulary = std::vector<TriggerRule>;

std::string print(const Schedule &schedule);
// Nothing, and a line that says why, if the text is no schedule in these words.
std::optional<Schedule> parse(const std::string &text, const Vocabulary &words, std::string &error);

// All schedules of one fault, always in the same order.
std::vector<Schedule> singles(const Vocabulary &words);
// So many of two faults, spread evenly over all of them.
std::vector<Schedule> pairs(const Vocabulary &words, size_t count);

// A smallest schedule that still fails: without one more fault, or with a smaller number, it
// does not.
Schedule shrink(Schedule schedule, const std::function<bool(const Schedule &)> &fails);

// Runs the test under each schedule, in a process of its own with a time limit; gtest's assertions,
// a sanitizer or the simulator fail it there. The first failure is shrunk and reported with the
// line that replays it. With SCHEDULE set, that one alone is run, in this process.
void explore(const Vocabulary &words, const std::vector<Schedule> &schedules,
             const std::function<void(const Schedule &)> &test);

// A schedule while it is played. A backend reports its steps, and does what is due.
class Script {
public:
    using Act = std::function<void(const Fault &)>;
    explicit Script(Schedule schedule) : schedule_(std::move(schedule)) {}

    // Faults that did not happen (yet).
    size_t left() const { return schedule_.size(); }

    // The trigger happens once more.
    void happens(const std::string &trigger, const Act &act)
    {
        happens(trigger, ++counts_[trigger], act);
    }
    // The trigger happens with this number. Each fault is acted on once.
    void happens(const std::string &trigger, unsigned number, const Act &act)
    {
        Schedule due;
        std::erase_if(schedule_, [&](const Fault &fault) {
            if (fault.trigger != trigger || fault.at != number)
                return false;
            due.push_back(fault);
            return true;
        });
        for (const Fault &fault : due)
            act(fault);
    }

private:
    Schedule schedule_;
    std::map<std::string, unsigned> counts_;
};

} // namespace sim
