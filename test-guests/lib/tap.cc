// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The TAP report: the plan, a line for each test, comments, and "Bail out!".
#include <xen/format.hpp>

#include "guest.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

enum class Outcome { passed, failed, skipped };

constinit Outcome outcome;
constinit unsigned number;
constinit const Test *running;
constinit char detail[240];

void print(const TextBuilder &line)
{
    guest::print(line.c_str(), line.length());
    guest::print("\n", 1);
}

void report()
{
    TextLine<400> line;
    line.text(outcome == Outcome::failed ? "not ok " : "ok ").number(number);
    line.text(" - ").text(running->title);
    if (outcome == Outcome::failed)
        line.text(" # ").text(detail);
    if (outcome == Outcome::skipped)
        line.text(" # SKIP ").text(detail);
    print(line);
}

} // namespace

[[gnu::weak]] const Test *list_tests() { return tests; }

void tap::fail(const char *file, int line, const char *what, Error error)
{
    if (outcome == Outcome::failed)
        return;
    outcome = Outcome::failed;
    TextBuilder text(detail, sizeof detail);
    text.text(file).text(":").number(static_cast<unsigned>(line)).text(": ").text(what);
    if (error != Error::none)
        text.text(": error ").number(static_cast<unsigned>(error));
}

void tap::skip(const char *why)
{
    outcome = Outcome::skipped;
    TextBuilder(detail, sizeof detail).text(why);
}

void tap::comment(const char *text)
{
    TextLine<400> line;
    line.text("# ").text(text);
    print(line);
}

void tap::bail_out(const char *why)
{
    if (running) {
        outcome = Outcome::failed;
        TextBuilder(detail, sizeof detail).text(why);
        report();
    }
    TextLine<400> line;
    line.text("Bail out! ").text(why);
    print(line);
    guest::exit(abi::shutdown_crash);
}

bool tap::run_all()
{
    unsigned total = 0, failed = 0;
    const Test *tests = list_tests();
    while (tests[total].title)
        ++total;
    TextLine<40> plan;
    plan.text("1..").number(total);
    print(plan);
    for (number = 1; number <= total; ++number) {
        running = &tests[number - 1];
        outcome = Outcome::passed;
        running->run();
        report();
        failed += outcome == Outcome::failed;
    }
    running = nullptr;
    TextLine<80> end;
    end.text("# failed: ").number(failed).text(" of ").number(total);
    print(end);
    return failed == 0;
}
