// SPDX-License-Identifier: GPL-2.0-only
/* From Xen's entry to start_kernel(), the platform's hooks, and the end of the domain. */
#include <linux/kernel.h>
#include <linux/memblock.h>
#include <linux/panic.h>
#include <linux/panic_notifier.h>
#include <linux/pm.h>
#include <linux/reboot.h>
#include <linux/start_kernel.h>
#include <asm/apic.h>
#include <asm/bootparam.h>
#include <asm/e820/api.h>
#include <asm/fixmap.h>
#include <asm/hypervisor.h>
#include <asm/i8259.h>
#include <asm/iommu.h>
#include <asm/idtentry.h>
#include <asm/desc.h>
#include <asm/paravirt.h>
#include <asm/processor.h>
#include <asm/reboot.h>
#include <asm/setup.h>
#include <asm/text-patching.h>
#include <asm/tlbflush.h>
#include <asm/x86_init.h>
#include <asm/xen/arch.h>
#include <xen/xen.h>

#include "core.h"

#define SHUTDOWN_POWEROFF 0
#define SHUTDOWN_REBOOT 1
#define SHUTDOWN_CRASH 3

enum xen_domain_type xen_domain_type = XEN_NATIVE;
EXPORT_SYMBOL_GPL(xen_domain_type);

extern char early_xen_iret_patch[], xen_iret[];

/* At boot and when the domain goes on. */
void xen_shared_info_map(void)
{
	xen_boot_shared_info(xen_arch_map_page(FIX_PARAVIRT_BOOTMAP, xen_shared_info_frame()));
	xen_show_p2m();
}

/* ---- memory ---- */

static char *__init memory_setup(void)
{
	u64 start[XEN_MAP_ENTRIES], size[XEN_MAP_ENTRIES], first[5], count[5];
	u64 pages = xen_arch_boot_pages(), end = xen_arch_most_pages();
	unsigned int i, entries = xen_memory_map(end << PAGE_SHIFT, start, size);
	unsigned int ranges = xen_reserved_ranges(first, count);

	if (!entries)
		e820__range_add(0, pages << PAGE_SHIFT, E820_TYPE_RAM);
	for (i = 0; i < entries; i++)
		e820__range_add(start[i], size[i], E820_TYPE_RAM);
	/* Ours like the rest, but Linux expects ROMs and frame buffers there. */
	e820__range_update(0xa0000, 0x60000, E820_TYPE_RAM, E820_TYPE_RESERVED);
	e820__update_table(e820_table);
	for (i = 0; i < ranges; i++)
		memblock_reserve(first[i] << PAGE_SHIFT, count[i] << PAGE_SHIFT);
	memblock_reserve(pages << PAGE_SHIFT, (end - pages) << PAGE_SHIFT); /* not there yet */
	return "Xen";
}

/* ---- the end ---- */

static void restart(char *command)
{
	xen_arch_shutdown(SHUTDOWN_REBOOT);
}

static unsigned int emergency_reason = SHUTDOWN_REBOOT;

static void emergency_restart_xen(void)
{
	xen_arch_shutdown(emergency_reason);
}

static void poweroff(void)
{
	xen_arch_shutdown(SHUTDOWN_POWEROFF);
}

static void stop(void)
{
	smp_send_stop();
}

static int on_panic(struct notifier_block *block, unsigned long event, void *message)
{
	/* Linux flushes the log and then restarts; the toolstack decides what that means. */
	emergency_reason = SHUTDOWN_CRASH;
	if (panic_timeout == 0)
		panic_timeout = -1;
	return NOTIFY_DONE;
}

static struct notifier_block panic_block = {
	.notifier_call = on_panic,
	.priority = INT_MIN,
};

static void __init machine_ops_init(void)
{
	machine_ops.restart = restart;
	machine_ops.emergency_restart = emergency_restart_xen;
	machine_ops.halt = poweroff;
	machine_ops.power_off = poweroff;
	machine_ops.shutdown = stop;
	pm_power_off = poweroff;
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
}

/* ---- hooks of setup_arch() ---- */

static void __init arch_setup(void)
{
	/* Without the entry, 32-bit programs must not be told of the instruction. */
	if (!xen_register_callbacks()) {
		setup_clear_cpu_cap(X86_FEATURE_SYSENTER32);
		setup_clear_cpu_cap(X86_FEATURE_SYSCALL32);
	}
	xen_console_early_init();
	xen_set_default_idle();
	machine_ops_init();
}

static void __init set_legacy_features(void)
{
	x86_platform.legacy.rtc = 0;
	x86_platform.legacy.i8042 = X86_LEGACY_I8042_PLATFORM_ABSENT;
	x86_platform.legacy.reserve_bios_regions = 0;
	x86_platform.legacy.devices.pnpbios = 0;
}

