// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Wire structures and numbers that every kind of guest shares with Xen: hypercall numbers, shared
// info, event channels, scheduling, grants, memory (public/xen.h, event_channel.h, sched.h,
// grant_table.h, memory.h, version.h). x86-64 only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xen::abi {

enum Hypercall : unsigned {
    hypercall_set_trap_table = 0,
    hypercall_mmu_update = 1,
    hypercall_set_gdt = 2,
    hypercall_stack_switch = 3,
    hypercall_fpu_taskswitch = 5,
    hypercall_set_debugreg = 8,
    hypercall_get_debugreg = 9,
    hypercall_update_descriptor = 10,
    hypercall_memory_op = 12,
    hypercall_multicall = 13,
    hypercall_update_va_mapping = 14,
    hypercall_version = 17,
    hypercall_console_io = 18,
    hypercall_grant_table_op = 20,
    hypercall_vm_assist = 21,
    hypercall_iret = 23,
    hypercall_vcpu_op = 24,
    hypercall_set_segment_base = 25,
    hypercall_mmuext_op = 26,
    hypercall_sched_op = 29,
    hypercall_callback_op = 30,
    hypercall_event_channel_op = 32,
    hypercall_physdev_op = 33,
    hypercall_hvm_op = 34,
};

// ---- shared info (public/xen.h) ----

struct VcpuTimeInfo {
    uint32_t version; // odd while Xen updates the rest
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time; // nanoseconds since Xen's boot, at tsc_timestamp
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};
static_assert(sizeof(VcpuTimeInfo) == 32);

struct VcpuInfo {
    uint8_t upcall_pending;
    uint8_t upcall_mask;
    uint8_t pad[6];
    uint64_t pending_selector; // one bit for each word of evtchn_pending
    uint64_t cr2;
    uint64_t arch_pad;
    VcpuTimeInfo time;
};
static_assert(sizeof(VcpuInfo) == 64);
static_assert(offsetof(VcpuInfo, time) == 32);

constexpr unsigned legacy_max_vcpus = 32;
constexpr unsigned event_words = 64; // 2-level event channels: 64 words of 64 ports
constexpr unsigned two_level_ports = event_words * 64;

struct SharedInfo {
    VcpuInfo vcpu_info[legacy_max_vcpus];
    uint64_t evtchn_pending[event_words];
    uint64_t evtchn_mask[event_words];
    uint32_t wc_version; // odd while the wall clock is updated
    uint32_t wc_sec;
    uint32_t wc_nsec;
    uint32_t wc_sec_hi;
    // p2m as found by the toolstack when it saves the domain
    uint64_t max_pfn;
    uint64_t pfn_to_mfn_frame_list_list;
    uint64_t nmi_reason;
    uint64_t p2m_cr3;
    uint64_t p2m_vaddr;
    uint64_t p2m_generation;
};
static_assert(offsetof(SharedInfo, evtchn_pending) == 2048);
static_assert(offsetof(SharedInfo, wc_version) == 3072);
static_assert(offsetof(SharedInfo, max_pfn) == 3088);

// ---- event channels (public/event_channel.h) ----

enum EventChannelOp : unsigned {
    evtchnop_bind_interdomain = 0,
    evtchnop_bind_virq = 1,
    evtchnop_close = 3,
    evtchnop_send = 4,
    evtchnop_status = 5,
    evtchnop_alloc_unbound = 6,
    evtchnop_bind_ipi = 7,
    evtchnop_bind_vcpu = 8,
    evtchnop_unmask = 9,
    evtchnop_reset = 10,
    evtchnop_init_control = 11,
    evtchnop_expand_array = 12,
    evtchnop_set_priority = 13,
};

struct EvtchnBindInterdomain {
    uint16_t remote_dom;
    uint32_t remote_port;
    uint32_t local_port; // out
};
struct EvtchnBindVirq {
    uint32_t virq;
    uint32_t vcpu;
    uint32_t port; // out
};
struct EvtchnPort { // close, send, unmask
    uint32_t port;
};
struct EvtchnAllocUnbound {
    uint16_t dom;
    uint16_t remote_dom;
    uint32_t port; // out
};
struct EvtchnBindIpi {
    uint32_t vcpu;
    uint32_t port; // out
};
struct EvtchnBindVcpu {
    uint32_t port;
    uint32_t vcpu;
};
struct EvtchnInitControl {
    uint64_t control_frame;
    uint32_t offset; // a multiple of 8
    uint32_t vcpu;
    uint8_t link_bits; // out
    uint8_t pad[7];
};
struct EvtchnExpandArray {
    uint64_t array_frame;
};
struct EvtchnSetPriority {
    uint32_t port;
    uint32_t priority;
};
static_assert(sizeof(EvtchnBindInterdomain) == 12);
static_assert(sizeof(EvtchnAllocUnbound) == 8);
static_assert(sizeof(EvtchnInitControl) == 24);

// FIFO event channels: one word for each port.
constexpr uint32_t event_pending = 1u << 31;
constexpr uint32_t event_masked = 1u << 30;
constexpr uint32_t event_linked = 1u << 29; // it is in a queue
constexpr uint32_t event_busy = 1u << 28;   // Xen changes the link: not to be unmasked by the guest
constexpr uint32_t event_link_bits = 17;
constexpr uint32_t event_link_mask =
    (1u << event_link_bits) - 1; // the next port in the queue, or 0
constexpr uint32_t max_event_ports = 1u << event_link_bits;
constexpr unsigned event_queues = 16; // the first one is the most urgent
constexpr unsigned event_priority_max = 0;
constexpr unsigned event_priority_default = 7;

