// SPDX-License-Identifier: GPL-2.0-only
/* Event channels as an irq_chip, the upcall, and the event part of the cores' contract (xen/port.h). */
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
#define MAX_PORTS 4096 /* of the 2-level scheme */

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

static void chip_unmask(struct irq_data *data)
{
	xen_event_unmask(port_of(data));
}

static struct irq_chip event_chip = {
	.name = "xen-event",
	.irq_ack = chip_ack,
	.irq_mask = chip_mask,
	.irq_unmask = chip_unmask,
	.flags = IRQCHIP_SKIP_SET_WAKE,
};

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
static unsigned int port_to_irq(u32 port, unsigned int cpu, irq_flow_handler_t flow)
{
	int irq = port < MAX_PORTS ? irq_alloc_desc_from(FIRST_IRQ, -1) : -ERANGE;

	if (irq < 0)
		return 0;
	irq_set_chip_and_handler_name(irq, &event_chip, flow, "event");
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
	irq = port_to_irq(port, cpu, handle_percpu_irq);
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
	struct list_head list;
	u32 port;
	unsigned int irq;
	void (*handler)(void *context);
	void *context;
};

static LIST_HEAD(bindings);
static DEFINE_MUTEX(bindings_lock);

static irqreturn_t event_interrupt(int irq, void *data)
{
	struct binding *binding = data;

	binding->handler(binding->context);
	return IRQ_HANDLED;
}

int xen_port_event_bind(uint32_t port, void (*handler)(void *context), void *context)
{
	struct binding *binding = kzalloc(sizeof(*binding), GFP_KERNEL);
	int err = -ENOMEM;

	if (!binding)
		return err;
	binding->port = port;
	binding->handler = handler;
	binding->context = context;
	binding->irq = port_to_irq(port, 0, handle_edge_irq);
	if (binding->irq)
		err = request_irq(binding->irq, event_interrupt, 0, "xen-event", binding);
	if (err) {
		if (binding->irq)
			forget_port(port, binding->irq);
		kfree(binding);
		return err;
	}
	mutex_lock(&bindings_lock);
	list_add(&binding->list, &bindings);
	mutex_unlock(&bindings_lock);
	return 0;
}

void xen_port_event_unbind(uint32_t port)
{
	struct binding *binding, *next;

	mutex_lock(&bindings_lock);
	list_for_each_entry_safe(binding, next, &bindings, list) {
		if (binding->port != port)
			continue;
		list_del(&binding->list);
		free_irq(binding->irq, binding);
		forget_port(port, binding->irq);
		kfree(binding);
	}
	mutex_unlock(&bindings_lock);
}

static void __init intr_init(void)
{
	xen_mask_all_events();
}

void __init xen_irq_init(void)
{
	x86_init.irqs.intr_init = intr_init;
	x86_init.irqs.intr_mode_select = x86_init_noop;
	x86_init.irqs.intr_mode_init = x86_init_noop;
	x86_init.irqs.pre_vector_init = x86_init_noop;
}
