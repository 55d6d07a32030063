/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What a kernel asks of Xen for one of its vCPUs (public/vcpu.h, sched.h): whether it runs, its timer,
 * its time, and waiting. No call sleeps but xen_block(), which stops the vCPU.
 */
#ifndef XEN_VCPU_H
#define XEN_VCPU_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* From now on Xen writes this vCPU's pending and mask bytes, cr2 and time there. */
int xen_register_vcpu_info(unsigned int cpu, uint64_t frame, unsigned int offset);

/* 0 or 1, or a negative errno if the domain has no such vCPU. */
int xen_vcpu_is_up(unsigned int cpu);
int xen_vcpu_up(unsigned int cpu);
int xen_vcpu_down(unsigned int cpu);
int xen_vcpu_nmi(unsigned int cpu);

void xen_timer_stop(unsigned int cpu);

/* An event on the timer's port at this system time; one in the past comes at once. */
int xen_timer_set(unsigned int cpu, uint64_t system_time);

/* Nanoseconds for which the vCPU could have run while another had its processor. Never less than
 * before, whichever host the domain is restored on. By one caller at a time for each vCPU. */
uint64_t xen_steal_time(unsigned int cpu);

/* Stops this vCPU until an event; Xen unmasks events with it. */
void xen_block(void);
void xen_yield(void);

#ifdef __cplusplus
}
#endif

#endif
