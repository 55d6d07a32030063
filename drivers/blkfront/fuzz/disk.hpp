// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A disk whose backend and whose users follow a script, byte by byte (public/io/blkif.h). Whatever
// it says: each request completes once, nothing hangs or leaks, and an honest backend heals the
// disk.
#pragma once

#include <set>

#include <blkfront/test/frontend.hpp>
#include <hypercall/fuzz/race.hpp>

namespace blkfuzz {

class Disk : public blktest::BlkfrontTest {
protected:
    void TestBody() override {}

    // The fixture's own part of a run: before and after the script.
    void begin(fuzz::Script &script);
    void end();

    // Steps that a script is made of.
    void submit(fuzz::Script &script);
    void take(fuzz::Script &script);     // the backend notes the next request
    void answer(fuzz::Script &script);   // one of those, as it should be
    void lie(fuzz::Script &script);      // the same, changed
    void scribble(fuzz::Script &script); // anything into the ring page
    void set_index(fuzz::Script &script);
    void race(fuzz::Script &script); // changes what the core loads, as it does
    void set_state(fuzz::Script &script);
    void follow(); // reacts to the frontend's state as a backend does
    void write_key(fuzz::Script &script);
    void hold(fuzz::Script &script); // maps a page of a request and keeps it
    void let_go();
    void control(fuzz::Script &script); // what the kernel does besides
    void trouble(fuzz::Script &script); // memory and xenstored fail once

private:
    void completed(const blktest::Kernel::Completion &completion);
    struct Taken {
        blktest::Request request;
        unsigned queue;
    };
    Taken *taken(fuzz::Script &script);
    void vanish();
    void heal();

    fuzz::Race race_;
    static constexpr unsigned page_count = 4;
    std::vector<std::unique_ptr<blktest::Page>> pages_;
    std::vector<Taken> taken_;
    std::vector<uint8_t *> held_;
    std::set<uintptr_t> outstanding_;
    uintptr_t cookies_ = 0;
};

} // namespace blkfuzz
