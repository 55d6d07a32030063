// SPDX-License-Identifier: MIT OR GPL-2.0-only
// One line of the script, as the words that a case is made of. Speaks no part of Xen's interface.
#pragma once

#include <cstddef>
#include <cstdint>

// "name=value" words and bare ones, in their order. The text is cut up in place.
class Words {
public:
    constexpr Words() = default;

    // Takes the words of text up to its NUL; more than fit are left out, and full() says so.
    void split(char *text);

    unsigned count() const { return count_; }
    bool full() const { return count_ == max; }
    const char *operator[](unsigned index) const { return words_[index]; }

    // What follows "name=" in the first word that begins so, or null.
    const char *value(const char *name) const;
    // Is there a bare word `name`?
    bool has(const char *name) const;
    // value() as a number, `otherwise` if there is none or it is not one.
    uint64_t number(const char *name, uint64_t otherwise) const;

private:
    static constexpr unsigned max = 24;
    const char *words_[max] = {};
    unsigned count_ = 0;
};

// What follows `prefix` in text, or null if text does not begin with it.
const char *after(const char *text, const char *prefix);

// Decimal, with 0x hexadecimal, with a leading "-" as its two's complement; false: no number.
bool parse_number(const char *text, uint64_t &value);
