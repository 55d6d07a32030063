// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Puts frames on an interface exactly as they are in a file, and takes down those that come:
//
//   wire send INTERFACE FILE
//   wire receive INTERFACE FILE    says "ready"; ends half a second after the last frame
//
// Each record of a file is a frame's size (4 bytes, as this machine has them), a struct
// virtio_net_hdr, which says what is left to do with the frame (a checksum, to be cut into
// segments), and the frame. Received are those frames whose source address begins with 02:77.
// lab/wire.py makes the files and judges what arrived.
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr size_t header_size = 10;      // of a struct virtio_net_hdr, whose header is no C++
constexpr size_t largest = 1 << 17;     // of a frame
constexpr size_t pause_each = 32 << 10; // bytes, so that no queue on the way overflows
constexpr useconds_t pause_us = 500;
constexpr int first_ms = 30'000, idle_ms = 500;
constexpr int socket_buffer = 64 << 20;

[[noreturn]] void die(const std::string &what)
{
    std::printf("wire: %s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(2);
}

int open_socket(const char *interface)
{
    const int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    const int on = 1, buffer = socket_buffer;
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
        die("socket");
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    if (!address.sll_ifindex ||
        bind(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address))
        die(interface);
    return fd;
}

int send_all(int fd, std::FILE *file)
{
    std::vector<char> record(largest + header_size);
    unsigned sent = 0;
    size_t since = 0; // the last pause, in bytes
    for (uint32_t size; std::fread(&size, sizeof size, 1, file) == 1; ++sent) {
        const size_t whole = header_size + size;
        if (size > largest || std::fread(record.data(), whole, 1, file) != 1)
            die("the file's end");
        while (write(fd, record.data(), whole) != static_cast<ssize_t>(whole)) {
            if (errno != ENOBUFS) // a queue is full
                die("frame " + std::to_string(sent) + " of " + std::to_string(size) + " bytes");
            usleep(pause_us);
        }
        since += whole;
        if (since >= pause_each) {
            usleep(pause_us);
            since = 0;
        }
    }
    std::printf("sent %u\n", sent);
    return 0;
}

bool wanted(const sockaddr_ll &from, const char *frame, size_t size)
{
    return from.sll_pkttype != PACKET_OUTGOING && size >= ETH_HLEN && frame[6] == 0x02 &&
           frame[7] == 0x77;
}

int receive_all(int fd, std::FILE *file)
{
    std::vector<char> record(largest + header_size);
    unsigned received = 0;
    std::puts("ready");
    std::fflush(stdout);
    pollfd event{fd, POLLIN, 0};
    // The time of other frames counts as well: nobody else talks on these interfaces for long.
    while (poll(&event, 1, received ? idle_ms : first_ms) > 0) {
        sockaddr_ll from{};
        socklen_t length = sizeof from;
        const ssize_t whole = recvfrom(fd, record.data(), record.size(), MSG_TRUNC,
                                       reinterpret_cast<sockaddr *>(&from), &length);
        if (whole < static_cast<ssize_t>(header_size) || static_cast<size_t>(whole) > record.size())
            die("receive");
        const auto size = static_cast<uint32_t>(whole - static_cast<ssize_t>(header_size));
        if (!wanted(from, record.data() + header_size, size))
            continue;
        if (std::fwrite(&size, sizeof size, 1, file) != 1 ||
            std::fwrite(record.data(), static_cast<size_t>(whole), 1, file) != 1)
            die("write");
        ++received;
    }
    tpacket_stats lost{};
    socklen_t length = sizeof lost;
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &lost, &length))
        die("statistics");
    std::printf("received %u, lost %u\n", received, lost.tp_drops);
    return lost.tp_drops != 0;
}

} // namespace

int main(int count, char **words)
{
    const std::string command = count == 4 ? words[1] : "";
    if (command != "send" && command != "receive") {
        std::puts("usage: wire send|receive INTERFACE FILE");
        return 2;
    }
    const bool send = command == "send";
    std::FILE *file = std::fopen(words[3], send ? "rb" : "wb");
    if (!file)
        die(words[3]);
    const int fd = open_socket(words[2]);
    const int result = send ? send_all(fd, file) : receive_all(fd, file);
    if (std::fclose(file))
        die(words[3]);
    return result;
}
