// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a peer can read through the grants in force, and what it was told that it may.
#include <bitset>
#include <map>
#include <sstream>

#include <xen/types.hpp>

#include "internal.hpp"
#include "sim.hpp"

namespace sim {

namespace {

using Bytes = std::bitset<xen::page_size>;

std::map<const void *, Bytes> declared; // by the guest's page

} // namespace

namespace internal {

void forget_declared(const void *page) { declared.erase(page); }

void boot_leak() { declared.clear(); }

} // namespace internal

void declare(uint32_t reference, unsigned offset, unsigned length)
{
    for (const auto &[granted, page] : internal::granted_pages()) {
        if (granted != reference || page == nullptr)
            continue;
        Bytes &bytes = declared[page];
        for (unsigned at = offset; at < offset + length && at < bytes.size(); ++at)
            bytes.set(at);
    }
}

std::string leaked()
{
    for (const auto &[reference, page] : internal::granted_pages()) {
        if (page == nullptr)
            continue;
        const auto it = declared.find(page);
        for (unsigned at = 0; at < xen::page_size; ++at) {
            const unsigned value = internal::peek(page + at);
            if (value == 0 || (it != declared.end() && it->second.test(at)))
                continue;
            std::ostringstream text;
            text << "grant " << reference << " shows offset " << at << ", 0x" << std::hex << value;
            return text.str();
        }
    }
    return {};
}

} // namespace sim
