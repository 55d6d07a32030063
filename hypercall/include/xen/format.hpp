// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Builds short lines of text (log lines, xenstore paths and values) in a fixed buffer. What does
// not fit is cut off, and overflowed() says so. Speaks no part of Xen's interface.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xen {

// Length of a string that is NUL-terminated within `limit` bytes, else `limit`.
size_t text_length(const char *text, size_t limit = 65536);
bool text_equal(const char *a, const char *b);

// Appends to a caller's buffer, which is NUL-terminated at all times.
class TextBuilder {
public:
    TextBuilder(char *buffer, size_t size) : buffer_(buffer), size_(size) { buffer_[0] = 0; }

    TextBuilder &text(const char *text) { return this->text(text, text_length(text)); }
    TextBuilder &text(const char *text, size_t length);
    // Text from a peer: everything that is not printable ASCII becomes '?'.
    TextBuilder &untrusted(const char *text, size_t length);
    TextBuilder &untrusted(const char *text) { return untrusted(text, text_length(text)); }
    TextBuilder &number(uint64_t value);
    TextBuilder &hex(uint64_t value); // with 0x

    const char *c_str() const { return buffer_; }
    size_t length() const { return length_; }
    bool overflowed() const { return overflowed_; }

private:
    void append(char c);

    char *buffer_;
    size_t size_;
    size_t length_ = 0;
    bool overflowed_ = false;
};

template <size_t Size>
class TextLine : public TextBuilder {
public:
    TextLine() : TextBuilder(storage_, Size) {}
    TextLine(const TextLine &) = delete;

private:
    char storage_[Size];
};

// One line of log: Line line; line.text("ring: id ").number(id); log_error(line);
using Line = TextLine<160>;
void log_error(const TextBuilder &line);
void log_warning(const TextBuilder &line);
void log_info(const TextBuilder &line);

} // namespace xen
