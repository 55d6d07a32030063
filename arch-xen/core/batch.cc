// SPDX-License-Identifier: GPL-2.0-only
// The per-CPU queue of hypercalls behind Linux's lazy modes: page-table updates, extended MMU
// operations and context-switch calls leave as one HYPERVISOR_multicall, in order (public/xen.h).
#include "arch.hpp"

namespace xen::pv {
namespace {

constexpr unsigned max_calls = 24;
constexpr unsigned max_updates = 96;
constexpr unsigned max_extended = 16;

struct Batch {
    unsigned calls;
    unsigned updates;
    unsigned extended;
    unsigned scopes; // BatchScopes that are open
    abi::MulticallEntry call[max_calls];
    abi::MmuUpdate update[max_updates];
    abi::MmuextOp extended_op[max_extended];
};
static_assert(sizeof(Batch) <= 4096);

// SAFETY: glue reserves 4096 aligned, zeroed bytes for each CPU; callers have interrupts off.
Batch &this_batch() { return *static_cast<Batch *>(glue_batch_memory()); }

class IrqsOff {
public:
    IrqsOff() : flags_(xen_port_irq_save()) {}
    ~IrqsOff() { xen_port_irq_restore(flags_); }
    IrqsOff(const IrqsOff &) = delete;

private:
    unsigned long flags_;
};

void flush(Batch &batch)
{
    if (batch.calls == 0)
        return;
    if (batch.calls == 1) {
        auto &call = batch.call[0];
        call.result =
            xen_hypercall(call.op, call.args[0], call.args[1], call.args[2], call.args[3], 0);
    } else {
        auto sent = hypercall(abi::hypercall_multicall, batch.call, batch.calls);
        if (!sent.ok())
            glue_hypercall_failed(abi::hypercall_multicall, to_errno(sent.error()), batch.calls, 0);
    }
    // Empty before a failure is told, which uses the batch in its turn.
    unsigned calls = batch.calls;
    batch.calls = batch.updates = batch.extended = 0;
    for (unsigned i = 0; i < calls; i++) {
        auto &call = batch.call[i];
        if (call.result < 0)
            glue_hypercall_failed(call.op, call.result, call.args[0], call.args[1]);
    }
}

abi::MulticallEntry &next_call(Batch &batch, abi::Hypercall op)
{
    if (batch.calls == max_calls)
        flush(batch);
    auto &call = batch.call[batch.calls++];
    call.op = op;
    return call;
}

void finish(Batch &batch, LazyMode lazy)
{
    if (batch.scopes == 0 && (lazy == lazy_none || glue_lazy_mode() != lazy))
        flush(batch);
}

bool last_call_is(const Batch &batch, abi::Hypercall op)
{
    return batch.calls != 0 && batch.call[batch.calls - 1].op == op;
}

uint64_t argument(const void *pointer) { return hypercall_argument(pointer); }

} // namespace

void batch_call(LazyMode lazy, abi::Hypercall op, uint64_t a1, uint64_t a2, uint64_t a3,
                uint64_t a4)
{
    IrqsOff off;
    Batch &batch = this_batch();
    auto &call = next_call(batch, op);
    call.args[0] = a1;
    call.args[1] = a2;
    call.args[2] = a3;
    call.args[3] = a4;
    finish(batch, lazy);
}

void batch_update(uint64_t machine_address_and_command, uint64_t value)
{
    IrqsOff off;
    Batch &batch = this_batch();
    if (batch.updates == max_updates)
        flush(batch);
    if (!last_call_is(batch, abi::hypercall_mmu_update)) {
        auto &call = next_call(batch, abi::hypercall_mmu_update);
        call.args[0] = argument(&batch.update[batch.updates]);
        call.args[1] = 0;
        call.args[2] = 0; // number done: not asked for
        call.args[3] = domid_self.value;
    }
    batch.update[batch.updates++] = {machine_address_and_command, value};
    batch.call[batch.calls - 1].args[1]++;
    finish(batch, lazy_mmu);
}

void batch_extended(LazyMode lazy, abi::MmuextCommand command, uint64_t arg1, uint64_t arg2)
{
    IrqsOff off;
    Batch &batch = this_batch();
    if (batch.extended == max_extended)
        flush(batch);
    if (!last_call_is(batch, abi::hypercall_mmuext_op)) {
        auto &call = next_call(batch, abi::hypercall_mmuext_op);
        call.args[0] = argument(&batch.extended_op[batch.extended]);
        call.args[1] = 0;
        call.args[2] = 0;
        call.args[3] = domid_self.value;
    }
    batch.extended_op[batch.extended++] = {command, arg1, arg2};
    batch.call[batch.calls - 1].args[1]++;
    finish(batch, lazy);
}

void batch_set_access(Pfn pfn, bool writable)
{
    uint64_t entry =
        to_mfn(pfn).value << page_shift | (writable ? page_read_write : page_read_only);
    batch_call(lazy_mmu, abi::hypercall_update_va_mapping, argument(direct_map<void>(pfn)), entry,
               abi::uvmf_none);
}

void batch_flush()
{
    IrqsOff off;
    flush(this_batch());
}

BatchScope::BatchScope() : flags_(xen_port_irq_save()) { this_batch().scopes++; }

BatchScope::~BatchScope()
{
    Batch &batch = this_batch();
    if (--batch.scopes == 0 && glue_lazy_mode() != lazy_mmu)
        flush(batch);
    xen_port_irq_restore(flags_);
}

} // namespace xen::pv

// Linux leaves a lazy mode.
extern "C" void xen_core_flush(void) { xen::pv::batch_flush(); }
