// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A queue of a network frontend: events, locks, and its part in xenstore (public/io/netif.h).
#include "queue.hpp"

namespace xen {

void Queue::init(Link &link, unsigned index)
{
    link_ = &link;
    index_ = index;
    transmitter_.init(link, index);
    receiver_.init(link, index);
}

// ---- events ----

void Queue::event(EventChannel &channel)
{
    channel.arrived();
    events_.add(1);
    netfront_port_event(link_->context, index_);
}

void Queue::on_event(void *self)
{
    auto &queue = *static_cast<Queue *>(self);
    queue.event(queue.event_);
}

void Queue::on_transmit_event(void *self)
{
    auto &queue = *static_cast<Queue *>(self);
    queue.event(queue.tx_event_);
}

// ---- lifecycle ----

Status Queue::open()
{
    TRY(transmitter_.allocate());
    TRY(receiver_.allocate());
    {
        Locked locked(*this, true);
        transmitter_.open();
    }
    {
        Locked locked(*this, false);
        receiver_.open();
    }
    // Last: a backend that guesses the port sends events at once, and a poll of a queue that is not
    // open would leave the port masked.
    TRY(event_.listen(link_->backend_id, on_event, this));
    if (!link_->features.split_events)
        return {};
    return tx_event_.listen(link_->backend_id, on_transmit_event, this);
}

Status Queue::publish(const char *directory) const
{
    const auto write = [directory](const char *key, uint32_t value) {
        return xenstore::write_number(Transaction{}, directory, key, value);
    };
    TRY(write("tx-ring-ref", transmitter_.grant().value));
    TRY(write("rx-ring-ref", receiver_.grant().value));
    if (!tx_event_.open())
        return write("event-channel", event_.port().value);
    TRY(write("event-channel-tx", tx_event_.port().value));
    return write("event-channel-rx", event_.port().value);
}

void Queue::start()
{
    {
        Locked locked(*this, true);
        transmitter_.start();
    }
    // The receive buffers were posted before anybody listened.
    event_.notify();
}

void Queue::close()
{
    {
        Locked locked(*this, true);
        transmitter_.close();
    }
    Locked locked(*this, false);
    receiver_.close();
}

void Queue::close_events()
{
    event_.close();
    tx_event_.close();
}

bool Queue::release()
{
    const bool sent = transmitter_.release();
    return receiver_.release() && sent;
}

void Queue::abandon()
{
    transmitter_.abandon();
    receiver_.abandon();
}

unsigned Queue::list_buffers(netif::StaticGrant *list, unsigned most) const
{
    unsigned count = 0;
    const auto add = [&](const GrantedPages &buffers, uint16_t flags) {
        for (unsigned i = 0; i < buffers.count() && count < most; i++)
            store_shared_object(&list[count++],
                                netif::StaticGrant{buffers.grant(i).value, flags, 0});
    };
    add(transmitter_.buffers(), netif::static_grant_readonly);
    add(receiver_.buffers(), 0);
    return count;
}

// ---- packets ----

netfront_verdict Queue::transmit(const Outgoing &outgoing, bool more)
{
    Locked locked(*this, true);
    bool notify = false;
    const netfront_verdict verdict = transmitter_.transmit(outgoing, more, notify);
    if (notify)
        notify_transmit();
    return verdict;
}

netfront_verdict Queue::multicast(const uint8_t *mac, bool add)
{
    Locked locked(*this, true);
    bool notify = false;
    const netfront_verdict verdict = transmitter_.multicast(mac, add, notify);
    if (notify)
        notify_transmit();
    return verdict;
}

void Queue::flush()
{
    Locked locked(*this, true);
    if (transmitter_.flush())
        notify_transmit();
}

unsigned Queue::poll(unsigned budget)
{
    {
        Locked locked(*this, true);
        if (transmitter_.usable())
            transmitter_.reap();
    }
    Locked locked(*this, false);
    if (!receiver_.usable())
        return 0;
    bool notify = false;
    const unsigned received = receiver_.receive(budget, notify);
    if (notify)
        event_.notify();
    return received;
}

bool Queue::rearm()
{
    uint32_t received = 0, sent = 0;
    {
        Locked locked(*this, false);
        if (!receiver_.usable())
            return false;
        if (receiver_.more(received))
            return true;
    }
    // The events are closed when the rings are, which takes this lock.
    Locked locked(*this, true);
    if (!transmitter_.usable())
        return false;
    if (transmitter_.more(sent))
        return true;
    const uint32_t pause = link_->pause_ns.load();
    if (tx_event_.open())
        tx_event_.done(sent, pause);
    else
        received += sent;
    event_.done(received, pause);
    return false;
}

void Queue::get_statistics(netfront_statistics &statistics)
{
    {
        Locked locked(*this, true);
        transmitter_.get_statistics(statistics);
    }
    Locked locked(*this, false);
    receiver_.get_statistics(statistics);
    statistics.events = events_.load();
}

} // namespace xen
