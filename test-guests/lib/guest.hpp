// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the library offers a test guest beyond hypercall/: what it was started with, address space
// to map foreign frames at, and waiting for events. One vCPU, one thread.
#pragma once

#include <xen/abi.hpp>
#include <xen/abi_pv.hpp>
#include <xen/types.hpp>

namespace guest {

const xen::abi::StartInfo &start_info();
xen::abi::SharedInfo &shared_info();

// Is this the first domain, alone with Xen: no dom0, no xenstore, no console ring?
bool first_domain();

// This domain's number. Xen does not take DOMID_SELF everywhere.
xen::DomId own_domid();

// The ramdisk that the domain was given; nothing if there is none.
struct Module {
    char *text;
    size_t length;
};
Module module();

// ---- memory ----

// One page of address space whose own memory may be replaced with a mapping; null: no more left.
void *window();

// Maps a machine frame, ours or one of Xen's, read-write at a page of window().
xen::Status map_frame(void *address, uint64_t mfn);

// Xen's answer to which of our frames, counted from 0, a machine frame is.
uint64_t machine_to_phys(uint64_t mfn);

// Where a machine frame of ours, ring pages from start info included, is mapped.
void *frame_to_virt(uint64_t mfn);

// What the grant table says of a reference, for tests that break its rules.
xen::abi::GrantEntryV1 &grant_entry(xen::GrantRef ref);

// ---- events ----

// Runs event handlers until `counter`, which a handler increments, reaches `count`.
// timed_out: it did not within `ms`.
xen::Status wait_for(const uint32_t &counter, uint32_t count, uint32_t ms);

// Runs event handlers until `counter` is no longer `seen`, or `ms` have passed.
void wait_change(const uint32_t &counter, uint32_t seen, uint32_t ms);

// With events masked: sleeps in Xen until a bound port has an event, or until `deadline`
// (xen_port_now's time).
void wait_for_event(uint64_t deadline);

// ---- console ----

// Writes to the console: to the ring, or as the first domain to Xen's own console.
void print(const char *text, size_t length);

// Waits until the console daemon has read everything.
xen::Status print_drain();

// Ends the domain. Does not return.
[[noreturn]] void exit(xen::abi::ShutdownReason reason);

} // namespace guest
