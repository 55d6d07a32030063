// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Names for the values of parameterised tests: what a value prints as (PrintTo or <<), in the
// letters that a test's name may have, so that a name says which case it is and stays what it is.
#pragma once

#include <cctype>
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

namespace sim {

struct PrintedName {
    template <class T>
    std::string operator()(const testing::TestParamInfo<T> &info) const
    {
        std::string name;
        for (const char c : testing::PrintToString(info.param)) {
            const auto byte = static_cast<unsigned char>(c);
            if (byte < 0x80 && std::isalnum(byte)) {
                name += c;
            } else if (c == ' ' || c == '-' || c == '=' || c == '_') {
                name += '_';
            } else {
                char code[4];
                (void)std::snprintf(code, sizeof(code), "x%02x", byte);
                name += code;
            }
        }
        return name;
    }
};

} // namespace sim
