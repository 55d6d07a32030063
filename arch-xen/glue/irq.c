// SPDX-License-Identifier: GPL-2.0-only
/* Event channels as an irq_chip, the upcall, and the event part of the cores' contract (xen/port.h). */
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/slab.h>
#include <asm/hw_irq.h>
#include <asm/idtentry.h>
#include <asm/irq_regs.h>
#include <asm/irq_stack.h>
#include <asm/x86_init.h>
#include <xen/port.h>

#include "core.h"

#define FIRST_IRQ 16

static u32 port_of(struct irq_data *data)
{
	return (unsigned long)irq_data_get_irq_chip_data(data);
}

static void chip_ack(struct irq_data *data)
{
	xen_event_ack(port_of(data));
}

static void chip_mask(struct irq_data *data)
{
	xen_event_mask(port_of(data));
}

/* What a device's peer sends comes once, until xen_port_event_done(). */
static void chip_mask_ack(struct irq_data *data)
{
	chip_mask(data);
	chip_ack(data);
}

static void chip_unmask(struct irq_data *data)
{
	xen_event_unmask(port_of(data));
}

/* A device's ports take turns with the vCPUs that they may have. */
static int chip_set_affinity(struct irq_data *data, const struct cpumask *allowed, bool force)
{
	unsigned int cpu = cpumask_any_and_distribute(allowed, cpu_online_mask);
	int err = cpu < nr_cpu_ids ? xen_port_move(port_of(data), cpu) : -EINVAL;

	if (!err)
		irq_data_update_effective_affinity(data, cpumask_of(cpu));
	return err;
}

static struct irq_chip event_chip = {
	.name = "xen-event",
	.irq_ack = chip_ack,
	.irq_mask = chip_mask,
	.irq_unmask = chip_unmask,
	.flags = IRQCHIP_SKIP_SET_WAKE,
};

static struct irq_chip device_chip = {
	.name = "xen-device",
	.irq_set_affinity = chip_set_affinity,
	.irq_ack = chip_mask_ack,
	.irq_mask = chip_mask,
	.irq_unmask = chip_unmask,
	.flags = IRQCHIP_SKIP_SET_WAKE,
};

/* The line ERR of /proc/interrupts. */
void glue_stray_event(void)
{
	atomic_inc(&irq_err_count);
}

void glue_handle_irq(unsigned int irq)
{
	generic_handle_irq(irq);
}

DEFINE_IDTENTRY_SYSVEC(xen_pv_evtchn_do_upcall)
{
	struct pt_regs *outer = set_irq_regs(regs);

	xen_dispatch_events();
	set_irq_regs(outer);
}

/* The irq of a port that is delivered to `cpu`; 0: none left. */
static unsigned int port_to_irq(u32 port, unsigned int cpu, irq_flow_handler_t flow,
				struct irq_chip *chip)
{
	int irq = xen_port_room(port) ?: irq_alloc_desc_from(FIRST_IRQ, -1);

	if (irq < 0)
		return 0;
	irq_set_chip_and_handler_name(irq, chip, flow, "event");
	irq_set_chip_data(irq, (void *)(unsigned long)port);
	xen_port_assign(port, irq, cpu);
	return irq;
}

static void forget_port(u32 port, unsigned int irq)
{
	xen_event_mask(port);
	xen_port_assign(port, 0, 0);
	irq_free_desc(irq);
}

static int percpu_irq(int port, unsigned int cpu, irqreturn_t (*handler)(int, void *),
		      const char *name)
{
	unsigned int irq;
	int err = -ENOSPC;

	if (port < 0)
		return port;
	irq = port_to_irq(port, cpu, handle_percpu_irq, &event_chip);
	if (irq)
		err = request_irq(irq, handler, IRQF_PERCPU | IRQF_NOBALANCING | IRQF_TIMER, name, NULL);
	if (!err)
		return irq;
	if (irq)
		forget_port(port, irq);
	xen_close_port(port);
	return err;
}

/* The irq, or a negative errno. May sleep. */
int xen_virq_to_irq(unsigned int virq, unsigned int cpu, irqreturn_t (*handler)(int, void *),
		    const char *name)
{
	return percpu_irq(xen_bind_virq(virq, cpu), cpu, handler, name);
}

