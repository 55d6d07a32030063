// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Serving a disk, and lying about it.
#include "blk/blk.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace backends {

using namespace xen::blk;

namespace {

constexpr unsigned sector_size = 512;

Keys merge(Keys keys, const Keys &more)
{
    for (const auto &[key, value] : more)
        keys[key] = value;
    return keys;
}

} // namespace

// ---- storage ----

Storage::Storage(const std::string &name, uint64_t bytes)
    : file_(name.empty() ? memfd_create("evilback", 0) : open(name.c_str(), O_RDWR))
{
    if (file_ >= 0 && name.empty() && ftruncate(file_, static_cast<off_t>(bytes)) != 0) {
        close(file_);
        file_ = -1;
    }
    const off_t size = file_ < 0 ? -1 : lseek(file_, 0, SEEK_END);
    if (size < 0)
        throw Failure((name.empty() ? "memory" : name) + ": " + std::strerror(errno));
    sectors_ = static_cast<uint64_t>(size) / sector_size;
}

Storage::~Storage()
{
    if (file_ >= 0)
        close(file_);
}

bool Storage::read(void *to, size_t size, uint64_t sector)
{
    return pread(file_, to, size, static_cast<off_t>(sector * sector_size)) ==
           static_cast<ssize_t>(size);
}

bool Storage::write(const void *from, size_t size, uint64_t sector)
{
    return pwrite(file_, from, size, static_cast<off_t>(sector * sector_size)) ==
           static_cast<ssize_t>(size);
}

bool Storage::flush() { return fdatasync(file_) == 0; }

uint32_t parse_vdev(const std::string &name)
{
    uint32_t disk = 0;
    const std::string letters = name.starts_with("xvd") ? name.substr(3) : "";
    for (const char letter : letters)
        disk = letter >= 'a' && letter <= 'z' ? disk * 26 + static_cast<uint32_t>(letter - 'a' + 1)
                                              : 1u << 31;
    if (disk == 0 || disk > 4096)
        throw Failure("\"" + name + "\" is not the name of a disk, as xvdq is");
    --disk;
    return disk < 16 ? 202u << 8 | disk << 4 : 1u << 28 | disk << 8;
}

// ---- connecting ----

Blk::Blk(unsigned domain, uint32_t id, Storage storage, const Keys &keys)
    : Device({domain, id, "vbd"}, {{"virtual-device", std::to_string(id)}, {"device-type", "disk"}},
             merge({{"sectors", std::to_string(storage.sectors())},
                    {"sector-size", std::to_string(sector_size)},
                    {"info", "0"},
                    {"feature-flush-cache", "1"},
                    {"mode", "w"},
                    {"device-type", "disk"},
                    {"removable", "0"}},
                   keys)),
      storage_(std::move(storage))
{
}

bool Blk::connect()
{
    const long reference = store_.read_number(front_key("ring-ref"));
    if (reference < 0)
        return false;
    page_ = Mapping(domain(), static_cast<uint32_t>(reference), true);
    if (!page_.page())
        return false;
    if (peek_) // no request yet
        ring_leaked_ = page_.non_zero_outside(0, sizeof(xen::RingHeader));
    ring_ = Ring(page_.page(), xen::page_size);
    return true;
}

void Blk::disconnect()
{
    ring_ = {};
    let_go(std::exchange(page_, Mapping()));
}

// ---- serving ----

void Blk::serve()
{
    do {
        for (Request request; ring_.get(request);)
            respond(request, perform(request));
    } while (ring_.final_check());
}

int16_t Blk::perform(const Request &request)
{
    if (request.operation == static_cast<uint8_t>(Operation::flush))
        return storage_.flush() ? status_okay : status_error;
    if (request.operation > static_cast<uint8_t>(Operation::write))
        return status_not_supported;
    if (request.segment_count > max_segments)
        return status_error;
    uint64_t sector = request.sector;
    bool well = true;
    for (unsigned i = 0; i < request.segment_count; ++i) {
        const Segment &segment = request.segments[i];
        well = well && transfer(request, segment, sector);
        sector += segment.last_sector - segment.first_sector + 1u;
    }
    return well ? status_okay : status_error;
}

