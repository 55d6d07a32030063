// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The commands that every device understands. Each is answered by lines of which the last begins
// with "ok" or "error:".
#include "base/device.hpp"

namespace backends {

namespace {

constexpr double default_wait = 5;

double parse_seconds(const std::string &text)
{
    size_t used = 0;
    double value = -1;
    try {
        value = std::stod(text, &used);
    } catch (const std::exception &) {
    }
    if (used != text.size() || !(value >= 0))
        throw Failure("\"" + text + "\" is not a number of seconds");
    return value;
}

// A fault as the simulator's schedules name it: "response@3:id=7" is "at response 3 id=7".
Words as_order(const std::string &fault)
{
    const size_t at = fault.find('@'), colon = fault.find(':', at);
    if (colon == std::string::npos)
        throw Failure("STREAM@N:FIELD[=VALUE]...");
    return {"at", fault.substr(0, at), fault.substr(at + 1, colon - at - 1),
            fault.substr(colon + 1)};
}

} // namespace

const std::string &only_word(const Words &words, const char *usage)
{
    if (words.size() != 2)
        throw Failure(usage);
    return words[1];
}

bool parse_switch(const Words &words)
{
    const std::string &word = only_word(words, "say on or off");
    if (word != "on" && word != "off")
        throw Failure("say on or off");
    return word == "on";
}

const std::vector<Device::Command> Device::commands = {
    {"help", "help                    this list", &Device::do_help},
    {"show", "show                    both states, and what was counted", &Device::do_show},
    {"attach", "attach                  make the device, or go on with one left behind",
     &Device::do_attach},
    {"detach", "detach [SECONDS]        ask the frontend to close, and remove the device",
     &Device::do_detach},
    {"await", "await STATE [SECONDS]   until the frontend is in this state (4: connected)",
     &Device::do_await},
    {"sleep", "sleep SECONDS           nothing, while the device is served", &Device::do_sleep},
    {"reopen", "reopen                  begin again, as a restarted backend", &Device::do_reopen},
    {"honest", "honest                  forget all that was ordered; let go of what is held",
     &Device::do_honest},
    {"vanish", "vanish                  remove the backend's directory, now", &Device::do_vanish},
    {"unbind", "unbind                  close the event channel", &Device::do_unbind},
    {"quit", "quit                    end at once and clean nothing up", &Device::do_quit},
    {"state", "state VALUE             write VALUE as the backend's state", &Device::do_state},
    {"follow", "follow on|off           whether the frontend's states are answered",
     &Device::do_follow},
    {"keys", "keys KEY=VALUE... KEY-  write or remove keys of the backend, now and at attach",
     &Device::do_keys},
    {"silent", "silent on|off           answer nothing", &Device::do_silent},
    {"hold", "hold on|off             keep the guest's pages mapped after answering",
     &Device::do_hold},
    {"mutate", "mutate on|off           write over all answers all the time", &Device::do_mutate},
    {"storm", "storm SECONDS [RATE]    events, RATE a second or as many as possible",
     &Device::do_storm},
    {"flood", "flood N                 write the state N times", &Device::do_flood},
};

void Device::command(const std::string &line)
{
    try {
        const Words words = split(line);
        if (words.empty())
            return;
        const std::string answer = run(words);
        if (!wait_)
            answer_ = answer;
    } catch (const Failure &failure) {
        answer_ = "error: " + std::string(failure.what());
    }
}

std::string Device::run(const Words &words)
{
    for (const Command &command : commands)
        if (words[0] == command.name)
            return (this->*command.handler)(words);
    if (words[0].find('@') != std::string::npos) {
        for (const std::string &word : words)
            own_command(as_order(word));
        return "ok";
    }
    if (own_command(words))
        return "ok";
    throw Failure("unknown command \"" + words[0] + "\"; help lists them");
}

std::optional<std::string> Device::take_answer() { return std::exchange(answer_, {}); }

std::string Device::do_help(const Words &)
{
    std::string text;
    for (const Command &command : commands)
        text += std::string(command.help) + "\n";
    return text + own_help() + "ok";
}

std::string Device::do_show(const Words &)
{
    return "ok attached=" + std::to_string(attached_) + " backend=" + std::to_string(state_) +
           " frontend=" + std::to_string(frontend_) + " held=" + std::to_string(held_.size()) +
           " storm=" + std::to_string(storm_.has_value()) +
           " storm_sent=" + std::to_string(storm_sent_) + report();
}

std::string Device::do_attach(const Words &)
{
    attach();
    return "ok";
}

std::string Device::do_detach(const Words &words)
{
    return detach(words.size() > 1 ? parse_seconds(words[1]) : default_wait);
}

std::string Device::do_await(const Words &words)
{
    if (words.size() < 2)
        throw Failure("await STATE [SECONDS]");
    wait(static_cast<State>(parse_number(words[1])),
         words.size() > 2 ? parse_seconds(words[2]) : default_wait);
    return {};
}

std::string Device::do_sleep(const Words &words)
{
    wait(none, parse_seconds(only_word(words, "sleep SECONDS")));
    return {};
}

std::string Device::do_reopen(const Words &)
{
    if (!attached_)
        throw Failure("not attached");
    reopen();
    return "ok";
}

std::string Device::do_honest(const Words &)
{
    follow_ = true;
    silent_ = hold_ = mutate_ = false;
    storm_.reset();
    held_.clear();
    be_honest();
    return "ok";
}

std::string Device::do_vanish(const Words &)
{
    follow_ = false;
    store_.remove(back_);
    drop();
    return "ok";
}

std::string Device::do_unbind(const Words &)
{
    channel_.unbind();
    return "ok";
}

std::string Device::do_quit(const Words &)
{
    finished_ = true;
    return "ok";
}

std::string Device::do_state(const Words &words)
{
    store_.write(back_ + "/state", only_word(words, "state VALUE"));
    return "ok";
}

std::string Device::do_keys(const Words &words)
{
    for (size_t i = 1; i < words.size(); ++i) {
        const std::string &word = words[i];
        const size_t equals = word.find('=');
        if (equals != std::string::npos)
            back_keys_[word.substr(0, equals)] = word.substr(equals + 1);
        else if (word.ends_with('-'))
            back_keys_.erase(word.substr(0, word.size() - 1));
        else
            throw Failure("keys KEY=VALUE... KEY-");
        if (!attached_)
            continue;
        if (equals != std::string::npos)
            store_.write(back_ + "/" + word.substr(0, equals), word.substr(equals + 1));
        else
            store_.remove(back_ + "/" + word.substr(0, word.size() - 1));
    }
    return "ok";
}

std::string Device::do_follow(const Words &words)
{
    follow_ = parse_switch(words);
    return "ok";
}

std::string Device::do_silent(const Words &words)
{
    silent_ = parse_switch(words);
    return "ok";
}

std::string Device::do_hold(const Words &words)
{
    hold_ = parse_switch(words);
    if (!hold_)
        held_.clear();
    return "ok";
}

std::string Device::do_mutate(const Words &words)
{
    mutate_ = parse_switch(words);
    return "ok";
}

std::string Device::do_storm(const Words &words)
{
    if (words.size() < 2)
        throw Failure("storm SECONDS [RATE]");
    const auto now = Clock::now();
    const std::chrono::duration<double> length(parse_seconds(words[1]));
    storm_ = Storm{now, now + std::chrono::duration_cast<Clock::duration>(length),
                   words.size() > 2 ? parse_seconds(words[2]) : 0, 0};
    return "ok";
}

std::string Device::do_flood(const Words &words)
{
    const int64_t count = parse_number(only_word(words, "flood N"));
    for (int64_t i = 0; i < count; ++i)
        set_state(state_);
    return "ok";
}

} // namespace backends
