// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Text in fixed buffers, and the log lines made of it. Speaks no part of Xen's interface.
#include <xen/format.hpp>
#include <xen/port.h>

namespace xen {

size_t text_length(const char *text, size_t limit)
{
    size_t length = 0;
    while (length < limit && text[length] != 0)
        ++length;
    return length;
}

bool text_equal(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        ++a;
        ++b;
    }
    return *a == *b;
}

void TextBuilder::append(char c)
{
    if (length_ + 1 >= size_) {
        overflowed_ = true;
        return;
    }
    buffer_[length_++] = c;
    buffer_[length_] = 0;
}

TextBuilder &TextBuilder::text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; ++i)
        append(text[i]);
    return *this;
}

TextBuilder &TextBuilder::untrusted(const char *text, size_t length)
{
    for (size_t i = 0; i < length; ++i)
        append(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    return *this;
}

TextBuilder &TextBuilder::number(uint64_t value)
{
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0)
        append(digits[--count]);
    return *this;
}

TextBuilder &TextBuilder::hex(uint64_t value)
{
    text("0x");
    unsigned shift = 60;
    while (shift > 0 && (value >> shift) == 0)
        shift -= 4;
    for (;; shift -= 4) {
        append("0123456789abcdef"[(value >> shift) & 15]);
        if (shift == 0)
            return *this;
    }
}

void log_error(const TextBuilder &line) { xen_port_log(XEN_PORT_ERROR, line.c_str()); }
void log_warning(const TextBuilder &line) { xen_port_log(XEN_PORT_WARNING, line.c_str()); }
void log_info(const TextBuilder &line) { xen_port_log(XEN_PORT_INFO, line.c_str()); }

} // namespace xen
