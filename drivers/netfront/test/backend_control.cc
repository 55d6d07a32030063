// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated network backend's control ring (public/io/netif.h): the hash as Linux's netback has
// it, and the static grants that it does not have.
#include <algorithm>

#include <sim/access.hpp>

#include "backend.hpp"

namespace netfront_test {

namespace netif = xen::netif;
using netif::ControlRequest;
using netif::ControlResponse;

namespace {

constexpr uint32_t key_max = 40;
constexpr uint32_t mapping_max = 128;

uint32_t number(const char *key)
{
    const std::string text = sim::store::read(front_path + key).value_or("");
    return static_cast<uint32_t>(std::strtoul(text.c_str(), nullptr, 10));
}

} // namespace

bool ControlBackend::connect()
{
    page_ = peer_.map(number("/ctrl-ring-ref"));
    port_ = peer_.bind(number("/event-channel-ctrl"), [this] { serve(); });
    if (page_ == nullptr || port_ == 0)
        return false;
    sim::guard(page_);
    sim::declare(number("/ctrl-ring-ref"), 0, 4096);
    ring = Ring(page_, 4096);
    // The hash stays what it was, as xen-netback's does.
    static_grants.clear();
    requests.clear();
    return true;
}

void ControlBackend::disconnect()
{
    if (port_ != 0)
        peer_.close(port_);
    if (page_ != nullptr)
        peer_.unmap(page_);
    page_ = nullptr;
    port_ = 0;
}

bool ControlBackend::read_list(const ControlRequest &request, size_t entry, void *to)
{
    const bool second = request.type == netif::control_add_gref_mapping;
    const uint32_t reference = request.data[second ? 1 : 0];
    const uint32_t count = request.data[second ? 2 : 1];
    if (count == 0) // an empty list needs no page
        return true;
    sim::declare(reference, 0, static_cast<unsigned>(count * entry));
    return peer_.read(reference, 0, to, static_cast<unsigned>(count * entry));
}

ControlResponse ControlBackend::answer(const ControlRequest &request)
{
    ControlResponse response{request.id, request.type, netif::control_success, 0};
    const uint32_t *data = request.data;
    bool good = true;
    switch (unsupported.contains(request.type) ? 0 : request.type) {
    case netif::control_set_hash_algorithm:
        good = data[0] <= netif::hash_algorithm_toeplitz;
        algorithm = data[0];
        break;
    case netif::control_get_hash_flags:
        good = algorithm != 0;
        response.data = netif::hash_types_known;
        break;
    case netif::control_set_hash_flags:
        good = algorithm != 0 && (data[0] & ~netif::hash_types_known) == 0;
        types = data[0];
        break;
    case netif::control_set_hash_key:
        good = data[1] <= key_max;
        key.resize(good ? data[1] : 0);
        good = good && read_list(request, 1, key.data());
        break;
    case netif::control_get_hash_mapping_size:
        response.data = mapping_max;
        break;
    case netif::control_set_hash_mapping_size:
        good = data[0] <= mapping_max;
        mapping.assign(good ? data[0] : 0, 0);
        break;
    case netif::control_set_hash_mapping:
        good =
            data[1] + data[2] <= mapping.size() && read_list(request, 4, mapping.data() + data[2]);
        break;
    case netif::control_get_gref_mapping_size:
        response.data = static_grants_max;
        break;
    case netif::control_add_gref_mapping: {
        auto &list = static_grants[data[0]];
        good = data[2] <= static_grants_max;
        list.resize(good ? data[2] : 0);
        good = good && read_list(request, sizeof(netif::StaticGrant), list.data());
        break;
    }
    default:
        response.status = netif::control_not_supported;
    }
    if (!good)
        response.status = netif::control_invalid_parameter;
    return response;
}

void ControlBackend::serve()
{
    if (!connected() || !serving)
        return;
    do {
        ControlRequest request;
        while (ring.get(request)) {
            requests.push_back(request);
            ControlResponse response = answer(request);
            for (unsigned times = tamper ? tamper(response) : 1; times > 0; times--)
                respond(response);
        }
    } while (ring.final_check());
}

void ControlBackend::respond(const ControlResponse &response)
{
    ring.put(response);
    if (ring.push())
        notify();
}

} // namespace netfront_test
