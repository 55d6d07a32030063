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

constexpr bool power_of_two(uint64_t n) { return n && !(n & (n - 1)); }

class Keys {
public:
    Keys(const char *node, const char *backend) : node_(node), backend_(backend) {}

    Result<uint64_t> required(const char *key) const { return read(key, nullptr); }
    Result<uint64_t> optional(const char *key, uint64_t fallback) const
    {
        return read(key, &fallback);
    }

    // A key's value cannot be.
    Error refuse(const char *key, uint64_t value) const
    {
        Line line;
        log_error(begin(line, key).text(" is ").number(value));
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
            log_error(line.text(" is missing"));
        } else if (error == Error::invalid) {
            // Read once more, for this message alone.
            auto text = xenstore::read({}, backend_, key);
            line.text(" is \"").untrusted(text.value().data, text.value().length);
            log_error(line.text("\""));
        } else {
            log_error(line.text(" cannot be read, error ").number(static_cast<unsigned>(error)));
        }
    }

    TextBuilder &begin(TextBuilder &line, const char *key) const
    {
        return line.text(node_).text(": refused, the backend's ").text(key);
    }

    const char *node_;
    const char *backend_;
};

} // namespace

Result<blkfront_geometry> read_properties(const char *node, const char *backend)
{
    const Keys keys(node, backend);
    const uint64_t sectors = TRY(keys.required("sectors"));
    const uint64_t sector_size = TRY(keys.required("sector-size"));
    const uint64_t info = TRY(keys.optional("info", 0));
    const uint64_t physical = TRY(keys.optional("physical-sector-size", sector_size));
    const uint64_t flush = TRY(keys.optional("feature-flush-cache", 0));

    if (!power_of_two(sector_size) || sector_size < 512 || sector_size > page_size)
        return keys.refuse("sector-size", sector_size);
    if (!power_of_two(physical) || physical < sector_size || physical > physical_limit)
        return keys.refuse("physical-sector-size", physical);
    if (sectors >= sectors_limit || sectors % (sector_size / 512))
        return keys.refuse("sectors", sectors);
    if (info > UINT32_MAX)
        return keys.refuse("info", info);
    if (flush > 1)
        return keys.refuse("feature-flush-cache", flush);

    blkfront_geometry geometry{};
    geometry.sectors = sectors;
    geometry.sector_size = static_cast<uint32_t>(sector_size);
    geometry.physical_sector_size = static_cast<uint32_t>(physical);
    geometry.read_only = info & info_read_only;
    geometry.flush = flush;
    return geometry;
}

} // namespace xen::blk
