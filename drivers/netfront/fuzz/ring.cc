// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target netfront_ring: a backend that was honest until the interface was connected. Flags
// announce more slots and extra-info in whatever order (public/io/netif.h, ring.h).
#include "interface.hpp"

namespace {

class Ring : public netfuzz::Interface {
public:
    void play(fuzz::Script &script)
    {
        begin();
        while (script.next_step())
            step(script);
        end();
    }

private:
    void step(fuzz::Script &script)
    {
        switch (script.below(20)) {
        case 0:
        case 1:
            return transmit(script);
        case 2:
            return take();
        case 3:
        case 4:
            return answer_transmit(script);
        case 5:
            return deliver(script);
        case 6:
        case 7:
        case 8:
            return answer_receive(script);
        case 9:
            return scribble(script);
        case 10:
            return set_index(script);
        case 11:
            return race(script);
        case 12:
        case 13:
            return control(script);
        case 14:
            return switch_manners(script);
        case 15:
            return set_state(script);
        case 16:
        case 17:
            return answer_extra(script);
        case 18:
            return answer_control(script);
        case 19:
            return settings(script);
        }
    }
};

} // namespace

FUZZ_TARGET(Ring)
