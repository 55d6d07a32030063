// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a peer can read through the grants in force, and what it was told that it may.
#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include <xen/types.hpp>

#include "internal.hpp"
#include "sim.hpp"

namespace sim {

namespace {

using Bytes = std::array<bool, xen::page_size>;

std::map<const void *, Bytes> declared; // by the guest's page

} // namespace

namespace internal {

void forget_declared(const void *page) { declared.erase(page); }

void boot_leak() { declared.clear(); }

} // namespace internal

void declare(uint32_t reference, unsigned offset, unsigned length)
{
    const uint8_t *page = internal::granted_page(reference);
    if (page == nullptr)
        return;
    Bytes &bytes = declared[page];
    offset = std::min<unsigned>(offset, bytes.size());
    std::fill_n(bytes.begin() + offset, std::min<size_t>(length, bytes.size() - offset), true);
}

std::string leaked()
{
    for (const auto &[reference, page] : internal::granted_pages()) {
        if (page == nullptr)
            continue;
        const auto it = declared.find(page);
        for (unsigned at = 0; at < xen::page_size; at += 8) {
            uint64_t word = internal::peek(page + at);
            for (unsigned byte = at; word != 0; ++byte, word >>= 8) {
                if ((word & 0xff) == 0 || (it != declared.end() && it->second[byte]))
                    continue;
                std::ostringstream text;
                text << "grant " << reference << " shows offset " << byte << ", 0x" << std::hex
                     << (word & 0xff);
                return text.str();
            }
        }
    }
    return {};
}

} // namespace sim
