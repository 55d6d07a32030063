// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Wire structures and numbers of a 64-bit paravirtual guest alone: start info, page-table updates,
// traps, callbacks, virtual CPUs, multicalls (public/xen.h, arch-x86/xen.h, callback.h, vcpu.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace xen::abi {

// ---- start of day ----

struct StartInfo {
    char magic[32];
    uint64_t nr_pages;
    uint64_t shared_info; // machine address
    uint32_t flags;       // SIF_*
    uint64_t store_mfn;
    uint32_t store_evtchn;
    uint64_t console_mfn; // for the initial domain: offset and size of its console info
    uint32_t console_evtchn;
    uint64_t pt_base; // virtual address of the L4
    uint64_t nr_pt_frames;
    uint64_t mfn_list; // virtual address of the linear p2m
    uint64_t mod_start;
    uint64_t mod_len;
    char cmd_line[1024];
    uint64_t first_p2m_pfn;
    uint64_t nr_p2m_frames;
};
static_assert(offsetof(StartInfo, store_mfn) == 56);
static_assert(offsetof(StartInfo, console_mfn) == 72);
static_assert(offsetof(StartInfo, pt_base) == 88);
static_assert(offsetof(StartInfo, cmd_line) == 128);
static_assert(sizeof(StartInfo) == 1168);

constexpr uint32_t sif_privileged = 1u << 0;
constexpr uint32_t sif_initdomain = 1u << 1;
constexpr uint32_t sif_mod_start_pfn = 1u << 3;

// ---- page tables ----

struct MmuUpdate {
    uint64_t ptr; // machine address of the entry | mmu_* command
    uint64_t val;
};
constexpr uint64_t mmu_normal_pt_update = 0;
constexpr uint64_t mmu_machphys_update = 1;
constexpr uint64_t mmu_pt_update_preserve_ad = 2;

struct MmuextOp {
    uint32_t cmd;
    uint64_t arg1; // mfn, or linear address
    uint64_t arg2; // number of LDT entries, or pointer to a vcpu mask
};
static_assert(sizeof(MmuextOp) == 24);

enum MmuextCommand : unsigned {
    mmuext_pin_l1_table = 0,
    mmuext_pin_l2_table = 1,
    mmuext_pin_l3_table = 2,
    mmuext_pin_l4_table = 3,
    mmuext_unpin_table = 4,
    mmuext_new_baseptr = 5,
    mmuext_tlb_flush_local = 6,
    mmuext_invlpg_local = 7,
    mmuext_tlb_flush_multi = 8,
    mmuext_invlpg_multi = 9,
    mmuext_tlb_flush_all = 10,
    mmuext_set_ldt = 13,
    mmuext_new_user_baseptr = 15,
};

// Flags of update_va_mapping.
constexpr uint64_t uvmf_none = 0;
constexpr uint64_t uvmf_invlpg_local = 2;
constexpr uint64_t uvmf_invlpg_all = 2 | 4;

constexpr unsigned vmassist_enable = 0;
constexpr unsigned vmassist_writable_pagetables = 2;
constexpr unsigned vmassist_architectural_iopl = 4;

struct MulticallEntry {
    uint64_t op;
    int64_t result;
    uint64_t args[6];
};
static_assert(sizeof(MulticallEntry) == 64);

// ---- traps and callbacks ----

struct TrapInfo {
    uint8_t vector;
    uint8_t flags; // bits 0..1 privilege that may raise it, bit 2: events masked on entry
    uint16_t cs;
    uint64_t address;
};
static_assert(sizeof(TrapInfo) == 16);
constexpr uint8_t trap_masks_events = 1u << 2;

enum CallbackType : unsigned {
    callback_event = 0,
    callback_failsafe = 1,
    callback_syscall = 2,
    callback_nmi = 4,
    callback_sysenter = 5,
    callback_syscall32 = 7,
};
constexpr unsigned callbackop_register = 0;
constexpr uint16_t callback_masks_events = 1;
struct CallbackRegister {
    uint16_t type;
    uint16_t flags;
    uint64_t address;
};
static_assert(sizeof(CallbackRegister) == 16);

// Flat segments that Xen keeps in every guest's GDT.
constexpr uint16_t flat_kernel_cs = 0xe033;
constexpr uint16_t flat_kernel_ds = 0xe02b;

// ---- virtual CPUs ----

enum VcpuOp : unsigned {
    vcpuop_initialise = 0,
    vcpuop_up = 1,
    vcpuop_down = 2,
    vcpuop_is_up = 3,
    vcpuop_get_runstate_info = 4,
    vcpuop_register_runstate_memory_area = 5,
    vcpuop_stop_periodic_timer = 7,
    vcpuop_set_singleshot_timer = 8,
    vcpuop_stop_singleshot_timer = 9,
    vcpuop_register_vcpu_info = 10,
    vcpuop_send_nmi = 11,
};
struct VcpuRegisterVcpuInfo {
    uint64_t mfn;
    uint32_t offset;
    uint32_t reserved;
};
static_assert(sizeof(VcpuRegisterVcpuInfo) == 16);
struct VcpuSetSingleshotTimer {
    uint64_t timeout_abs_ns;
    uint32_t flags;
};
static_assert(sizeof(VcpuSetSingleshotTimer) == 16);
constexpr uint32_t singleshot_future = 1; // refuse a time in the past with -ETIME
constexpr unsigned runstate_runnable = 1;
struct VcpuRunstateInfo {
    int32_t state;
    uint64_t state_entry_time;
    uint64_t time[4]; // nanoseconds in each state
};
static_assert(sizeof(VcpuRunstateInfo) == 48);

struct CpuUserRegs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint32_t error_code;
    uint32_t entry_vector;
    uint64_t rip;
    uint16_t cs, pad0[1];
    uint8_t saved_upcall_mask, pad1[3];
    uint64_t rflags, rsp;
    uint16_t ss, pad2[3];
    uint16_t es, pad3[3];
    uint16_t ds, pad4[3];
    uint16_t fs, pad5[3];
    uint16_t gs, pad6[3];
};
static_assert(sizeof(CpuUserRegs) == 200);

constexpr uint64_t vgcf_in_kernel = 1u << 2;

struct VcpuGuestContext {
    uint8_t fpu[512];
    uint64_t flags;
    CpuUserRegs user_regs;
    TrapInfo traps[256];
    uint64_t ldt_base, ldt_entries;
    uint64_t gdt_frames[16], gdt_entries;
    uint64_t kernel_ss, kernel_sp;
    uint64_t ctrlreg[8];
    uint64_t debugreg[8];
    uint64_t event_callback, failsafe_callback, syscall_callback;
    uint64_t vm_assist;
    uint64_t fs_base, gs_base_kernel, gs_base_user;
};
static_assert(sizeof(VcpuGuestContext) == 5168);

// cr3 as Xen writes it: the frame number, its bits above 52 folded into the low ones.
constexpr uint64_t frame_to_cr3(uint64_t mfn) { return mfn << 12 | mfn >> 52; }

} // namespace xen::abi
