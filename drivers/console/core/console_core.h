/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The domain's one console, for a kernel's glue: a ring that a console daemon serves, or, in a domain
 * that Xen itself booted, Xen's own console (CONSOLEIO_write; output only). No call sleeps.
 */
#ifndef CONSOLE_CORE_H
#define CONSOLE_CORE_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The ring's page and port; NULL: there is none. Before all else. */
void console_core_attach(void *ring, uint32_t port);

/* Takes as much as fits, returns how much. */
size_t console_core_write(const char *data, size_t length);

/* Takes all of it, waiting for the daemon for a bounded time, then drops the rest. */
void console_core_write_all(const char *data, size_t length);

/* Waits, for a bounded time, until something fits. */
void console_core_wait(void);

/* Such a wait was in vain, and the daemon has not moved since. */
int console_core_is_stalled(void);

size_t console_core_read(char *data, size_t size);

/* Around what the handler of the port's events does. */
void console_core_event_begins(void);
void console_core_event_ends(void);

#ifdef __cplusplus
}
#endif

#endif
