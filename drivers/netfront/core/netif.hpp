// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a network frontend and its backend put on their two rings (public/io/netif.h): packets go
// out as tx requests and come in as rx responses. Names and layouts only; the checks are elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xen::netif {

struct TxRequest {
    uint32_t grant;
    uint16_t offset; // of the packet in the granted page
    uint16_t flags;
    uint16_t id; // echoed in the response
    uint16_t size;
};
static_assert(sizeof(TxRequest) == 12);
static_assert(offsetof(TxRequest, offset) == 4);
static_assert(offsetof(TxRequest, flags) == 6);
static_assert(offsetof(TxRequest, id) == 8);
static_assert(offsetof(TxRequest, size) == 10);

struct TxResponse {
    uint16_t id;
    int16_t status;
};
static_assert(sizeof(TxResponse) == 4);
static_assert(offsetof(TxResponse, status) == 2);

struct RxRequest {
    uint16_t id; // echoed in the response
    uint16_t pad;
    uint32_t grant;
};
static_assert(sizeof(RxRequest) == 8);
static_assert(offsetof(RxRequest, grant) == 4);

struct RxResponse {
    uint16_t id;
    uint16_t offset; // of the data in the granted page
    uint16_t flags;
    int16_t status; // bytes received, or an error
};
static_assert(sizeof(RxResponse) == 8);
static_assert(offsetof(RxResponse, offset) == 2);
static_assert(offsetof(RxResponse, flags) == 4);
static_assert(offsetof(RxResponse, status) == 6);

// TxResponse::status, and the negative values of RxResponse::status
constexpr int16_t status_dropped = -2;
constexpr int16_t status_error = -1;
constexpr int16_t status_okay = 0;
constexpr int16_t status_null = 1; // answers an extra-info slot

// RxResponse::flags
constexpr uint16_t rx_data_validated = 1u << 0;
constexpr uint16_t rx_csum_blank = 1u << 1; // the packet's checksum was left to the hardware
constexpr uint16_t rx_more_data = 1u << 2;  // the packet goes on in the next slot
constexpr uint16_t rx_extra_info = 1u << 3; // the next slot describes the packet
constexpr uint16_t rx_gso_prefix = 1u << 4;

constexpr unsigned tx_ring_slots = 256;
constexpr unsigned rx_ring_slots = 256;
constexpr unsigned ethernet_header = 14;

} // namespace xen::netif
