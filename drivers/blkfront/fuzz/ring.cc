// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Fuzz target blkfront_ring: a backend that was honest until the disk was connected
// (public/io/blkif.h, ring.h).
#include "disk.hpp"

namespace {

class Ring : public blkfuzz::Disk {
public:
    void play(fuzz::Script &script)
    {
        begin(script);
        backend->start();
        pump();
        for (unsigned i = 0; i < 2; ++i) // Initialised, Connected
            follow_with_keys();
        while (script.next_step())
            step(script);
        end();
    }

private:
    void follow_with_keys()
    {
        backend->publish_keys();
        follow();
    }

    void step(fuzz::Script &script)
    {
        switch (script.below(17)) {
        case 0:
        case 1:
        case 2:
            return submit(script);
        case 3:
        case 4:
            return take(script);
        case 5:
        case 6:
            return answer(script);
        case 7:
        case 8:
            return lie(script);
        case 9:
            return scribble(script);
        case 10:
            return set_index(script);
        case 11:
            return hold(script);
        case 12:
            return let_go();
        case 13:
            return control(script);
        case 14:
            return set_state(script);
        case 15:
            return follow();
        case 16:
            return race(script);
        }
    }
};

} // namespace

FUZZ_TARGET(Ring)
