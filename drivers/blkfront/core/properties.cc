// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Reading and checking the backend's keys (public/io/blkif.h).
#include "properties.hpp"

#include <xen/format.hpp>
#include <xen/xenstore.hpp>

#include "wire.hpp"

namespace xen::blk {

namespace {

// A size in bytes has to fit into 63 bits.
constexpr uint64_t sectors_limit = uint64_t{1} << (63 - 9);
constexpr uint64_t physical_limit = 1u << 20;
constexpr uint64_t granularity_limit = uint64_t{1} << 31;

constexpr bool power_of_two(uint64_t n) { return n && !(n & (n - 1)); }

class Keys {
public:
    // What cannot be has the disk refused, or only a discard.
    Keys(const char *node, const char *backend, bool needed)
        : node_(node), backend_(backend), needed_(needed)
    {
    }

    Result<uint64_t> required(const char *key) const { return read(key, nullptr); }
    Result<uint64_t> optional(const char *key, uint64_t fallback) const
    {
        return read(key, &fallback);
    }

    Result<bool> flag(const char *key) const
    {
        const uint64_t value = TRY(optional(key, 0));
        if (value > 1)
            return refuse(key, value);
        return value == 1;
    }

    // A key's value cannot be.
    Error refuse(const char *key, uint64_t value) const
    {
        Line line;
        log(begin(line, key).text(" is ").number(value));
        return Error::protocol;
    }

private:
    Result<uint64_t> read(const char *key, const uint64_t *fallback) const
    {
        auto number = xenstore::read_number({}, backend_, key);
        if (number.error() == Error::no_entry && fallback)
            return *fallback;
        if (!number.ok())
            report(key, number.error());
        return number;
    }

    void report(const char *key, Error error) const
    {
        Line line;
        begin(line, key);
        if (error == Error::no_entry) {
            log(line.text(" is missing"));
        } else if (error == Error::invalid) {
            // Read once more, for this message alone.
            auto text = xenstore::read({}, backend_, key);
            line.text(" is \"").untrusted(text.value().data, text.value().length);
            log(line.text("\""));
        } else {
            log(line.text(" cannot be read, error ").number(static_cast<unsigned>(error)));
        }
    }

    TextBuilder &begin(TextBuilder &line, const char *key) const
    {
        return line.text(node_)
            .text(needed_ ? ": refused, the backend's " : ": no discard, the backend's ")
            .text(key);
    }

    void log(const TextBuilder &line) const { needed_ ? log_error(line) : log_warning(line); }

    const char *node_;
    const char *backend_;
    bool needed_;
};

uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Pages of a ring: the largest power of two that the backend can do, up to what is wished. There
// are two schemes, of which a backend announces one or both (notes 1 to 3 of the header).
Result<unsigned> read_ring_pages(const Keys &keys, unsigned wished)
{
    constexpr uint64_t absent = UINT64_MAX;
    const uint64_t order = TRY(keys.optional("max-ring-page-order", absent));
    const uint64_t pages = TRY(keys.optional("max-ring-pages", 1));
    const uint64_t most = order == absent ? pages : uint64_t{1} << least(order, 31);
    uint64_t result = 1;
    while (result * 2 <= least(most, wished))
        result *= 2;
    return static_cast<unsigned>(result);
}

Status read_flush(const Keys &keys, blkfront_geometry &geometry)
{
    const bool flush = TRY(keys.flag("feature-flush-cache"));
    const bool barrier = TRY(keys.flag("feature-barrier"));
    geometry.flush = flush ? BLKFRONT_FLUSH_CACHE : barrier ? BLKFRONT_BARRIER : BLKFRONT_NO_FLUSH;
    return {};
}

// On an error there is no discard.
Status read_discard(const Keys &keys, blkfront_geometry &geometry)
{
    if (!TRY(keys.flag("feature-discard")))
        return {};
    const uint64_t granularity = TRY(keys.optional("discard-granularity", geometry.sector_size));
    const uint64_t alignment = TRY(keys.optional("discard-alignment", 0));
    const bool secure = TRY(keys.flag("discard-secure"));
    if (!power_of_two(granularity) || granularity < geometry.sector_size ||
        granularity > granularity_limit)
        return keys.refuse("discard-granularity", granularity);
    if (alignment >= granularity || alignment % geometry.sector_size)
        return keys.refuse("discard-alignment", alignment);
    geometry.discard_granularity = static_cast<uint32_t>(granularity);
    geometry.discard_alignment = static_cast<uint32_t>(alignment);
    geometry.secure_discard = secure;
    return {};
}

} // namespace

Result<Layout> read_layout(const char *node, const char *backend, const blkfront_wishes &wishes)
{
    const Keys keys(node, backend, true);
    const uint64_t max_queues = TRY(keys.optional("multi-queue-max-queues", 1));
    const unsigned most =
        static_cast<unsigned>(least(max_queues ? max_queues : 1, BLKFRONT_MAX_QUEUES));
    Layout layout;
    layout.ring_pages = TRY(
        read_ring_pages(keys, 1u << least(wishes.ring_page_order, BLKFRONT_MAX_RING_PAGE_ORDER)));
    layout.polled_queues = static_cast<unsigned>(least(wishes.polled_queues, most - 1));
    layout.queues = static_cast<unsigned>(
        least(wishes.queues ? wishes.queues : 1, most - layout.polled_queues));
    return layout;
}

Result<blkfront_geometry> read_properties(const char *node, const char *backend)
{
    const Keys keys(node, backend, true);
    const uint64_t sectors = TRY(keys.required("sectors"));
    const uint64_t sector_size = TRY(keys.required("sector-size"));
    const uint64_t info = TRY(keys.optional("info", 0));
    const uint64_t physical = TRY(keys.optional("physical-sector-size", sector_size));
    const uint64_t segments = TRY(keys.optional("feature-max-indirect-segments", 0));

    if (!power_of_two(sector_size) || sector_size < 512 || sector_size > page_size)
        return keys.refuse("sector-size", sector_size);
    if (!power_of_two(physical) || physical < sector_size || physical > physical_limit)
        return keys.refuse("physical-sector-size", physical);
    if (sectors >= sectors_limit || sectors % (sector_size / 512))
        return keys.refuse("sectors", sectors);
    if (info > UINT32_MAX)
        return keys.refuse("info", info);

    blkfront_geometry geometry{};
    geometry.sectors = sectors;
    geometry.sector_size = static_cast<uint32_t>(sector_size);
    geometry.physical_sector_size = static_cast<uint32_t>(physical);
    geometry.read_only = info & info_read_only;
    geometry.removable = info & info_removable;
    geometry.cdrom = info & info_cdrom;
    geometry.persistent_grants = TRY(keys.flag("feature-persistent"));
    geometry.segments = static_cast<uint16_t>(
        segments > max_segments ? least(segments, max_indirect_segments) : max_segments);
    TRY(read_flush(keys, geometry));
    read_discard({node, backend, false}, geometry).take();

    auto type = xenstore::read({}, node, "device-type");
    geometry.cdrom |= type.ok() && text_equal(type.value().c_str(), "cdrom");
    return geometry;
}

} // namespace xen::blk
