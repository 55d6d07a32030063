// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What every fuzz target shares: the input as a script, read front to back and zero behind its end,
// and a run that stops at the first expectation which does not hold. Speaks no part of Xen's
// interface.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace fuzz {

class Script {
public:
    Script(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}

    bool done() const { return at_ == end_; }
    // Is there another step? Of no more than these: none takes long, and neither does an input.
    bool next_step() { return !done() && steps_++ < steps_max; }
    uint8_t byte() { return done() ? 0 : *at_++; }
    unsigned below(unsigned limit) { return byte() % limit; }

    // Little-endian, of so many bytes.
    uint64_t number(unsigned bytes)
    {
        uint64_t value = 0;
        for (unsigned i = 0; i < bytes; ++i)
            value |= uint64_t{byte()} << (8 * i);
        return value;
    }

    // A number that is right, nearly right, at an edge, or anything.
    uint64_t near(uint64_t right)
    {
        constexpr uint64_t edges[] = {
            0, 0x7fff, 0xffff, 0x7fffffff, 0x80000000u, 0xffffffff, uint64_t{1} << 63, UINT64_MAX};
        const uint8_t kind = byte();
        if (kind < 0x40)
            return right + kind;
        if (kind < 0x80)
            return right - (kind - 0x40);
        if (kind < 0xc0)
            return edges[kind % std::size(edges)];
        if (kind < 0xe0)
            return right ^ uint64_t { 1 } << (kind % 64);
        return number(8);
    }

    std::vector<uint8_t> bytes(size_t size)
    {
        std::vector<uint8_t> taken(size);
        for (uint8_t &one : taken)
            one = byte();
        return taken;
    }

    // A key's value: one of those that parsers get wrong, or any text.
    std::string text()
    {
        static const std::string odd[] = {
            "",
            "0",
            "1",
            "2",
            "512",
            "4096",
            "2048",
            " 1",
            "1 ",
            "+1",
            "-1",
            "01",
            "0x10",
            "x",
            "1x",
            "65535",
            "65536",
            "4294967295",
            "4294967296",
            "9223372036854775807",
            "18446744073709551615",
            "18446744073709551616",
            std::string(1, '\0'),
            std::string("1\0", 2),
            std::string(255, '9'),
            std::string(3000, '1'),
            std::string(4000, 'x'),
        };
        const uint8_t kind = byte();
        if (kind < std::size(odd))
            return odd[kind];
        const auto raw = bytes(kind % 24);
        return {raw.begin(), raw.end()};
    }

private:
    static constexpr unsigned steps_max = 256;

    const uint8_t *at_;
    const uint8_t *end_;
    unsigned steps_ = 0;
};

// Readies the process: the first expectation that fails ends it. For a static of each target.
bool stop_at_failures();

// The xenstore client as after start-up, so that an input means the same whatever ran before it.
void forget_store_client();

} // namespace fuzz

// Defines the target: `Rig` is a test fixture with a play(Script &).
#define FUZZ_TARGET(Rig)                                                                           \
    extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                        \
    {                                                                                              \
        static const bool ready = fuzz::stop_at_failures();                                        \
        (void)ready;                                                                               \
        fuzz::forget_store_client();                                                               \
        fuzz::Script script(data, size);                                                           \
        Rig().play(script);                                                                        \
        return 0;                                                                                  \
    }
