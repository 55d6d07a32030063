// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Tests and their report, in TAP (testanything.org) on the console. A test is a title and a
// function; a guest's main.cc lists its own in `tests`, and the library runs them in that order.
#pragma once

#include <xen/types.hpp>

struct Test {
    const char *title; // null ends the list
    void (*run)();
};

extern const Test tests[];

// The tests to run: `tests`, unless a guest that makes its list when it runs defines this.
const Test *list_tests();

namespace tap {

// Marks the running test as failed: the first failure is the one reported.
void fail(const char *file, int line, const char *what, xen::Error error = xen::Error::none);

// Marks the running test as skipped.
void skip(const char *why);

// A line for the reader: "# text".
void comment(const char *text);

// Reports that no further test can run, and ends the domain as crashed.
[[noreturn]] void bail_out(const char *why);

// Runs all tests; true if none failed.
bool run_all();

} // namespace tap

// In a test: leaves it as failed unless `condition` holds.
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return tap::fail(__FILE__, __LINE__, #condition);                                      \
    } while (0)

// In a test: the value of a Result; leaves the test as failed if there is none.
#define NEED(expression)                                                                           \
    ({                                                                                             \
        auto need_result_ = (expression);                                                          \
        if (!need_result_.ok())                                                                    \
            return tap::fail(__FILE__, __LINE__, #expression, need_result_.error());               \
        need_result_.take();                                                                       \
    })

// In a test: leaves it as failed unless the Result of `expression` is exactly this error.
#define CHECK_ERROR(expression, expected)                                                          \
    do {                                                                                           \
        auto check_result_ = (expression).error();                                                 \
        if (check_result_ != (expected))                                                           \
            return tap::fail(__FILE__, __LINE__, #expression " == " #expected, check_result_);     \
    } while (0)

// In a test: leaves it as skipped.
#define SKIP(why) return tap::skip(why)
