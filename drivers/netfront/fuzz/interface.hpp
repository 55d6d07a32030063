// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A network interface whose backend and whose users follow a script, byte by byte
// (public/io/netif.h). Whatever it says: nothing hangs or leaks, no packet comes from beyond its
// page, and an honest backend heals the interface.
#pragma once

#include <hypercall/fuzz/race.hpp>
#include <netfront/test/fixture.hpp>

namespace netfuzz {

class Interface : public netfront_test::NetFrontTest {
protected:
    void TestBody() override {}

    // The fixture's own part of a run: a connected interface, or one with keys of the script's; and
    // what has to hold at the end.
    void begin();
    void begin(fuzz::Script &script);
    void end();

    // Steps that a script is made of.
    void transmit(fuzz::Script &script);
    void take(); // the backend notes the next transmit request
    void answer_transmit(fuzz::Script &script);
    void deliver(fuzz::Script &script);        // an honest packet
    void answer_receive(fuzz::Script &script); // any response to the right request
    void answer_extra(fuzz::Script &script);   // any extra-info in the next slot
    void answer_control(fuzz::Script &script); // any response on the control ring
    void settings(fuzz::Script &script);       // what the kernel wants besides packets
    void scribble(fuzz::Script &script);       // anything into a slot
    void set_index(fuzz::Script &script);
    void race(fuzz::Script &script); // changes what the core loads, as it does
    void set_state(fuzz::Script &script);
    void write_key(fuzz::Script &script);
    void switch_manners(fuzz::Script &script); // how the backend serves and maps
    void control(fuzz::Script &script);        // what the kernel does besides
    void trouble(fuzz::Script &script);        // memory and xenstored fail once
    void replace_backend();

private:
    bool connected() const { return backend && backend->connected(); }
    void check_received();

    std::vector<xen::netif::TxRequest> taken_;
    fuzz::Race race_;
};

} // namespace netfuzz
