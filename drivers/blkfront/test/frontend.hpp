// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel around the core in tests (blkfront_port.h): records what is handed up, and a fixture
// with the toolstack's entries, one backend and one disk.
#pragma once

#include <vector>

#include <blkfront/core/blkfront_port.h>
#include <xen/port.h>
#include <xen/xenstore.hpp>

#include "backend.hpp"

namespace blktest {

struct Kernel {
    struct Completion {
        void *cookie;
        blkfront_result result;
    };
    std::vector<Completion> completions;
    blkfront_geometry geometry{};
    unsigned ready = 0;
    unsigned paused = 0;
    unsigned drained = 0; // pauses with drain
    unsigned failed = 0;
    bool in_use = false;
    bool trusts = true;
    bool wake = false;
    bool detached = false; // nothing may be handed up
    std::function<void()> on_ready;
    std::function<void()> on_drain;
    std::function<void(const Completion &)> on_complete;
};

// A page of the guest's, as a buffer. It lives as long as the test, because the disk may be
// detached later than the variable goes.
struct Page {
    Page();
    Page(const Page &) = delete;
    uint8_t *data;
    blkfront_segment segment(unsigned first = 0, unsigned last = 7) const;
};

class BlkfrontTest : public sim::MachineTest {
protected:
    void SetUp() override;
    void TearDown() override;

    // The toolstack's entries, then the frontend.
    void create_disk();
    // Delivers states and work until nothing happens any more.
    void pump();
    // A connected disk with a backend.
    void connect();
    void detach();

    int submit(blkfront_operation operation, uint64_t sector,
               const std::vector<blkfront_segment> &segments, void *cookie = nullptr);
    // Submits, runs, and returns the result of the one completion.
    blkfront_result request(blkfront_operation operation, uint64_t sector,
                            const std::vector<blkfront_segment> &segments);
    // Does a read work, with the right data?
    void expect_working();
    // The device was broken by the backend: one line that contains this, no request left, no grant.
    void expect_broken(const std::string &line);

    uint64_t sectors = 2048; // of the backend's disk
    Kernel kernel;
    Backend *backend = nullptr;
    blkfront *disk = nullptr;
    unsigned grants_before = 0;
    unsigned pages_before = 0;

private:
    std::unique_ptr<Backend> backend_;
    std::vector<uint64_t> storage_;
    xen::XenbusState delivered_{};
    bool any_delivered_ = false;
};

} // namespace blktest
