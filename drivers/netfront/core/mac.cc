// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Parses a vif's MAC address (public/io/netif.h, "mac").
#include "mac.hpp"

namespace xen::netif {

namespace {

// The value of a hexadecimal digit, or -1.
int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

} // namespace

bool parse_mac(const char *text, size_t length, MacAddress &mac)
{
    if (length != 17)
        return false;
    MacAddress parsed;
    unsigned sum = 0;
    for (size_t i = 0; i < 6; i++) {
        int high = hex_digit(text[3 * i]);
        int low = hex_digit(text[3 * i + 1]);
        if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
            return false;
        parsed.bytes[i] = static_cast<uint8_t>(high << 4 | low);
        sum += parsed.bytes[i];
    }
    // An interface has the address of one station: neither a group's (lowest bit) nor zero.
    if (sum == 0 || (parsed.bytes[0] & 1))
        return false;
    mac = parsed;
    return true;
}

} // namespace xen::netif
