// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target netfront_keys: the negotiation, with keys and states as the script wants them
// (public/io/netif.h, xenbus.h).
#include "interface.hpp"

namespace {

class Keys : public netfuzz::Interface {
public:
    void play(fuzz::Script &script)
    {
        begin(script);
        while (script.next_step())
            step(script);
        end();
    }

private:
    void step(fuzz::Script &script)
    {
        switch (script.below(12)) {
        case 0:
        case 1:
            return write_key(script);
        case 2:
        case 3:
        case 4:
            return set_state(script);
        case 5:
            return control(script);
        case 6:
            return trouble(script);
        case 7:
            return replace_backend();
        case 8:
            return switch_manners(script);
        case 9:
            transmit(script);
            return deliver(script);
        case 10:
            return settings(script);
        case 11:
            return answer_control(script);
        }
    }
};

} // namespace

FUZZ_TARGET(Keys)
