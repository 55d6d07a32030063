// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Two domains speak over libxenvchan (Debian's own, unchanged): `vchan serve PEER PATH RING` sends
// back what it gets, over rings of so many bytes, until the other end goes, and says "closed after
// N"; `vchan ask PEER PATH BYTES` sends so many (0: until it is killed), and says "right N" if all
// came back.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include <libxenvchan.h>
}

namespace {

constexpr size_t chunk_max = 4096;

int fail(const char *what)
{
    std::perror(what);
    return 1;
}

int serve(libxenvchan *channel)
{
    uint64_t total = 0;
    char data[chunk_max];
    for (;;) {
        const int got = libxenvchan_read(channel, data, sizeof(data));
        if (got < 0)
            break;
        if (libxenvchan_send(channel, data, static_cast<size_t>(got)) != got)
            break;
        total += static_cast<uint64_t>(got);
    }
    std::printf("closed after %lu\n", static_cast<unsigned long>(total));
    return 0;
}

int ask(libxenvchan *channel, uint64_t bytes)
{
    uint64_t total = 0, random = 88172645463325252;
    unsigned char sent[chunk_max], got[chunk_max];
    while (bytes == 0 || total < bytes) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const size_t size = 1 + random % (chunk_max / 4);
        for (size_t i = 0; i < size; i++)
            sent[i] = static_cast<unsigned char>(random >> i % 57);
        if (libxenvchan_send(channel, sent, size) != static_cast<int>(size) ||
            libxenvchan_recv(channel, got, size) != static_cast<int>(size))
            return fail("the other end has gone");
        if (std::memcmp(sent, got, size) != 0) {
            std::printf("wrong after %lu\n", static_cast<unsigned long>(total));
            return 1;
        }
        total += size;
    }
    std::printf("right %lu\n", static_cast<unsigned long>(total));
    return 0;
}

} // namespace

int main(int count, char **words)
{
    const bool asks = count == 5 && std::strcmp(words[1], "ask") == 0;
    if (!asks && (count != 5 || std::strcmp(words[1], "serve") != 0)) {
        std::fputs("vchan serve PEER PATH RING | vchan ask PEER PATH BYTES\n", stderr);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const int peer = std::atoi(words[2]);
    const size_t number = std::strtoul(words[4], nullptr, 0);
    libxenvchan *channel = asks ? libxenvchan_client_init(nullptr, peer, words[3])
                                : libxenvchan_server_init(nullptr, peer, words[3], number, number);
    if (channel == nullptr)
        return fail("libxenvchan");
    channel->blocking = 1;
    const int rc = asks ? ask(channel, number) : serve(channel);
    libxenvchan_close(channel);
    return rc;
}
