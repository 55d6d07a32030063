// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Both kinds of event channels as Xen does them. What the guest may change meanwhile is changed by
// atomic operations, as there.
#include "channels.hpp"

#include <cerrno>

namespace sim {

using namespace xen::abi;

namespace {

constexpr uint32_t words_per_page = 4096 / sizeof(uint32_t);

template <class T>
T fetch_or(T &word, T bits)
{
    return __atomic_fetch_or(&word, bits, __ATOMIC_SEQ_CST);
}

template <class T>
T fetch_and(T &word, T bits)
{
    return __atomic_fetch_and(&word, bits, __ATOMIC_SEQ_CST);
}

template <class T>
T load(const T &word)
{
    return __atomic_load_n(&word, __ATOMIC_SEQ_CST);
}

uint64_t bit(uint32_t port) { return 1ull << (port % 64); }

} // namespace

void Channels::start(SharedInfo &shared, bool has_fifo)
{
    shared_ = &shared;
    has_fifo_ = has_fifo;
    fifo_ = false;
    ports_.assign(max_event_ports, {});
    next_port_ = 3; // after xenstore's and the console's
    array_.clear();
    controls_.fill(nullptr);
    tails_ = {};
    unmasks_ = 0;
}

uint32_t *Channels::word(uint32_t port)
{
    const uint32_t page = port / words_per_page;
    return page < array_.size() ? &array_[page][port % words_per_page] : nullptr;
}

bool Channels::masked(uint32_t port)
{
    const std::lock_guard lock(mutex_);
    if (!fifo_)
        return load(shared_->evtchn_mask[port / 64]) & bit(port);
    const uint32_t *word = this->word(port);
    return word == nullptr || load(*word) & event_masked;
}

bool Channels::pending(uint32_t port)
{
    const std::lock_guard lock(mutex_);
    if (!fifo_)
        return load(shared_->evtchn_pending[port / 64]) & bit(port);
    const uint32_t *word = this->word(port);
    return word != nullptr ? load(*word) & event_pending : ports_[port].pending;
}

void Channels::tell(unsigned vcpu)
{
    __atomic_store_n(&shared_->vcpu_info[vcpu].upcall_pending, 1, __ATOMIC_SEQ_CST);
}

void Channels::notify(uint32_t port)
{
    const std::lock_guard lock(mutex_);
    if (fifo_) {
        set_pending(port);
        return;
    }
    if (fetch_or(shared_->evtchn_pending[port / 64], bit(port)) & bit(port))
        return;
    if (load(shared_->evtchn_mask[port / 64]) & bit(port))
        return;
    fetch_or(shared_->vcpu_info[ports_[port].vcpu].pending_selector, uint64_t{1} << (port / 64));
    tell(ports_[port].vcpu);
}

void Channels::set_pending(uint32_t port)
{
    uint32_t *word = this->word(port);
    if (word == nullptr) {
        ports_[port].pending = true;
        return;
    }
    fetch_or(*word, event_pending);
    if (controls_[ports_[port].vcpu] == nullptr || load(*word) & event_masked)
        return;
    if (!(fetch_or(*word, event_linked) & event_linked))
        link(port);
}

void Channels::link(uint32_t number)
{
    Port &port = ports_[number];
    uint32_t &old_tail = tails_[port.last_vcpu][port.last_priority];
    if (old_tail == number)
        old_tail = 0; // that queue is empty
    port.last_vcpu = port.vcpu;
    port.last_priority = port.priority;
    EvtchnControl &control = *controls_[port.vcpu];
    uint32_t &tail = tails_[port.vcpu][port.priority];
    const bool appended = tail != 0 && append(tail, number);
    tail = number;
    if (appended)
        return;
    __atomic_store_n(&control.head[port.priority], number, __ATOMIC_SEQ_CST);
    if (!(fetch_or(control.ready, 1u << port.priority) & (1u << port.priority)))
        tell(port.vcpu);
}

// False: the guest has taken the tail out.
bool Channels::append(uint32_t tail, uint32_t port)
{
    uint32_t &word = *this->word(tail);
    uint32_t seen = load(word);
    while (seen & event_linked)
        if (__atomic_compare_exchange_n(&word, &seen,
                                        (seen & ~(event_busy | event_link_mask)) | port, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    return false;
}

void Channels::unmask(uint32_t port)
{
    ++unmasks_;
    if (fifo_) {
        uint32_t *word = this->word(port);
        if (word == nullptr)
            return;
        fetch_and(*word, ~event_masked);
        if (load(*word) & event_pending)
            set_pending(port);
        return;
    }
    if (!(fetch_and(shared_->evtchn_mask[port / 64], ~bit(port)) & bit(port)) ||
        !(load(shared_->evtchn_pending[port / 64]) & bit(port)))
        return;
    fetch_or(shared_->vcpu_info[ports_[port].vcpu].pending_selector, uint64_t{1} << (port / 64));
    tell(ports_[port].vcpu);
}

long Channels::init_control(EvtchnInitControl &args)
{
    if (!has_fifo_)
        return -ENOSYS;
    args.link_bits = event_link_bits;
    if (args.vcpu >= vcpus)
        return -ENOENT;
    if (args.offset > 4096 - sizeof(EvtchnControl) || args.offset % 8 != 0 ||
        controls_[args.vcpu] != nullptr)
        return -EINVAL;
    if (!fifo_)
        for (uint32_t port = 1; port < two_level_ports; ++port)
            ports_[port].pending = load(shared_->evtchn_pending[port / 64]) & bit(port);
    fifo_ = true;
    // SAFETY: a page of the guest's, which is this program.
    controls_[args.vcpu] =
        reinterpret_cast<EvtchnControl *>(args.control_frame * 4096 + args.offset);
    return 0;
}

long Channels::expand_array(const EvtchnExpandArray &args)
{
    if (!fifo_)
        return -ENOSYS;
    if (array_.size() == max_event_ports / words_per_page)
        return -ENOSPC;
    const auto first = static_cast<uint32_t>(array_.size() * words_per_page);
    // SAFETY: as above.
    array_.push_back(reinterpret_cast<uint32_t *>(args.array_frame * 4096));
    for (uint32_t port = first; port < first + words_per_page; ++port)
        if (ports_[port].pending)
            set_pending(port);
    return 0;
}

long Channels::hypercall(unsigned command, void *argument)
{
    const std::lock_guard lock(mutex_);
    switch (command) {
    case evtchnop_unmask:
        unmask(static_cast<EvtchnPort *>(argument)->port);
        return 0;
    case evtchnop_bind_vcpu: {
        const auto &args = *static_cast<EvtchnBindVcpu *>(argument);
        if (args.port == 0 || args.port >= max_event_ports || args.vcpu >= vcpus)
            return -EINVAL;
        ports_[args.port].vcpu = args.vcpu;
        return 0;
    }
    case evtchnop_bind_virq: {
        auto &args = *static_cast<EvtchnBindVirq *>(argument);
        ports_[next_port_].vcpu = args.vcpu;
        args.port = next_port_++;
        return 0;
    }
    case evtchnop_bind_ipi: {
        auto &args = *static_cast<EvtchnBindIpi *>(argument);
        ports_[next_port_].vcpu = args.vcpu;
        args.port = next_port_++;
        return 0;
    }
    case evtchnop_init_control:
        return init_control(*static_cast<EvtchnInitControl *>(argument));
    case evtchnop_expand_array:
        return expand_array(*static_cast<EvtchnExpandArray *>(argument));
    case evtchnop_set_priority: {
        const auto &args = *static_cast<EvtchnSetPriority *>(argument);
        if (!fifo_)
            return -ENOSYS;
        if (args.port == 0 || args.port >= max_event_ports || args.priority >= event_queues)
            return -EINVAL;
        ports_[args.port].priority = args.priority;
        return 0;
    }
    default:
        return -ENOSYS;
    }
}

} // namespace sim
