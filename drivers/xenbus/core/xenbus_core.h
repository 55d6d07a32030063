/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The contract between the core of the xenbus bus and the kernel around it: what the core does for
 * the kernel (xenbus_core_*), and what it wants done (xenbus_port_*). Beside <xen/port.h>.
 *
 * A device is memory of the kernel's, which the core fills in. The kernel runs xenbus_core_scan()
 * and each device's xenbus_core_step() on threads of its own, for all of them may sleep: the scan
 * never twice at once, nor a step of one device; they may run beside each other.
 */
#ifndef XENBUS_CORE_H
#define XENBUS_CORE_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct xenbus_core_device;

/* ---- services: each started once, before any device ---- */

/* Grants: negotiates the table's size with Xen and maps it. Returns 0 or a negative errno. */
int xenbus_core_start_grants(void);

/* Around a suspension of the domain, with interrupts off and no other CPU running: the table is not
 * mapped, and then mapped again. That of a restored domain is another one, and its event ports are
 * nobody's yet. 0 or a negative errno. */
void xenbus_core_suspend_shared(void);
int xenbus_core_resume_shared(bool restored);

/* Looks after grants that a peer held on to. May sleep. */
void xenbus_core_reclaim_grants(void);

/* The xenstore client, on its ring; then its thread calls xenbus_core_store_round() for ever. */
int xenbus_core_start_store(void *ring, uint32_t port);
void xenbus_core_store_round(void);

/* Around a suspension of the domain: nobody makes requests until one of the latter two is called,
 * which says whether the domain was restored. Sleep. 0 or a negative errno. */
int xenbus_core_suspend_store(void);
void xenbus_core_resume_store(void);
int xenbus_core_restore_store(void *ring, uint32_t port);

/* ---- the bus ---- */

/* Bytes of a device, to be aligned to 8. */
size_t xenbus_core_device_size(void);

/* Starts watching `device`; xenbus_port_kick_scan() follows. Returns 0 or a negative errno. */
int xenbus_core_start_bus(void);

/* Compares the directory with the devices that are known. Sleeps. */
void xenbus_core_scan(void);

/* Looks at one device's backend and does what that calls for. Sleeps. */
void xenbus_core_step(struct xenbus_core_device *device);

/* A driver was bound to the device; it will be told the backend's state. Called between
 * xenbus_port_lock() and xenbus_port_unlock(), or their equivalent. */
void xenbus_core_bound(struct xenbus_core_device *device);

/* Did the driver see its backend connected? */
int xenbus_core_is_ready(const struct xenbus_core_device *device);

/* The domain was restored: its devices have other backends. Neither a scan nor a step runs. Sleeps. */
void xenbus_core_restore_bus(void);

/* XenbusState of the directory `nodename`. Sleeps. */
unsigned xenbus_core_read_state(const char *nodename);

/* Zeroed memory for a device, or NULL; the core holds it until xenbus_port_release(). */
struct xenbus_core_device *xenbus_port_allocate(void);
void xenbus_port_release(struct xenbus_core_device *device);

/* Makes the device known to the kernel, which may bind a driver at once. The strings live as long as
 * the device. 0 or a negative errno. */
int xenbus_port_add(struct xenbus_core_device *device, const char *nodename, const char *type,
		    uint32_t id, const char *otherend, uint16_t otherend_id);

/* Unbinds the driver and hides the device; nothing is delivered afterwards. Sleeps. */
void xenbus_port_remove(struct xenbus_core_device *device);

/* Keep a driver from being bound or unbound. Sleep. */
void xenbus_port_lock(struct xenbus_core_device *device);
void xenbus_port_unlock(struct xenbus_core_device *device);

/* Tells the driver its backend's state, under the lock: each that differs from the one before, and
 * Connected whenever it was written again, or may have been. 0, or -ENODEV: there is no driver.
 * Sleeps. */
int xenbus_port_deliver(struct xenbus_core_device *device, unsigned state);

/* The device's backend is another one since the domain was restored: its driver has to connect anew,
 * and will be told the state. An empty directory: nobody knows yet which one; the driver leaves the
 * one that it had, waits, and will be told. From xenbus_core_restore_bus(), or later from a step,
 * with the device locked. Sleeps. */
void xenbus_port_restored(struct xenbus_core_device *device, const char *otherend,
			  uint16_t otherend_id);

/* Have xenbus_core_step(device), or xenbus_core_scan(), called soon; calls may be merged. */
void xenbus_port_kick(struct xenbus_core_device *device);
void xenbus_port_kick_scan(void);

/* The same after a second or so, for want of an answer now. */
void xenbus_port_kick_later(struct xenbus_core_device *device);
void xenbus_port_kick_scan_later(void);

/* The frames of the grant table, mapped side by side, or NULL. Sleeps. */
void *xenbus_port_map_frames(const uint64_t *frames, unsigned count);

/* Puts others in their place, or if `frames` is NULL nothing. Never sleeps. */
void xenbus_port_remap_frames(void *address, const uint64_t *frames, unsigned count);

/* ---- control/shutdown, control/sysrq ---- */

enum xenbus_command { XENBUS_NONE, XENBUS_POWEROFF, XENBUS_REBOOT, XENBUS_SUSPEND };

/* Says what this guest understands and starts watching; xenbus_port_kick_control() follows. */
int xenbus_core_start_control(void);

/* Says it again: the domain was restored. Sleeps. */
void xenbus_core_restore_control(void);

/* Takes what the toolstack asks for, and acknowledges it. *sysrq is 0 or a key. Sleeps. */
enum xenbus_command xenbus_core_take_command(char *sysrq);

/* Have xenbus_core_take_command() called soon, and the command carried out. */
void xenbus_port_kick_control(void);

/* ---- cpu/NUMBER/availability ---- */

/* Starts watching; xenbus_port_kick_vcpus() follows. Returns 0 or a negative errno. */
int xenbus_core_start_vcpus(void);

/* Is the vCPU to run? 1 or 0, or -1: nobody says. Sleeps. */
int xenbus_core_vcpu_wanted(unsigned vcpu);

/* Have xenbus_core_vcpu_wanted() called soon for each vCPU, and its word followed. */
void xenbus_port_kick_vcpus(void);

#ifdef __cplusplus
}
#endif

#endif
