// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Xen's side of how events are delivered to a guest of several vCPUs (public/event_channel.h),
// 2-level and FIFO, for what works below xen/port.h. The guest may have several threads. A frame's
// number is the page's address by 4096.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include <xen/abi.hpp>

namespace sim {

class Channels {
public:
    static constexpr unsigned vcpus = 4;

    // Another domain: nothing is known of its ports, all of which go to vCPU 0.
    void start(xen::abi::SharedInfo &shared, bool has_fifo);

    void notify(uint32_t port); // somebody does, and the vCPU that it is bound to is told
    // EVTCHNOP_*: unmask, bind_vcpu, bind_virq, bind_ipi, init_control, expand_array, set_priority.
    long hypercall(unsigned command, void *argument);

    bool is_fifo() const { return fifo_; }
    bool masked(uint32_t port);
    bool pending(uint32_t port);
    uint32_t *word(uint32_t port); // FIFO; null: the guest has given no such page
    size_t pages() const { return array_.size(); }
    unsigned vcpu_of(uint32_t port) const { return ports_.at(port).vcpu; }
    unsigned priority_of(uint32_t port) const { return ports_.at(port).priority; }
    bool has_queues(unsigned vcpu) const { return controls_.at(vcpu) != nullptr; }
    unsigned unmasked_by_us() const { return unmasks_; } // how often the guest asked

private:
    struct Port {
        unsigned vcpu = 0;
        unsigned priority = xen::abi::event_priority_default;
        bool pending = false;   // before there was a word
        unsigned last_vcpu = 0; // whose queue it was in
        unsigned last_priority = xen::abi::event_priority_default;
    };

    long init_control(xen::abi::EvtchnInitControl &args);
    long expand_array(const xen::abi::EvtchnExpandArray &args);
    void set_pending(uint32_t port);
    void link(uint32_t port);
    bool append(uint32_t tail, uint32_t port);
    void unmask(uint32_t port);
    void tell(unsigned vcpu);

    mutable std::recursive_mutex mutex_; // Xen's locks
    xen::abi::SharedInfo *shared_ = nullptr;
    bool has_fifo_ = false;
    bool fifo_ = false;
    std::vector<Port> ports_;
    uint32_t next_port_ = 0;
    std::vector<uint32_t *> array_;
    std::array<xen::abi::EvtchnControl *, vcpus> controls_{};
    std::array<std::array<uint32_t, xen::abi::event_queues>, vcpus> tails_{};
    unsigned unmasks_ = 0;
};

} // namespace sim
