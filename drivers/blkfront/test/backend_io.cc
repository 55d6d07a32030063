// SPDX-License-Identifier: MIT OR GPL-2.0-only
// How the backend of backend.hpp serves requests: its cache, grants, and persistent grants.
#include <algorithm>
#include <cstring>

#include "backend.hpp"

namespace blktest {

using namespace sim;

// ---- the cache ----

// A backend that offers no way to flush has none.
void Backend::about_to_change(uint64_t sector, uint64_t sectors)
{
    if (!offers("feature-flush-cache") && !offers("feature-barrier"))
        return;
    for (uint64_t i = sector; i < sector + sectors; ++i) {
        const auto [it, is_new] = uncached_.try_emplace(i);
        if (is_new)
            std::memcpy(it->second.data(), &disk[i * 512], 512);
    }
}

void Backend::lose_power(const std::function<bool(uint64_t sector)> &keep)
{
    for (const auto &[sector, content] : uncached_)
        if (!keep(sector))
            std::memcpy(&disk[sector * 512], content.data(), 512);
    uncached_.clear();
    vanish();
}

// ---- grants ----

bool Backend::copy(uint32_t grant, unsigned offset, void *memory, unsigned length, bool to_guest)
{
    if (!persistent_)
        return to_guest ? peer_->write(grant, offset, memory, length)
                        : peer_->read(grant, offset, memory, length);
    const auto it = kept_by_grant_.find(grant);
    const bool known = it != kept_by_grant_.end();
    // For writing always: the next request may use it for anything.
    uint8_t *page = known ? it->second->page : peer_->map(grant);
    if (!page)
        return false;
    to_guest ? std::memcpy(page + offset, memory, length)
             : std::memcpy(memory, page + offset, length);
    if (known) {
        kept_.splice(kept_.begin(), kept_, it->second);
    } else if (kept_.size() < keep_at_most) {
        kept_.push_front({grant, page});
        kept_by_grant_[grant] = kept_.begin();
    } else {
        peer_->unmap(page);
    }
    return true;
}

void Backend::let_go(unsigned count)
{
    for (; count > 0 && !kept_.empty(); --count) {
        peer_->unmap(kept_.back().page);
        kept_by_grant_.erase(kept_.back().grant);
        kept_.pop_back();
    }
}

// ---- requests ----

uint8_t Backend::operation_of(const Request &request)
{
    return request.operation == op_indirect ? request.as<Indirect>().inner : request.operation;
}

std::optional<std::vector<Segment>> Backend::segments_of(const Request &request)
{
    std::vector<Segment> segments;
    if (request.operation != op_indirect) {
        if (request.segment_count > direct_segments)
            return {};
        segments.assign(request.segments, request.segments + request.segment_count);
    } else {
        const auto wire = request.as<Indirect>();
        const unsigned count = wire.segment_count;
        if (wire.inner > op_write || count > offer("feature-max-indirect-segments") ||
            count > indirect_pages * segments_per_page)
            return {};
        segments.resize(count);
        for (unsigned at = 0; at < count; at += segments_per_page) {
            const uint32_t grant = wire.grants[at / segments_per_page];
            const unsigned length = std::min(count - at, segments_per_page) * sizeof(Segment);
            declare(grant, 0, length);
            if (!copy(grant, 0, &segments[at], length, false))
                return {};
        }
    }
    for (const Segment &segment : segments)
        if (segment.first_sector > segment.last_sector || segment.last_sector > 7)
            return {};
    return segments;
}

int16_t Backend::transfer(const Request &request)
{
    const auto segments = segments_of(request);
    const bool write = operation_of(request) != op_read;
    const uint64_t limit = disk.size() / 512;
    if (!segments || request.sector > limit || (write && (offer("info") & 4) && !segments->empty()))
        return status_error;
    uint64_t sector = request.sector;
    for (const Segment &segment : *segments) {
        const unsigned offset = segment.first_sector * 512u;
        const uint64_t sectors = segment.last_sector - segment.first_sector + 1u;
        if (sectors > limit - sector)
            return status_error;
        declare(segment.grant, offset, static_cast<unsigned>(sectors) * 512);
        if (write)
            about_to_change(sector, sectors);
        if (!copy(segment.grant, offset, &disk[sector * 512], static_cast<unsigned>(sectors) * 512,
                  !write))
            return status_error;
        sector += sectors;
    }
    return status_okay;
}

// Units that are not all in the range stay as they are, unless nobody may find their content again.
int16_t Backend::discard(const Discard &request)
{
    const bool secure = request.flags & 1;
    const uint64_t limit = disk.size() / 512;
    if (!offers("feature-discard") || (secure && !offers("discard-secure")))
        return status_not_supported;
    if (request.sector > limit || request.sectors > limit - request.sector || request.flags > 1)
        return status_error;
    ++(secure ? secure_discards : discards);
    const uint64_t unit =
        secure ? 1 : std::max<uint64_t>(offer("discard-granularity", 512) / 512, 1);
    const uint64_t skew = secure ? 0 : offer("discard-alignment") / 512 % unit;
    const uint64_t end = request.sector + request.sectors;
    const uint64_t first = (request.sector + unit - 1 - skew) / unit * unit + skew;
    for (uint64_t sector = first; sector + unit <= end; sector += unit) {
        about_to_change(sector, unit);
        std::memset(&disk[sector * 512], 0, unit * 512);
        for (uint64_t i = sector; secure && i < sector + unit; ++i)
            uncached_.erase(i);
    }
    return status_okay;
}

Response Backend::serve(const Request &request)
{
    Response response{};
    response.id = request.id;
    response.operation = request.operation;
    if (const auto status = refuse ? refuse(request) : std::nullopt) {
        response.status = *status;
        return response;
    }
    switch (request.operation) {
    case op_indirect:
        ++indirect;
        [[fallthrough]];
    case op_read:
    case op_write:
        response.status = transfer(request);
        break;
    case op_barrier: // what came before is on the disk, then its own data
        ++barriers;
        response.status = offers("feature-barrier") ? transfer(request) : status_not_supported;
        if (response.status == status_okay)
            uncached_.clear();
        break;
    case op_flush:
        ++flushes;
        response.status = offers("feature-flush-cache") ? status_okay : status_not_supported;
        if (response.status == status_okay)
            uncached_.clear();
        break;
    case op_discard:
        response.status = discard(request.as<Discard>());
        break;
    default:
        response.status = status_error;
        break;
    }
    if (change)
        change(response);
    return response;
}

// ---- the rings ----

void Backend::event(unsigned queue)
{
    if (on_event)
        on_event();
    if (automatic)
        serve_queue(queue);
}

void Backend::serve_queue(unsigned queue)
{
    Request request;
    do {
        while (take(request, queue))
            respond(serve(request), queue);
    } while (queue < queues_.size() && ring(queue).final_check());
}

bool Backend::take(Request &request, unsigned queue)
{
    if (queue >= queues_.size() || !queues_[queue].ring.get(request))
        return false;
    ++queues_[queue].taken;
    return true;
}

void Backend::respond(const Response &response, unsigned queue)
{
    ring(queue).put(response);
    if (ring(queue).push())
        notify(queue);
}

void Backend::publish_producer(uint32_t rsp_prod, unsigned queue)
{
    __atomic_store_n(&ring(queue).shared().rsp_prod, rsp_prod, __ATOMIC_RELEASE);
    notify(queue);
}

} // namespace blktest
