/* SPDX-License-Identifier: GPL-2.0-only */
/* For earlyprintk=xen. */
extern struct console xenboot_console;
