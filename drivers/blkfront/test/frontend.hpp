// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The kernel around the core in tests (blkfront_port.h): records what is handed up; a disk with the
// toolstack's entries and its backend; and a fixture with one of them.
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
    bool barred = false; // nobody can open it
    // All that there can be: what a backend does not offer, it does not get.
    blkfront_wishes wishes{.trusted = true,
                           .persistent_grants = true,
                           .queues = 4,
                           .polled_queues = 0,
                           .ring_page_order = BLKFRONT_MAX_RING_PAGE_ORDER,
                           .segments = BLKFRONT_MAX_SEGMENTS};
    bool wake = false;
    bool wake_later = false;
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

// After all disks of the test are detached.
void free_pages();

// Of a request, what is not usual.
struct Options {
    uint16_t queue = 0;
    bool polled = false;
    bool last = true;
    uint64_t sectors = 0; // of a discard
};

// A disk of the running machine.
class DiskRig {
public:
    explicit DiskRig(unsigned number = disk_number);

    // The toolstack's entries, then the frontend.
    void create_disk();
    // Detaches the disk, if the test did not; the backend lets go of all.
    void end();
    // Delivers a state and work, once. False: there is nothing to deliver.
    bool turn();
    // Runs machine and disk until nothing happens any more.
    void pump();
    // The same after a second.
    void later();
    // A connected disk with a backend.
    void connect();
    void detach();
    // A backend that is there no more starts, from the beginning.
    void restart_backend();
    // The backend dies; an honest one with the same disk connects.
    void replace_backend();

    int submit(blkfront_operation operation, uint64_t sector,
               const std::vector<blkfront_segment> &segments, void *cookie = nullptr,
               const Options &options = {});
    // Submits, runs, and returns the result of the one completion.
    blkfront_result request(blkfront_operation operation, uint64_t sector,
                            const std::vector<blkfront_segment> &segments,
                            const Options &options = {});
    blkfront_statistics statistics(uint16_t queue = 0) const;
    // Does a read work, with the right data?
    void expect_working();
    // What the frontend says of its rings in xenstore is this, and nothing is left of other rings.
    void expect_transport(unsigned queues, unsigned ring_pages) const;
    // The device was broken by the backend: one line that contains this, no request left, no grant.
    void expect_broken(const std::string &line);

    uint64_t sectors = 2048; // of the backend's disk
    Kernel kernel;
    Backend *backend = nullptr;
    blkfront *disk = nullptr;

private:
    const unsigned number_;
    const std::string node_;
    const std::string backend_dir_;
    std::unique_ptr<Backend> backend_;
    std::vector<uint64_t> storage_;
    xen::XenbusState delivered_{};
    bool any_delivered_ = false;
    bool written_ = false; // the backend's state, maybe as it was
    unsigned watch_ = 0;
};

class BlkfrontTest : public sim::MachineTest, protected DiskRig {
protected:
    void SetUp() override;
    void TearDown() override;

    unsigned grants_before = 0;
    unsigned pages_before = 0;
};

} // namespace blktest
