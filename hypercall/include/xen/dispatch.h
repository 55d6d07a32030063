/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Events from Xen to a kernel that numbers its interrupts and runs on several vCPUs: event channels
 * of both kinds (public/event_channel.h: FIFO where Xen has them, else 2-level), and the
 * inter-processor interrupts, which are one port for each vCPU with the reasons in a word beside it.
 * A kernel with a simpler idea of events does without.
 */
#ifndef XEN_DISPATCH_H
#define XEN_DISPATCH_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { XEN_MAX_PORTS = 1 << 17, XEN_MAX_VCPUS = 512 };

/* Where shared info is mapped. Before all else, and when it has moved. */
void xen_events_in(void *shared_info);

/* Masks all events and agrees with Xen upon their kind. Once, before there is an interrupt, with
 * pages to be had. */
void xen_events_start(void);

/* Event channels will be 2-level ones, whatever Xen has. Before xen_events_start(). */
void xen_events_two_level(void);

/* The domain was restored: no port is anybody's, and all are masked. On one vCPU while the others
 * stand still with their events off. */
void xen_events_restored(void);

/* The upcall, with events off on this vCPU. */
void xen_dispatch_events(void);

/* Makes room for a port, which everything below that names one needs. 0 or a negative errno. May
 * sleep, but not where the domain is restored and has no more ports than it had. */
int xen_port_room(uint32_t port);

/* The port's interrupt, 0 for none, and the vCPU that Xen tells. */
void xen_port_assign(uint32_t port, uint32_t irq, uint32_t cpu);
uint32_t xen_port_irq(uint32_t port);

/* No port from here on has had room, or has an interrupt. */
uint32_t xen_port_end(void);

/* Lets another vCPU have the port, while nobody masks it; somebody may unmask it. 0 or a negative errno. */
int xen_port_move(uint32_t port, uint32_t cpu);

void xen_event_ack(uint32_t port);
void xen_event_mask(uint32_t port);
void xen_event_unmask(uint32_t port);

/* A port for a vCPU, or a negative errno. May sleep for a vCPU's first one. */
int xen_bind_virq(unsigned int virq, unsigned int cpu);
int xen_bind_ipi(unsigned int cpu);
void xen_close_port(uint32_t port);

void xen_send_ipi(unsigned int cpu, uint32_t reason);
uint32_t xen_take_ipi_reasons(unsigned int cpu);

/* ---- the kernel: these, and the pages, the log and the exclusion of xen/port.h ---- */

/* This vCPU's number, and where Xen keeps its struct vcpu_info. Events are off. */
unsigned int glue_cpu(void);
void *glue_vcpu_info(void);

void glue_handle_irq(unsigned int irq);

/* An event that nobody listens to, which is masked, or a FIFO queue that goes on nowhere. */
void glue_stray_event(void);

#ifdef __cplusplus
}
#endif

#endif