int xen_ipi_to_irq(unsigned int cpu, irqreturn_t (*handler)(int, void *), const char *name)
{
	return percpu_irq(xen_bind_ipi(cpu), cpu, handler, name);
}

/* ---- xen/port.h ---- */

struct binding {
	u32 port; /* 0: lost */
	unsigned int irq;
	struct binding *next; /* lost */
	void (*handler)(void *context);
	void *context;
	struct hrtimer unmask; /* of a port that is slowed down */
};

static irqreturn_t event_interrupt(int irq, void *data)
{
	struct binding *binding = data;

	binding->handler(binding->context);
	return IRQ_HANDLED;
}

static enum hrtimer_restart unmask_late(struct hrtimer *timer)
{
	xen_event_unmask(container_of(timer, struct binding, unmask)->port);
	return HRTIMER_NORESTART;
}

int xen_port_event_bind(uint32_t port, void (*handler)(void *context), void *context)
{
	struct binding *binding = kzalloc(sizeof(*binding), GFP_KERNEL);
	unsigned int irq;
	int err = -ENOMEM;

	if (!binding)
		return err;
	binding->port = port;
	binding->handler = handler;
	binding->context = context;
	hrtimer_init(&binding->unmask, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	binding->unmask.function = unmask_late;
	irq = port_to_irq(port, 0, handle_edge_irq, &device_chip);
	if (irq) {
		binding->irq = irq;
		irq_set_handler_data(irq, binding);
		irq_set_status_flags(irq, IRQ_MOVE_PCNTXT);
		err = request_irq(irq, event_interrupt, 0, "xen-event", binding);
		if (!err)
			return 0;
		forget_port(port, irq);
	}
	kfree(binding);
	return err;
}

void xen_port_event_done(uint32_t port, uint64_t delay_ns)
{
	unsigned int irq = xen_port_irq(port);
	struct binding *binding = irq ? irq_get_handler_data(irq) : NULL;

	if (!binding)
		return;
	if (delay_ns)
		hrtimer_start(&binding->unmask, ns_to_ktime(delay_ns), HRTIMER_MODE_REL);
	else
		xen_event_unmask(port);
}

static void unbind(struct binding *binding)
{
	free_irq(binding->irq, binding); /* waits for the handler, which may start the timer */
	hrtimer_cancel(&binding->unmask);
	forget_port(binding->port, binding->irq);
	kfree(binding);
}

void xen_port_event_unbind(uint32_t port)
{
	unsigned int irq = xen_port_irq(port);
	struct binding *binding = irq ? irq_get_handler_data(irq) : NULL;

	if (binding)
		unbind(binding);
}

/* ---- after a restore ---- */

static struct binding *lost;

/* No port is anybody's any more. Port 0, which never is, stands for those of before. */
void xen_irq_restored(void)
{
	u32 port;

	for (port = 1; port < xen_port_end(); port++) {
		unsigned int irq = xen_port_irq(port);
		struct binding *binding = irq ? irq_get_handler_data(irq) : NULL;

		if (!binding)
			continue;
		irq_set_chip_data(irq, NULL);
		binding->port = 0;
		binding->next = lost;
		lost = binding;
	}
	xen_events_restored();
}

void xen_irq_free_lost(void)
{
	while (lost) {
		struct binding *binding = lost;

		lost = binding->next;
		unbind(binding);
	}
}

/* A vCPU's own irq stays, and gets another port. */
void xen_irq_rebind(unsigned int irq, int port, unsigned int cpu)
{
	if (port < 0 || xen_port_room(port))
		panic("Xen: no event port for irq %u: %d", irq, port);
	irq_set_chip_data(irq, (void *)(unsigned long)port);
	xen_port_assign(port, irq, cpu);
	xen_event_unmask(port);
}

void __init xen_irq_init(void)
{
	x86_init.irqs.intr_init = xen_events_start;
	x86_init.irqs.intr_mode_select = x86_init_noop;
	x86_init.irqs.intr_mode_init = x86_init_noop;
	x86_init.irqs.pre_vector_init = x86_init_noop;
}
