// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A disk, served from memory or a file (public/io/blkif.h): one ring of one page, requests of up to
// 11 segments, flush.
#pragma once

#include <blkfront/core/wire.hpp>

#include "base/device.hpp"

namespace backends {

// Where the sectors are.
class Storage {
public:
    // A file, or a device; without a name, `bytes` of memory.
    Storage(const std::string &name, uint64_t bytes);
    ~Storage();
    Storage(Storage &&other) noexcept
        : file_(std::exchange(other.file_, -1)), sectors_(other.sectors_)
    {
    }
    uint64_t sectors() const { return sectors_; }
    bool read(void *to, size_t size, uint64_t sector);
    bool write(const void *from, size_t size, uint64_t sector);
    bool flush();

private:
    int file_;
    uint64_t sectors_ = 0;
};

// "xvda" and so on: the number of the whole disk (docs/man/xen-vbd-interface).
uint32_t parse_vdev(const std::string &name);

class Blk final : public Device {
public:
    Blk(unsigned domain, uint32_t id, Storage storage, const Keys &keys);

private:
    using Ring = sim::BackRing<xen::blk::Request, xen::blk::Response>;

    bool connect() override;
    void disconnect() override;
    void serve() override;
    void scribble() override;
    bool own_command(const Words &words) override;
    std::string report() const override;
    std::string own_help() const override;
    void be_honest() override;

    int16_t perform(const xen::blk::Request &request);
    bool transfer(const xen::blk::Request &request, const xen::blk::Segment &segment,
                  uint64_t sector);
    void respond(const xen::blk::Request &request, int16_t status);
    void publish();
    void lie_about_producer(const std::string &word);

    Storage storage_;
    Mapping page_;
    Ring ring_;
    std::deque<Mapping> mapped_; // of the request at hand
    Script script_{{"id", "op", "status", "dup", "drop"}};
    bool peek_ = false;
    uint64_t answered_ = 0, pages_seen_ = 0, leaked_ = 0, ring_leaked_ = 0;
    uint32_t seed_ = 1;
};

} // namespace backends
