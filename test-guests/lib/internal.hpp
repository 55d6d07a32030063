// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The steps of start of day, in the order in which start.cc takes them.
#pragma once

#include <xen/abi_pv.hpp>

namespace guest {

void memory_init(const xen::abi::StartInfo &info, uint64_t free_start);
void console_init();
void traps_init();
void events_init();
void grants_init();

} // namespace guest