bool Blk::transfer(const Request &request, const Segment &segment, uint64_t sector)
{
    const unsigned first = segment.first_sector, last = segment.last_sector;
    const bool to_guest = request.operation == static_cast<uint8_t>(Operation::read);
    Mapping mapping(domain(), segment.grant, to_guest);
    if (!mapping.page() || first > last || last >= sectors_per_page)
        return false;
    if (peek_) { // what does the guest show beside the sectors that it speaks of?
        ++pages_seen_;
        leaked_ += mapping.non_zero_outside(first * sector_size, (last + 1) * sector_size);
    }
    uint8_t *data = mapping.page() + first * sector_size;
    const size_t size = (last - first + 1) * sector_size;
    const bool well =
        to_guest ? storage_.read(data, size, sector) : storage_.write(data, size, sector);
    mapped_.push_back(std::move(mapping));
    return well;
}

void Blk::respond(const Request &request, int16_t status)
{
    const Lie lie = script_.next();
    Response response{};
    response.id = static_cast<uint64_t>(lie.get("id", static_cast<int64_t>(request.id)));
    response.operation = static_cast<uint8_t>(lie.get("op", request.operation));
    response.status = static_cast<int16_t>(lie.get("status", status));
    for (Mapping &mapping : mapped_)
        let_go(std::move(mapping));
    mapped_.clear();
    if (lie.has("drop"))
        return;
    for (int64_t i = 0; i <= lie.get("dup", 0); ++i)
        ring_.put(response);
    ++answered_;
    publish();
}

void Blk::publish()
{
    if (ring_.push())
        channel_.notify();
}

// The answers that the guest may be reading; not the requests that are still to be read.
void Blk::scribble()
{
    if (ring_.response_index() == 0)
        return;
    for (unsigned i = 0; i < 64; ++i) {
        seed_ = seed_ * 1664525 + 1013904223;
        const uint32_t back = (seed_ >> 8) % 4;
        uint8_t *slot = ring_.slot(ring_.response_index() - 1 - back);
        slot[(seed_ >> 16) % sizeof(Response)] = static_cast<uint8_t>(seed_ >> 24);
    }
}

// ---- commands ----

bool Blk::own_command(const Words &words)
{
    if (words[0] == "at") {
        if (words.size() < 2 || words[1] != "response")
            throw Failure("at response N|every FIELD[=VALUE]...");
        script_.add({words.begin() + 2, words.end()});
    } else if (words[0] == "producer") {
        lie_about_producer(only_word(words, "producer +N|-N"));
    } else if (words[0] == "peek") {
        peek_ = parse_switch(words);
        pages_seen_ = leaked_ = ring_leaked_ = 0;
    } else {
        return false;
    }
    return true;
}

void Blk::lie_about_producer(const std::string &word)
{
    if (!page_.page())
        throw Failure("not connected");
    const int64_t distance = parse_number(word.starts_with('+') ? word.substr(1) : word);
    xen::store_shared(ring_.shared().rsp_prod,
                      ring_.response_index() + static_cast<uint32_t>(distance));
    channel_.notify();
}

std::string Blk::report() const
{
    return " answered=" + std::to_string(answered_) + " pages=" + std::to_string(pages_seen_) +
           " leaked=" + std::to_string(leaked_) + " ring_leaked=" + std::to_string(ring_leaked_);
}

std::string Blk::own_help() const
{
    return "at response N|every FIELD[=VALUE]...  id= op= status= dup[=N] drop; N counts from now\n"
           "producer +N|-N          publish a wrong number of responses\n"
           "peek on|off             count pages, and bytes beside their sectors that are not 0;\n"
           "                        said before attach, those of the new ring as well\n";
}

void Blk::be_honest()
{
    script_.clear();
    peek_ = false;
}

} // namespace backends