static void __init banner(void)
{
	pr_info("Booting paravirtualized kernel on %s (Proxenos)\n", pv_info.name);
}

static uint32_t __init detect(void)
{
	return xen_pv_domain();
}

/* The type alone has an effect: page-table isolation stays off, Xen isolates user mode. */
const __initconst struct hypervisor_x86 x86_hyper_xen_pv = {
	.name = "Xen PV",
	.detect = detect,
	.type = X86_HYPER_XEN_PV,
	.init.init_platform = xen_time_init,
	.ignore_nopv = true,
};

/* The port that tells of failing hardware is not the guest's, and reads as all of it. An NMI is the
 * toolstack's: of unknown reason. */
static unsigned char nmi_reason(void)
{
	return 0;
}

static void __init platform_init(void)
{
	x86_init.resources.memory_setup = memory_setup;
	x86_init.resources.probe_roms = x86_init_noop;
	x86_init.oem.arch_setup = arch_setup;
	x86_init.oem.banner = banner;
	x86_platform.set_legacy_features = set_legacy_features;
	x86_platform.get_nmi_reason = nmi_reason;
	x86_platform.realmode_reserve = x86_init_noop;
	x86_platform.realmode_init = x86_init_noop;
	legacy_pic = &null_legacy_pic;
	no_iommu = 1; /* there is no DMA to bounce, whatever the size of memory */
}

/* What the machine has and a PV guest cannot use. */
static void __init capabilities(void)
{
	static const u16 absent[] __initconst = {
		X86_FEATURE_PSE, X86_FEATURE_GBPAGES, X86_FEATURE_PGE, X86_FEATURE_PCID,
		X86_FEATURE_MTRR, X86_FEATURE_ACC, X86_FEATURE_ACPI, X86_FEATURE_APIC,
		X86_FEATURE_X2APIC, X86_FEATURE_APERFMPERF, X86_FEATURE_DCA, X86_FEATURE_SME,
		X86_FEATURE_MWAIT, X86_FEATURE_TSC_DEADLINE_TIMER, X86_FEATURE_SMEP,
		X86_FEATURE_SMAP, X86_FEATURE_UMIP, X86_FEATURE_LA57,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(absent); i++)
		setup_clear_cpu_cap(absent[i]);
	if (!(cpuid_ecx(1) & BIT(27 /* OSXSAVE */)))
		setup_clear_cpu_cap(X86_FEATURE_XSAVE);
	setup_force_cpu_cap(X86_FEATURE_XENPV);
	/* Where the machine's counter cannot be trusted, Xen emulates one. Linux would take it for a
	 * reason to distrust the scheduler's clock, too, and would keep comparing it with Xen's. */
	setup_force_cpu_cap(X86_FEATURE_TSC_RELIABLE);
}

static void __init boot_parameters(void)
{
	u64 initrd, size;

	boot_params.hdr.type_of_loader = (9 << 4) | 0; /* Xen */
	boot_params.hdr.hardware_subarch = X86_SUBARCH_XEN;
	boot_params.hdr.version = 0x212;
	if (xen_initrd(&initrd, &size)) {
		boot_params.hdr.ramdisk_image = initrd;
		boot_params.ext_ramdisk_image = initrd >> 32;
		boot_params.hdr.ramdisk_size = size;
		boot_params.ext_ramdisk_size = size >> 32;
	}
	strscpy(boot_command_line, xen_command_line(), COMMAND_LINE_SIZE);
}

/* Native code returns from interrupts with iret; the jump there is meant to be redirected. */
static void __init redirect_iret(void)
{
	__text_gen_insn(early_xen_iret_patch, JMP32_INSN_OPCODE, early_xen_iret_patch, xen_iret,
			JMP32_INSN_SIZE);
}

/* asm/head.S comes here on the boot CPU's idle stack. */
asmlinkage __visible void __init xen_start_kernel(void *start_info)
{
	struct desc_ptr gdt = { .size = GDT_SIZE - 1 };

	xen_domain_type = XEN_PV_DOMAIN;
	pv_info.name = "Xen";
	pv_info.extra_user_64bit_cs = 0xe033; /* Xen's own flat code segment */
	xen_cpu_ops_init();
	xen_boot_tables(start_info);
	xen_mmu_ops_init();
	xen_shared_info_map();
	redirect_iret();

	gdt.address = (unsigned long)&per_cpu(gdt_page, 0).gdt;
	load_gdt(&gdt);
	cr4_init_shadow();
	idt_setup_early_handler();
	capabilities();
	platform_init();
	xen_irq_init();
	xen_smp_init();
	boot_parameters();
	x86_64_start_reservations((char *)__pa_symbol(&boot_params));
}
