/* SPDX-License-Identifier: GPL-2.0-only */
/* C's view of core/: prototypes in Linux's types. pte_t and its kin pass as the u64 that the C++
 * definitions take. */
#ifndef PROXENOS_GLUE_CORE_H
#define PROXENOS_GLUE_CORE_H

#include <linux/irqreturn.h>
#include <linux/types.h>
#include <xen/dispatch.h>
#include <xen/memory.h>
#include <xen/vcpu.h>

/* core/boot.cc */
void xen_boot_tables(void *start_info);
void xen_boot_shared_info(void *address);
u64 xen_shared_info_frame(void);
void *xen_time_info(unsigned int vcpu);
void *xen_wall_clock(void);
bool xen_register_callbacks(void);
const char *xen_command_line(void);
bool xen_initrd(u64 *physical, u64 *size);
unsigned int xen_reserved_ranges(u64 first[5], u64 count[5]);

/* core/batch.cc */
void xen_core_flush(void);

/* core/p2m.cc, core/pagetable.cc, core/pin.cc */
u64 xen_p2m_end(void);
void xen_p2m_grown(u64 pages);
u64 xen_make_entry(u64 entry);
u64 xen_entry_value(u64 entry);
void xen_set_entry(void *entry, u64 value);
void xen_modify_entry(void *entry, u64 value);
void xen_set_top_entry(void *entry, u64 value);
void xen_table_alloc(u64 pfn, unsigned int level, bool live);
void xen_table_free(u64 pfn, unsigned int level);
void xen_set_mapping(unsigned long address, u64 entry);
void xen_set_page_access(u64 pfn, bool writable);
void xen_load_tables(u64 l4_pfn, u64 user_l4_pfn);
void xen_flush_tlb_local(void);
void xen_flush_tlb_page(unsigned long address);
void xen_flush_tlb_mask(const void *mask, bool one_page, unsigned long address);
void xen_tables_have_struct_pages(void);
void xen_pin(void *mm, u64 l4_pfn, u64 user_l4_pfn);
void xen_unpin(void *mm, u64 l4_pfn, u64 user_l4_pfn);

/* core/suspend.cc */
void xen_show_p2m(void);
int xen_suspend(void);

/* core/traps.cc */
void xen_load_idt(const void *idt, unsigned int entries);
void xen_load_gdt(const u64 *frames, unsigned int entries);
void xen_set_ldt(const void *ldt, unsigned int entries);
void xen_update_descriptor(u64 frame, unsigned int offset, u64 descriptor);
void xen_stack_switch(unsigned long sp0, unsigned int ss);
void xen_task_switched(bool set);
enum { /* public/xen.h, SEGBASE_* */
	XEN_SEGMENT_FS = 0,
	XEN_SEGMENT_GS_USER = 1,
	XEN_SEGMENT_GS_KERNEL = 2,
	XEN_SEGMENT_GS_USER_SELECTOR = 3,
};
int xen_set_segment_base(unsigned int which, unsigned long base);
void xen_set_debug_register(int number, unsigned long value);
unsigned long xen_get_debug_register(int number);
void xen_set_io_bitmap(const void *bitmap, unsigned int ports);

/* core/vcpu.cc */
struct xen_secondary_start {
	u64 stack_top;
	u64 kernel_sp;
	u64 per_cpu_base;
	u64 gdt_frame;
	u32 gdt_entries;
	const void *idt;
	u32 idt_entries;
};
extern const size_t xen_vcpu_context_size;
int xen_vcpu_initialise(unsigned int cpu, void *memory, const struct xen_secondary_start *start);

/* glue/ among itself */
void xen_cpu_ops_init(void);
void xen_mmu_secondary(unsigned int cpu);
extern bool xen_more_vcpus;
void xen_mmu_ops_init(void);
void xen_irq_init(void);
void xen_time_init(void);
void xen_smp_init(void);
int xen_virq_to_irq(unsigned int virq, unsigned int cpu, irqreturn_t (*handler)(int, void *),
			     const char *name);
struct desc_ptr;
extern struct desc_ptr xen_idt;
u64 xen_frame_read_only(unsigned long address);
void xen_vcpu_info_setup(unsigned int cpu);
void *xen_vcpu_time(unsigned int cpu);
int xen_ipi_to_irq(unsigned int cpu, irqreturn_t (*handler)(int, void *), const char *name);
void *xen_arch_map_page(unsigned int fixmap, u64 frame);
void xen_shared_info_map(void);
void xen_arch_unmap_page(unsigned int fixmap);
void xen_pin_all(void);
void xen_unpin_all(void);
int xen_clockevent_prepare(unsigned int cpu);
void xen_clockevent_start(void);

/* what each file does when the domain goes on, restored unless the name says otherwise */
void xen_time_suspend(void);
void xen_time_resume(void);
void xen_vcpu_info_restored(void);
void xen_irq_restored(void);
void xen_irq_rebind(unsigned int irq, int port, unsigned int cpu);
void xen_irq_free_lost(void);
void xen_time_restored(void);
void xen_smp_restored(void);

#endif
