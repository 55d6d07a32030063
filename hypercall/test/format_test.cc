// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Text in fixed buffers: numbers, cutting off, and what a peer's text may contain.
#include <cstring>

#include <gtest/gtest.h>

#include <xen/format.hpp>
#include <xen/types.hpp>

namespace {

TEST(Format, Numbers)
{
    xen::Line line;
    line.number(0).text(" ").number(UINT64_MAX).text(" ").hex(0).text(" ").hex(0xdeadbeef0);
    EXPECT_STREQ(line.c_str(), "0 18446744073709551615 0x0 0xdeadbeef0");
    EXPECT_FALSE(line.overflowed());
}

TEST(Format, CutsOff)
{
    xen::TextLine<6> line;
    line.text("12345");
    EXPECT_FALSE(line.overflowed());
    line.text("6").number(7);
    EXPECT_TRUE(line.overflowed());
    EXPECT_STREQ(line.c_str(), "12345");
    EXPECT_EQ(line.length(), 5u);
}

TEST(Format, UntrustedTextIsPrintable)
{
    xen::Line line;
    line.untrusted("a\n\x1b[31m\xff~", 8);
    EXPECT_STREQ(line.c_str(), "a??[31m?");
}

TEST(Format, LengthStopsAtTheLimit)
{
    const char text[] = {'a', 'b', 'c'};
    EXPECT_EQ(xen::text_length(text, 3), 3u);
    EXPECT_EQ(xen::text_length("ab", 8), 2u);
    EXPECT_TRUE(xen::text_equal("ab", "ab"));
    EXPECT_FALSE(xen::text_equal("ab", "abc"));
    EXPECT_FALSE(xen::text_equal("", "a"));
}

TEST(Types, HypercallResults)
{
    EXPECT_EQ(xen::decode_hypercall(-22).error(), xen::Error::invalid);
    EXPECT_EQ(xen::decode_hypercall(-9999).error(), static_cast<xen::Error>(9999));
    EXPECT_EQ(xen::decode_hypercall(0).value(), 0u);
    EXPECT_EQ(xen::decode_hypercall(5).value(), 5u);
}

} // namespace
