// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network frontend (public/io/netif.h): its life in xenstore, and its queues.
//
// Packets are copied both ways through pages that stay granted for the whole connection. So no
// buffer of the kernel is ever granted; no packet is looked at while the backend can change it; and
// nothing is granted, revoked or allocated on the I/O path. What other frontends need a trusted
// backend for is never done, so the key "trusted" makes no difference and is not read. Nor does
// the backend have to leave headroom for XDP ("xdp-headroom"): the kernel copies packets to where
// it has as much as it likes, whatever the backend offers.
//
// The backend is not trusted. Its first violation of the protocol breaks the device: one line of
// log, no ring access any more, grants revoked, state Closing. When the backend comes back
// (InitWait) the device connects again.
#pragma once

#include <xen/format.hpp>

#include "control.hpp"
#include "mac.hpp"
#include "queue.hpp"

namespace xen {

class NetFront final {
public:
    // `queues`: so many, in memory that lives as long as this.
    NetFront(Queue *queues, unsigned count) : queues_(queues), queues_max_(count) {}
    NetFront(const NetFront &) = delete;

    Status create(const netfront_config &config, netif::MacAddress &mac);
    void backend_changed(XenbusState state);
    void work();
    void retry();
    void reconnect();
    void hash_changed() { control_.rehash(); }
    Status filter_multicast(bool on);
    void restored(const char *backend, DomId backend_id);
    void remove();

    // Null: there is none.
    Queue *queue(unsigned index) { return index < queues_max_ ? &queues_[index] : nullptr; }
    void set_coalesce(uint32_t tx_frames, uint32_t pause_ns);

private:
    static void on_setting(void *self, const char *path);

    // device.cc
    void handle(XenbusState backend);
    void backend_ready();
    void backend_closed();
    void quiesce();
    void retire();
    bool release();
    void set_closed();
    void give_up(const char *why, Error error);
    void fail();
    void leave();
    void later();
    Status set_state(XenbusState state);

    // connect.cc
    void connect();
    void wait(const char *why, Error error);
    bool offered(const char *key) const;
    void negotiate();
    void read_settings();
    Status open();
    Status publish();
    Status publish_queues();
    Status remove_old_keys();

    Link link_;
    Path backend_;
    Watch mtu_watch_;     // in the frontend's directory
    Watch carrier_watch_; // in the backend's
    Atomic<uint32_t> settings_changed_;

    XenbusState state_ = XenbusState::unknown;         // ours, as last written
    XenbusState backend_state_ = XenbusState::unknown; // as last reported
    bool gave_up_ = false;   // the next connection is for the backend to start
    bool paused_ = false;    // and nobody makes one before retry()
    bool waiting_ = false;   // the log says so
    bool leaving_ = false;   // Closing is still to be written
    bool attached_ = false;  // the rings are open, and the backend may come
    bool announced_ = false; // the kernel was told that packets pass

    netfront_wishes wishes_{}; // for this connection
    Queue *queues_;
    unsigned queues_max_;
    Control control_;
};

} // namespace xen
