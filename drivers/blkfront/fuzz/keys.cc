// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target blkfront_keys: the negotiation, with keys and states as the script wants them
// (public/io/blkif.h, xenbus.h).
#include "disk.hpp"

namespace {

class Keys : public blkfuzz::Disk {
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
        case 2:
            return write_key(script);
        case 3:
        case 4:
        case 5:
            return set_state(script);
        case 6:
        case 7:
            return follow();
        case 8:
            return control(script);
        case 9:
            return trouble(script);
        case 10:
            submit(script);
            return take(script);
        case 11:
            return answer(script);
        }
    }
};

} // namespace

FUZZ_TARGET(Keys)
