// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The tests of this guest, by file.
#pragma once

// main.cc
void version();
void features();
void unknown_hypercall();
void four_arguments();
void memory();

// events.cc
void event_ipi();
void event_pair();
void event_masked();
void event_merged();
void event_closed();
void event_closed_by_handler();
void event_storm();
void time_advances();
void timer();

// grants.cc
void grant_ends();
void grant_mapped();
void grant_read_only();
void grant_quarantine();
void grant_pool();
void grant_copy();

// console.cc
void console_long_line();

// store.cc
void store_own_directory();
void store_keys();
void store_errors();
void store_list();
void store_ring_wraps();
void store_transaction();
void store_conflict();
void store_watch();
