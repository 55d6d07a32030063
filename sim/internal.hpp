// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What the simulator's parts need of each other. Nothing here is for tests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sim::internal {

[[noreturn]] void fatal(const std::string &reason);
void must_be_able_to_sleep(const char *function);
void note_activity(); // something happened: run() goes on

// ---- machine ----
bool interrupts_on();
void enter_handler();
void leave_handler();

// ---- memory ----
void boot_memory(unsigned grant_frames);
void settle_memory();   // what is allocated by now does not count as the test's
void shutdown_memory(); // or another domain's: nothing is granted
long grant_hypercall(unsigned command, void *argument, unsigned count);

// Ends the test if the guest's bytes are in its memory, but not in one page that it has.
void check_access(const volatile void *address, size_t size);

uint8_t *granted_page(uint32_t reference); // null: it is not in force, or names no page

// References in force, and the guest's page of each (null: it has no such page).
std::vector<std::pair<uint32_t, uint8_t *>> granted_pages();
void boot_leak();
void forget_declared(const void *page);

// ---- access ----
void boot_access();
void poison(void *page, size_t pages); // the sanitizer reports whoever touches them
void unpoison(void *page);
uint64_t peek(const uint8_t *address); // eight bytes, also in a guarded page

// ---- events ----
void boot_events();
long event_hypercall(unsigned command, void *argument);
uint32_t open_store_port();
void raise_store();
void raise_guest(uint32_t port);
bool take_store_event();
void deliver_events();
bool step_events();

// ---- xenstore ----
struct Change {
    std::string path;
};
struct TreeWatch {
    std::string path;
    bool relative; // the guest named it relative to its home
    std::string token;
};
void boot_store();
bool step_store(); // the toolstack's and the peers' watches
// Guest requests: return the reply's payload, or throw the error's name.
struct StoreError {
    const char *name;
};
std::vector<uint8_t> guest_request(uint32_t type, uint32_t transaction,
                                   const std::vector<uint8_t> &payload);
void forget_guest(); // its watches and transactions

void boot_ring();
void restore_ring(); // another xenstored, which finds the ring as it is
bool step_ring();
void queue_guest_event(const std::string &path, const std::string &token);

} // namespace sim::internal
