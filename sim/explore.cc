// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Runs tests under fault schedules, each in a process of its own.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include "internal.hpp"
#include "schedule.hpp"

namespace sim {

namespace {

constexpr unsigned limit_seconds = 5;

using Test = std::function<void(const Schedule &)>;

// What the test printed if it failed, also by a crash; nothing if it passed.
std::optional<std::string> failure(const Schedule &schedule, const Test &test)
{
    int ends[2];
    if (pipe(ends) != 0)
        internal::fatal("no pipe");
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0)
        internal::fatal("no process");
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(limit_seconds);
        test(schedule);
        std::fflush(nullptr);
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    close(ends[1]);
    std::string output;
    char part[4096];
    for (ssize_t count; (count = read(ends[0], part, sizeof(part))) > 0;)
        output.append(part, static_cast<size_t>(count));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return {};
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        output += "it takes longer than " + std::to_string(limit_seconds) + " s\n";
    return output;
}

std::string replay_line(const Schedule &schedule)
{
    const auto *info = testing::UnitTest::GetInstance()->current_test_info();
    return "SCHEDULE='" + print(schedule) + "' " +
           std::filesystem::read_symlink("/proc/self/exe").string() +
           " --gtest_filter=" + info->test_suite_name() + "." + info->name();
}

} // namespace

void explore(const Vocabulary &words, const std::vector<Schedule> &schedules, const Test &test)
{
    if (const char *text = std::getenv("SCHEDULE")) {
        std::string error;
        const auto schedule = parse(text, words, error);
        if (!schedule)
            FAIL() << error;
        return test(*schedule);
    }
    for (const Schedule &schedule : schedules) {
        if (!failure(schedule, test))
            continue;
        const Schedule least =
            shrink(schedule, [&](const Schedule &some) { return failure(some, test).has_value(); });
        FAIL() << print(schedule) << " fails, and so does the shrunk one:\n"
               << failure(least, test).value_or("(not always)\n") << "replay it with\n  "
               << replay_line(least);
    }
}

} // namespace sim
