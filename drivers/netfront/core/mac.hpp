// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The MAC address as the toolstack writes it into a vif's directory (public/io/netif.h, "mac").
#pragma once

#include <cstddef>
#include <cstdint>

namespace xen::netif {

struct MacAddress {
    uint8_t bytes[6]{};
};

// Parses exactly "xx:xx:xx:xx:xx:xx", the address of one station. False: it is anything else.
bool parse_mac(const char *text, size_t length, MacAddress &mac);

} // namespace xen::netif
