// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a network frontend and its backend put on their rings (public/io/netif.h): packets go out as
// tx requests and come in as rx responses; the control ring says how. Names and layouts only; the
// checks are elsewhere.
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

// TxRequest::flags
constexpr uint16_t tx_csum_blank = 1u << 0; // the packet's checksum is left to the backend
constexpr uint16_t tx_data_validated = 1u << 1;
constexpr uint16_t tx_more_data = 1u << 2;  // the packet goes on in the next slot
constexpr uint16_t tx_extra_info = 1u << 3; // the next slot describes the packet

// RxResponse::flags
constexpr uint16_t rx_data_validated = 1u << 0;
constexpr uint16_t rx_csum_blank = 1u << 1;
constexpr uint16_t rx_more_data = 1u << 2;
constexpr uint16_t rx_extra_info = 1u << 3;
constexpr uint16_t rx_gso_prefix = 1u << 4;

// Takes the place of a TxRequest or RxResponse. The rest of a TxRequest is padding.
struct ExtraInfo {
    uint8_t type;
    uint8_t flags;
    union {
        struct {
            uint16_t size;
            uint8_t type;
            uint8_t pad;
            uint16_t features;
        } gso;
        uint8_t mac[6];
        struct {
            uint8_t type;
            uint8_t algorithm;
            uint8_t value[4];
        } hash;
    };
};
static_assert(sizeof(ExtraInfo) == 8);
static_assert(offsetof(ExtraInfo, gso.type) == 4);
static_assert(offsetof(ExtraInfo, hash.value) == 4);

// ExtraInfo::type
constexpr uint8_t extra_gso = 1;
constexpr uint8_t extra_multicast_add = 2;
constexpr uint8_t extra_multicast_delete = 3;
constexpr uint8_t extra_hash = 4;
constexpr uint8_t extra_xdp = 5;

// ExtraInfo::flags
constexpr uint8_t extra_more = 1u << 0; // the next slot has one, too

// ExtraInfo::gso.type
constexpr uint8_t gso_tcp_ipv4 = 1;
constexpr uint8_t gso_tcp_ipv6 = 2;

constexpr unsigned tx_ring_slots = 256;
constexpr unsigned rx_ring_slots = 256;
constexpr unsigned ethernet_header = 14;

// ---- the control ring ----

struct ControlRequest {
    uint16_t id; // echoed in the response, as is the type
    uint16_t type;
    uint32_t data[3];
};
static_assert(sizeof(ControlRequest) == 16);

struct ControlResponse {
    uint16_t id;
    uint16_t type;
    uint32_t status; // 0: done
    uint32_t data;
};
static_assert(sizeof(ControlResponse) == 12);

// ControlRequest::type
constexpr uint16_t control_get_hash_flags = 1;
constexpr uint16_t control_set_hash_flags = 2;
constexpr uint16_t control_set_hash_key = 3;
constexpr uint16_t control_get_hash_mapping_size = 4;
constexpr uint16_t control_set_hash_mapping_size = 5;
constexpr uint16_t control_set_hash_mapping = 6;
constexpr uint16_t control_set_hash_algorithm = 7;
constexpr uint16_t control_get_gref_mapping_size = 8;
constexpr uint16_t control_add_gref_mapping = 9;

constexpr uint32_t control_success = 0;
constexpr uint32_t control_not_supported = 1;
constexpr uint32_t control_invalid_parameter = 2;
constexpr uint32_t hash_algorithm_none = 0;
constexpr uint32_t hash_algorithm_toeplitz = 1;
constexpr uint32_t hash_types_known = 0xf;

// An entry of the list for control_add_gref_mapping.
struct StaticGrant {
    uint32_t grant;
    uint16_t flags;
    uint16_t status;
};
static_assert(sizeof(StaticGrant) == 8);
constexpr uint16_t static_grant_readonly = 1u << 0;

} // namespace xen::netif
