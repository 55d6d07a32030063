// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The words of a script's line. Speaks no part of Xen's interface.
#include "words.hpp"

#include <xen/format.hpp>

void Words::split(char *text)
{
    count_ = 0;
    while (*text && count_ < max) {
        while (*text == ' ')
            *text++ = 0;
        if (!*text)
            return;
        words_[count_++] = text;
        while (*text && *text != ' ')
            ++text;
    }
}

const char *after(const char *text, const char *prefix)
{
    while (*prefix) {
        if (*text++ != *prefix++)
            return nullptr;
    }
    return text;
}

const char *Words::value(const char *name) const
{
    for (unsigned i = 0; i < count_; ++i) {
        const char *rest = after(words_[i], name);
        if (rest && *rest == '=')
            return rest + 1;
    }
    return nullptr;
}

bool Words::has(const char *name) const
{
    for (unsigned i = 0; i < count_; ++i) {
        if (xen::text_equal(words_[i], name))
            return true;
    }
    return false;
}

uint64_t Words::number(const char *name, uint64_t otherwise) const
{
    const char *text = value(name);
    uint64_t result;
    return text && parse_number(text, result) ? result : otherwise;
}

bool parse_number(const char *text, uint64_t &value)
{
    bool negative = *text == '-';
    text += negative;
    const char *hex = after(text, "0x");
    unsigned base = hex ? 16 : 10;
    if (hex)
        text = hex;
    value = 0;
    if (!*text)
        return false;
    for (; *text; ++text) {
        unsigned digit = *text >= 'a' ? *text - 'a' + 10u : *text - '0' + 0u;
        if (digit >= base)
            return false;
        value = value * base + digit;
    }
    if (negative)
        value = -value;
    return true;
}
