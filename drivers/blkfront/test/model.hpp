// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What a disk may hold, for tests of its content: each sector has numbered versions, of which it is
// known which one a read shows, and which ones may be there after a loss of power.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace blktest {

class Model {
public:
    explicit Model(uint64_t sectors) : sectors_(sectors) {}

    uint64_t size() const { return sectors_.size(); }
    void resize(uint64_t sectors) { sectors_.resize(sectors); }

    // Another version than all that were: of written or, if `zero`, discarded sectors.
    uint32_t next_version(bool zero)
    {
        zero_.push_back(zero);
        return static_cast<uint32_t>(zero_.size() - 1);
    }

    void content(uint64_t sector, uint32_t version, uint8_t *to) const
    {
        if (zero_[version]) {
            std::memset(to, 0, 512);
            return;
        }
        uint64_t state = (sector << 24 ^ version) * 0x9e3779b97f4a7c15 + 1;
        for (unsigned i = 0; i < 512; i += 8) {
            state = state * 6364136223846793005 + 1442695040888963407;
            std::memcpy(to + i, &state, 8);
        }
    }

    // It is on its way.
    void started(uint64_t sector, uint32_t version) { at(sector).possible.insert(version); }
    // It is what a read shows.
    void finished(uint64_t sector, uint32_t version)
    {
        at(sector).current = version;
        at(sector).known = true;
    }
    // It may have happened or not.
    void unclear(uint64_t sector) { at(sector).known = false; }
    // And survives everything.
    void secured(uint64_t sector, uint32_t version)
    {
        at(sector) = {.possible = {version}, .current = version};
    }

    void power_lost()
    {
        for (Sector &sector : sectors_)
            sector.known = false;
    }

    // What a flush that starts now will make permanent, and that it did.
    using Snapshot = std::vector<std::optional<uint32_t>>;
    Snapshot snapshot() const
    {
        Snapshot all;
        for (const Sector &sector : sectors_)
            all.push_back(sector.known ? std::optional(sector.current) : std::nullopt);
        return all;
    }
    void flushed(const Snapshot &snapshot)
    {
        for (size_t i = 0; i < std::min(snapshot.size(), sectors_.size()); ++i)
            if (snapshot[i])
                std::erase_if(sectors_[i].possible,
                              [&](uint32_t version) { return version < *snapshot[i]; });
    }

    // A read shows this: empty if that can be, or what is wrong. It is known from then on.
    std::string seen(uint64_t sector, const uint8_t *bytes)
    {
        Sector &entry = at(sector);
        uint8_t expected[512];
        // The last version that looks like it: of several discards nobody knows which one it was.
        for (auto it = entry.possible.rbegin(); it != entry.possible.rend(); ++it) {
            if (entry.known && *it != entry.current)
                continue;
            content(sector, *it, expected);
            if (std::memcmp(bytes, expected, 512) == 0) {
                finished(sector, *it);
                return {};
            }
        }
        std::string text = "sector " + std::to_string(sector) + " is neither of";
        for (const uint32_t version : entry.possible)
            if (!entry.known || version == entry.current)
                text += " " + std::to_string(version);
        for (uint32_t version = 0; version < zero_.size(); ++version) {
            content(sector, version, expected);
            if (std::memcmp(bytes, expected, 512) == 0)
                return text + " but " + std::to_string(version);
        }
        return text;
    }

private:
    struct Sector {
        std::set<uint32_t> possible = {0};
        uint32_t current = 0;
        bool known = true;
    };

    Sector &at(uint64_t sector) { return sectors_.at(sector); }

    std::vector<Sector> sectors_;
    std::vector<bool> zero_ = {false}; // of each version
};

} // namespace blktest
