// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The requests of the control ring, in their order (public/io/netif.h).
#include "control.hpp"

namespace xen {

using netif::ControlRequest;
using netif::ControlResponse;
using netif::StaticGrant;

static_assert(sizeof(StaticGrant) * 2 * NETFRONT_BUFFERS_MAX <= page_size);
static_assert(NETFRONT_HASH_IPV4_TCP == 1 << 1 && NETFRONT_HASH_IPV6_TCP == 1 << 3);

// ---- lifecycle ----

Status Control::open(Link &link)
{
    link_ = &link;
    TRY(page_.allocate(link.backend_id));
    TRY(argument_.allocate(link.backend_id));
    ring_.init(page_.page());
    step_ = Step::idle;
    rehash_ = changed_ = false;
    return event_.listen(link.backend_id, on_event, this);
}

Status Control::publish() const
{
    const char *directory = link_->nodename.c_str();
    TRY(xenstore::write_number(Transaction{}, directory, "ctrl-ring-ref", page_.grant().value));
    return xenstore::write_number(Transaction{}, directory, "event-channel-ctrl",
                                  event_.port().value);
}

void Control::close() { event_.close(); }

bool Control::release()
{
    const bool ring = page_.release();
    return argument_.release() && ring;
}

void Control::abandon()
{
    page_.abandon();
    argument_.abandon();
}

void Control::on_event(void *self)
{
    auto &control = *static_cast<Control *>(self);
    control.event_.arrived();
    netfront_port_wake(control.link_->context);
}

// ---- requests and responses ----

void Control::send(Step step, uint16_t type, uint32_t a, uint32_t b, uint32_t c)
{
    step_ = step;
    request_ = {.id = static_cast<uint16_t>(request_.id + 1), .type = type, .data = {a, b, c}};
    ring_.put(request_);
    if (ring_.push())
        event_.notify();
}

bool Control::work()
{
    if (!event_.open() || link_->broken.load() != 0)
        return false;
    for (;;) {
        auto count = ring_.final_check();
        if (!count.ok())
            return link_->violation("control rsp_prod", ring_.producer());
        if (count.value() == 0)
            break;
        // There is one at most, as there was one request.
        const ControlResponse response = ring_.take();
        if (response.id != request_.id)
            return link_->violation("control id", response.id);
        if (response.type != request_.type)
            return link_->violation("control type", response.type);
        advance(response.status == netif::control_success, response.data);
    }
    event_.done(ring_.taken());
    return std::exchange(changed_, false);
}

void Control::advance(bool done, uint32_t data)
{
    switch (step_) {
    case Step::idle:
        break;
    case Step::grant_room:
    case Step::grant_add:
        return advance_grants(done, data);
    case Step::mapping_room:
        link_->features.hash_mapping_max = done ? data : 0;
        changed_ = true;
        return begin_hash();
    default:
        return advance_hash(done, data);
    }
}

void Control::start(Queue *queues, bool static_grants)
{
    queues_ = queues;
    queue_ = static_cast<unsigned>(-1);
    if (!static_grants)
        queue_ = link_->features.queues - 1u; // there is no next one
    next_queue();
}

void Control::rehash()
{
    if (!event_.open())
        return;
    if (step_ != Step::idle)
        rehash_ = true;
    else
        begin_hash();
}

// ---- static grants ----

void Control::next_queue()
{
    if (++queue_ < link_->features.queues)
        send(Step::grant_room, netif::control_get_gref_mapping_size, queue_);
    else
        send(Step::mapping_room, netif::control_get_hash_mapping_size);
}

void Control::advance_grants(bool done, uint32_t data)
{
    if (!done)
        return next_queue();
    if (step_ == Step::grant_room) {
        // SAFETY: the argument page is this guest's, and no request uses it now.
        auto *list = static_cast<StaticGrant *>(argument_.page());
        const unsigned count = queues_[queue_].list_buffers(list, data);
        if (count > 0)
            return send(Step::grant_add, netif::control_add_gref_mapping, queue_,
                        argument_.grant().value, count);
    } else {
        link_->features.static_grants += request_.data[2];
        changed_ = true;
    }
    next_queue();
}

// ---- the hash ----

void Control::begin_hash()
{
    rehash_ = false;
    hash_ = {};
    netfront_port_hash(link_->context, &hash_);
    if (hash_.types != 0)
        send(Step::hash_algorithm, netif::control_set_hash_algorithm,
             netif::hash_algorithm_toeplitz);
    else // xen-netback has that of the connection before, and its mapping
        send(Step::hash_off, netif::control_set_hash_algorithm, netif::hash_algorithm_none);
}

void Control::end_hash(uint32_t types)
{
    changed_ |= link_->features.hash_types != types;
    link_->features.hash_types = types;
    step_ = Step::idle;
    if (rehash_)
        begin_hash();
}

void Control::advance_hash(bool done, uint32_t data)
{
    const uint32_t argument = argument_.grant().value;
    if (step_ == Step::hash_off)
        return end_hash(0);
    if (done && step_ == Step::hash_flags_room)
        hash_.types &= data;
    // Half a hash would be worse than none: all packets in one queue.
    if (!done || hash_.types == 0)
        return send(Step::hash_off, netif::control_set_hash_algorithm, netif::hash_algorithm_none);
    switch (step_) {
    case Step::hash_algorithm:
        return send(Step::hash_flags_room, netif::control_get_hash_flags);
    case Step::hash_flags_room:
        copy_to_shared(argument_.page(), hash_.key, sizeof hash_.key);
        return send(Step::hash_key, netif::control_set_hash_key, argument, hash_.key_size);
    case Step::hash_key:
        // A longer table than the backend's cannot be had: then the hash alone decides.
        if (hash_.mapping_size > link_->features.hash_mapping_max)
            hash_.mapping_size = 0;
        return send(Step::mapping_size, netif::control_set_hash_mapping_size, hash_.mapping_size);
    case Step::mapping_size:
        if (hash_.mapping_size == 0)
            return send(Step::hash_flags, netif::control_set_hash_flags, hash_.types);
        for (unsigned i = 0; i < hash_.mapping_size; i++)
            // SAFETY: the argument page is this guest's, and no request uses it now.
            store_shared(static_cast<uint32_t *>(argument_.page())[i],
                         hash_.mapping[i] % link_->features.queues);
        return send(Step::mapping, netif::control_set_hash_mapping, argument, hash_.mapping_size);
    case Step::mapping:
        return send(Step::hash_flags, netif::control_set_hash_flags, hash_.types);
    default: // hash_flags
        return end_hash(hash_.types);
    }
}

} // namespace xen
