// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The console (public/io/console.h): more than a ring at once, which the reader must find whole.
#include "basics.hpp"
#include "guest.hpp"
#include "tap.hpp"

void console_long_line()
{
    constexpr unsigned length = 5000;
    static char line[length];
    for (unsigned i = 0; i < length; ++i)
        line[i] = static_cast<char>('a' + i % 26);
    guest::print("# long ", 7);
    guest::print(line, length);
    guest::print("\n", 1);
    NEED(guest::print_drain());
}
