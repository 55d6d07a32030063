// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The MAC address parser, alone.
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <netfront/core/mac.hpp>

namespace {

bool parses(const char *text, size_t length, xen::netif::MacAddress &mac)
{
    // Exactly as many bytes as there are, so that the sanitizer sees any read beyond.
    std::vector<char> bytes(text, text + length);
    return xen::netif::parse_mac(bytes.data(), length, mac);
}

TEST(Mac, Parses)
{
    xen::netif::MacAddress mac;
    ASSERT_TRUE(parses("00:16:3e:Af:09:fF", 17, mac));
    const uint8_t want[] = {0x00, 0x16, 0x3e, 0xaf, 0x09, 0xff};
    EXPECT_EQ(std::memcmp(mac.bytes, want, 6), 0);
}

TEST(Mac, RefusesAnythingElse)
{
    const char *const bad[] = {
        "",
        "00:16:3e:01:02",
        "00:16:3e:01:02:0",
        "00:16:3e:01:02:033",
        "00:16:3e:01:02:03 ",
        " 00:16:3e:01:02:03",
        "00:16:3e:01:02:0g",
        "00:16:3e:01:02:+3",
        "0x:16:3e:01:02:03",
        "00-16-3e-01-02-03",
        "00:16:3e:01:02-03",
        "00163e010203xxxxx",
        "00:16:3e:01:2:003",
        "00:00:00:00:00:00",
        "01:16:3e:01:02:03",
        "ff:ff:ff:ff:ff:ff",
    };
    for (const char *text : bad) {
        xen::netif::MacAddress mac{{9, 9, 9, 9, 9, 9}};
        EXPECT_FALSE(parses(text, std::strlen(text), mac)) << text;
        EXPECT_EQ(mac.bytes[5], 9) << text;
    }
    xen::netif::MacAddress mac;
    EXPECT_FALSE(parses("00:16:3e:01:02:0\0", 17, mac));
    EXPECT_FALSE(parses("00:16:3e:01:02:03\0", 18, mac));
}

} // namespace