struct EvtchnControl {
    uint32_t ready; // one bit for each queue that was empty and no longer is
    uint32_t reserved;
    uint32_t head[event_queues];
};
static_assert(sizeof(EvtchnControl) == 72);

constexpr unsigned virq_timer = 0;
constexpr unsigned virq_debug = 1;
constexpr unsigned virq_console = 2;

// ---- scheduling (public/sched.h) ----

enum SchedOp : unsigned {
    schedop_yield = 0,
    schedop_block = 1,
    schedop_shutdown = 2,
    schedop_poll = 3,
};
enum ShutdownReason : unsigned {
    shutdown_poweroff = 0,
    shutdown_reboot = 1,
    shutdown_suspend = 2,
    shutdown_crash = 3,
};
struct SchedShutdown {
    uint32_t reason;
};
struct SchedPoll {
    const uint32_t *ports;
    uint32_t nr_ports;
    uint64_t timeout; // absolute system time in ns, 0: none
};
static_assert(sizeof(SchedPoll) == 24);

// ---- grants, version 1 (public/grant_table.h) ----

struct GrantEntryV1 {
    uint16_t flags;
    uint16_t domid;
    uint32_t frame;
};
static_assert(sizeof(GrantEntryV1) == 8);

constexpr uint16_t gtf_permit_access = 1;
constexpr uint16_t gtf_readonly = 1u << 2;
constexpr uint16_t gtf_reading = 1u << 3; // set by Xen while the peer has it mapped
constexpr uint16_t gtf_writing = 1u << 4;
constexpr unsigned grant_reserved_entries = 8; // console and xenstore, set up by the toolstack
constexpr unsigned grants_per_frame = 4096 / sizeof(GrantEntryV1);

enum GrantTableOp : unsigned {
    gnttabop_map_grant_ref = 0,
    gnttabop_unmap_grant_ref = 1,
    gnttabop_setup_table = 2,
    gnttabop_copy = 5,
    gnttabop_query_size = 6,
};
struct GnttabSetupTable {
    uint16_t dom;
    uint32_t nr_frames;
    int16_t status; // out: 0 or a GNTST_* error
    uint64_t *frame_list;
};
static_assert(sizeof(GnttabSetupTable) == 24);
struct GnttabQuerySize {
    uint16_t dom;
    uint32_t nr_frames;     // out
    uint32_t max_nr_frames; // out
    int16_t status;         // out
};
static_assert(sizeof(GnttabQuerySize) == 16);

constexpr uint32_t gntmap_host_map = 1u << 1;
constexpr uint32_t gntmap_readonly = 1u << 2;
constexpr uint32_t gntmap_application_map = 1u << 3; // user mode may use it
constexpr uint32_t gntmap_contains_pte = 1u << 4;    // host_addr: machine address of the entry
constexpr unsigned gntmap_guest_avail0 = 16;         // first of the entry's three bits 9 to 11
struct GnttabMapGrantRef {
    uint64_t host_addr;
    uint32_t flags;
    uint32_t ref;
    uint16_t dom;
    int16_t status;  // out
    uint32_t handle; // out
    uint64_t dev_bus_addr;
};
static_assert(sizeof(GnttabMapGrantRef) == 32);
struct GnttabUnmapGrantRef {
    uint64_t host_addr;
    uint64_t dev_bus_addr;
    uint32_t handle;
    int16_t status; // out
};
static_assert(sizeof(GnttabUnmapGrantRef) == 24);
struct GnttabCopyEnd {
    uint64_t frame; // or a reference
    uint16_t domid;
    uint16_t offset;
};
constexpr uint16_t gntcopy_dest_gref = 2;
struct GnttabCopy {
    GnttabCopyEnd source, dest;
    uint16_t len;
    uint16_t flags;
    int16_t status; // out
};
static_assert(sizeof(GnttabCopy) == 40);
static_assert(offsetof(GnttabCopy, len) == 32);
constexpr int16_t gntst_eagain = -12;

// ---- memory (public/memory.h) ----

enum MemoryOp : unsigned {
    xenmem_decrease_reservation = 1,
    xenmem_maximum_reservation = 4,
    xenmem_populate_physmap = 6,
    xenmem_add_to_physmap = 7,
    xenmem_memory_map = 9,
};
struct XenMemoryReservation {
    uint64_t *extents; // frames: in, and out where Xen chooses them
    uint64_t nr_extents;
    uint32_t extent_order;
    uint32_t mem_flags;
    uint16_t domid;
};
static_assert(sizeof(XenMemoryReservation) == 32);
struct XenAddToPhysmap {
    uint16_t domid;
    uint16_t size;
    uint32_t space;
    uint64_t index;
    uint64_t gpfn;
};
static_assert(sizeof(XenAddToPhysmap) == 24);
struct XenMemoryMap {
    uint32_t nr_entries;
    void *buffer;
};
struct [[gnu::packed]] E820Entry {
    uint64_t address;
    uint64_t size;
    uint32_t type;
};
static_assert(sizeof(E820Entry) == 20);

// ---- version and features (public/version.h, features.h) ----

enum VersionOp : unsigned {
    xenver_version = 0, // major << 16 | minor
    xenver_extraversion = 1,
    xenver_capabilities = 3,
    xenver_changeset = 4,
    xenver_get_features = 6,
    xenver_pagesize = 7,
    xenver_guest_handle = 8,
};
struct FeatureInfo {
    uint32_t submap_index;
    uint32_t submap; // out
};
enum Feature : unsigned {
    feature_auto_translated_physmap = 2,
    feature_mmu_pt_update_preserve_ad = 5,
};

// ---- console_io (public/xen.h) ----

constexpr unsigned consoleio_write = 0;

} // namespace xen::abi
