// SPDX-License-Identifier: GPL-2.0-only
/*
 * The domain's console as hvc0, and as a boot console until hvc0 is there.
 */
#define pr_fmt(fmt) "xen: " fmt

#include <linux/console.h>
#include <linux/init.h>
#include <linux/printk.h>
#include <asm/xen/arch.h>
#include <hvc_console.h>
#include <xen/hvc-console.h>
#include <xen/port.h>
#include <xen/xen.h>
#include "../core/console_core.h"

/* ---- boot ---- */

static void early_write(struct console *unused, const char *text, unsigned int length)
{
	/* The terminal at the other end expects what a serial line would send. */
	while (length) {
		unsigned int line = strnchr(text, length, '\n') ? strchr(text, '\n') - text : length;

		console_core_write_all(text, line);
		if (line < length) {
			console_core_write_all("\r\n", 2);
			line++;
		}
		text += line;
		length -= line;
	}
}

/* In init memory, so that it goes away in the end whatever console= says. */
static struct console early __initdata = {
	.name = "xenearly",
	.write = early_write,
	.flags = CON_PRINTBUFFER | CON_BOOT | CON_ANYTIME,
	.index = -1,
};

/*
 * For early_printk(), and for earlyprintk=xen, which asks for what is there already: registering it
 * has no effect, because it is not the preferred console.
 */
struct console xenboot_console = {
	.name = "xenboot",
	.write = early_write,
	.index = -1,
};

/* Called by the architecture as soon as frames can be translated. */
void __init xen_console_early_init(void)
{
	u64 frame = xen_arch_console_frame();

	console_core_attach(frame ? xen_arch_frame_to_virt(frame) : NULL, xen_arch_console_port());
	early_console = &xenboot_console;
	register_console(&early);
	add_preferred_console("hvc", 0, NULL);
}

/* ---- hvc0 ---- */

static int get_chars(u32 vtermno, char *data, int size)
{
	return console_core_read(data, size);
}

/*
 * printk and the terminal come here alike. -EAGAIN makes printk call flush() and try again, 0 makes
 * it drop its text; the terminal keeps its own in both cases.
 */
static int put_chars(u32 vtermno, const char *data, int length)
{
	int written = console_core_write(data, length);

	return written ?: console_core_is_stalled() ? 0 : -EAGAIN;
}

static int flush(u32 vtermno, bool wait)
{
	if (!wait) /* printk; a terminal that waits is woken up by hvc */
		console_core_wait();
	return 0;
}

static int notifier_add(struct hvc_struct *hvc, int unused)
{
	hvc->irq_requested = 1; /* no polling for input */
	return 0;
}

static void notifier_del(struct hvc_struct *hvc, int unused)
{
	hvc->irq_requested = 0;
}

static const struct hv_ops console_ops = {
	.get_chars = get_chars,
	.put_chars = put_chars,
	.flush = flush,
	.notifier_add = notifier_add,
	.notifier_del = notifier_del,
	.notifier_hangup = notifier_del,
};

static void on_event(void *hvc)
{
	console_core_event_begins();
	if (hvc_poll(hvc))
		hvc_kick();
	console_core_event_ends();
}

static int __init start_console(void)
{
	return xen_domain() ? hvc_instantiate(0, 0, &console_ops) : 0;
}
console_initcall(start_console);

static struct hvc_struct *terminal;

static int __init start_terminal(void)
{
	if (!xen_domain())
		return 0;
	terminal = hvc_alloc(0, 0, &console_ops, 1024);
	if (IS_ERR(terminal))
		return PTR_ERR(terminal);
	if (!xen_arch_console_frame())
		return 0;
	return xen_port_event_bind(xen_arch_console_port(), on_event, terminal);
}
device_initcall(start_terminal);

/* The ring is where it was; its other end has a new port. */
void xen_console_restored(void)
{
	if (IS_ERR_OR_NULL(terminal) || !xen_arch_console_frame())
		return;
	console_core_attach(xen_arch_frame_to_virt(xen_arch_console_frame()),
			    xen_arch_console_port());
	if (xen_port_event_bind(xen_arch_console_port(), on_event, terminal))
		pr_err("no input from the console any more\n");
	hvc_kick();
}
