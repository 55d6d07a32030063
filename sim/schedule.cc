// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Text, enumeration and shrinking of fault schedules.
#include "schedule.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <numeric>
#include <sstream>

namespace sim {

namespace {

std::string print(const Fault &fault)
{
    std::string text = fault.trigger + "@" + std::to_string(fault.at) + ":" + fault.action;
    if (fault.value) {
        char digits[24];
        std::snprintf(digits, sizeof(digits), "=0x%llx",
                      static_cast<unsigned long long>(*fault.value));
        text += digits;
    }
    return text;
}

// Decimal, or hexadecimal after 0x; the whole text.
std::optional<uint64_t> number(const std::string &text)
{
    const bool hex = text.starts_with("0x");
    const char *begin = text.data() + (hex ? 2 : 0);
    const char *end = text.data() + text.size();
    uint64_t value = 0;
    const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
    if (error != std::errc{} || stop != end)
        return {};
    return value;
}

template <class Rule>
const Rule *find(const std::vector<Rule> &rules, const std::string &name)
{
    const auto it = std::ranges::find(rules, name, &Rule::name);
    return it == rules.end() ? nullptr : &*it;
}

// Throws the reason.
Fault parse_fault(const std::string &word, const Vocabulary &words)
{
    const size_t at = word.find('@');
    const size_t colon = word.find(':', at);
    if (at == std::string::npos || colon == std::string::npos)
        throw std::string("it is not TRIGGER@NUMBER:ACTION[=VALUE]");
    Fault fault;
    fault.trigger = word.substr(0, at);
    const TriggerRule *trigger = find(words, fault.trigger);
    if (trigger == nullptr)
        throw "there is no trigger " + fault.trigger;
    const auto nth = number(word.substr(at + 1, colon - at - 1));
    if (!nth || *nth > UINT32_MAX)
        throw std::string("what follows @ is no number");
    fault.at = static_cast<unsigned>(*nth);
    const size_t equals = word.find('=', colon);
    fault.action =
        word.substr(colon + 1, equals == std::string::npos ? equals : equals - colon - 1);
    const ActionRule *action = find(trigger->actions, fault.action);
    if (action == nullptr)
        throw fault.trigger + " has no action " + fault.action;
    if ((equals != std::string::npos) != !action->values.empty())
        throw fault.action + (action->values.empty() ? " takes no value" : " needs a value");
    if (equals != std::string::npos) {
        fault.value = number(word.substr(equals + 1));
        if (!fault.value)
            throw std::string("what follows = is no number");
    }
    return fault;
}

// What shrink() tries instead of a number: from the boldest to the most careful.
std::vector<uint64_t> smaller(uint64_t number, uint64_t least)
{
    std::vector<uint64_t> tries;
    for (const uint64_t candidate : {least, number / 2, number - 1})
        if (candidate >= least && candidate < number)
            tries.push_back(candidate);
    return tries;
}

// All that are one step simpler.
std::vector<Schedule> simpler(const Schedule &schedule)
{
    std::vector<Schedule> all;
    for (size_t i = 0; i < schedule.size(); ++i) {
        all.push_back(schedule);
        all.back().erase(all.back().begin() + static_cast<long>(i));
    }
    for (size_t i = 0; i < schedule.size(); ++i) {
        for (const uint64_t at : smaller(schedule[i].at, 1)) {
            all.push_back(schedule);
            all.back()[i].at = static_cast<unsigned>(at);
        }
        if (!schedule[i].value)
            continue;
        for (const uint64_t value : smaller(*schedule[i].value, 0)) {
            all.push_back(schedule);
            all.back()[i].value = value;
        }
    }
    return all;
}

} // namespace

std::string print(const Schedule &schedule)
{
    std::string text;
    for (const Fault &fault : schedule)
        text += (text.empty() ? "" : " ") + print(fault);
    return text;
}

std::optional<Schedule> parse(const std::string &text, const Vocabulary &words, std::string &error)
{
    Schedule schedule;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
        try {
            schedule.push_back(parse_fault(word, words));
        } catch (const std::string &reason) {
            error = "schedule: \"" + word + "\": " + reason;
            return {};
        }
    }
    return schedule;
}

std::vector<Schedule> singles(const Vocabulary &words)
{
    std::vector<Schedule> all;
    for (const TriggerRule &trigger : words)
        for (const unsigned at : trigger.numbers)
            for (const ActionRule &action : trigger.actions) {
                if (action.values.empty())
                    all.push_back({{trigger.name, at, action.name, {}}});
                for (const uint64_t value : action.values)
                    all.push_back({{trigger.name, at, action.name, value}});
            }
    return all;
}

std::vector<Schedule> pairs(const Vocabulary &words, size_t count)
{
    const auto one = singles(words);
    const size_t all = one.size() * one.size();
    // A step without a common divisor: each fault comes first and second about equally often.
    size_t step = std::max<size_t>(all / std::max<size_t>(count, 1), 1);
    while (std::gcd(step, one.size()) != 1)
        ++step;
    std::vector<Schedule> some;
    for (size_t at = 1; at < all && some.size() < count; at += step)
        if (at / one.size() != at % one.size())
            some.push_back({one[at / one.size()][0], one[at % one.size()][0]});
    return some;
}

Schedule shrink(Schedule schedule, const std::function<bool(const Schedule &)> &fails)
{
    for (bool progress = true; progress;) {
        progress = false;
        for (Schedule &candidate : simpler(schedule)) {
            if (!fails(candidate))
                continue;
            schedule = std::move(candidate);
            progress = true;
            break;
        }
    }
    return schedule;
}

} // namespace sim
