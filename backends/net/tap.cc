// SPDX-License-Identifier: MIT OR GPL-2.0-only
// A tap device of dom0's Linux, with a header in front of each packet that can leave a checksum
// open (linux/virtio_net.h).
#include "net/net.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace backends {

namespace {

// struct virtio_net_hdr, whose own header is not C++.
struct PacketHeader {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_length;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset; // from there
};
static_assert(sizeof(PacketHeader) == 10);
constexpr uint8_t needs_csum = 1;

Failure failure(const std::string &what) { return Failure(what + ": " + std::strerror(errno)); }

void put_on_bridge(const std::string &name, const std::string &bridge)
{
    const int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq up{}, member{};
    std::strncpy(up.ifr_name, name.c_str(), IFNAMSIZ - 1);
    std::strncpy(member.ifr_name, bridge.c_str(), IFNAMSIZ - 1);
    member.ifr_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
    up.ifr_flags = IFF_UP;
    const bool done =
        ioctl(socket_fd, SIOCBRADDIF, &member) == 0 && ioctl(socket_fd, SIOCSIFFLAGS, &up) == 0;
    const Failure why = failure("bridge " + bridge);
    close(socket_fd);
    if (!done)
        throw why;
}

// Where the checksum of an IPv4 packet's TCP or UDP header is and what it covers.
PacketHeader describe(const uint8_t *packet, size_t size)
{
    constexpr size_t ethernet = xen::netif::ethernet_header;
    PacketHeader header{};
    if (size < ethernet + 20 || packet[12] != 8 || packet[13] != 0)
        return header;
    const uint8_t protocol = packet[ethernet + 9];
    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
        return header;
    header.flags = needs_csum;
    header.csum_start = static_cast<uint16_t>(ethernet + (packet[ethernet] & 15u) * 4);
    header.csum_offset = protocol == IPPROTO_TCP ? 16 : 6;
    return header;
}

} // namespace

Tap::Tap(const std::string &name, const std::string &bridge)
    : fd_(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC))
{
    if (fd_ < 0)
        throw failure("/dev/net/tun (is the module tun loaded?)");
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    if (ioctl(fd_, TUNSETIFF, &request) != 0) {
        const Failure why = failure("tap device " + name);
        close(fd_);
        throw why;
    }
    try {
        put_on_bridge(name, bridge);
    } catch (...) {
        close(fd_);
        throw;
    }
}

Tap::~Tap() { close(fd_); }

size_t Tap::receive(uint8_t *packet, size_t size)
{
    PacketHeader header;
    iovec parts[] = {{&header, sizeof header}, {packet, size}};
    const ssize_t count = readv(fd_, parts, 2);
    return count > static_cast<ssize_t>(sizeof header) ? static_cast<size_t>(count) - sizeof header
                                                       : 0;
}

void Tap::send(const uint8_t *packet, size_t size, bool blank)
{
    PacketHeader header = blank ? describe(packet, size) : PacketHeader{};
    iovec parts[] = {{&header, sizeof header}, {const_cast<uint8_t *>(packet), size}};
    // A packet that the bridge does not take is lost, as on any network.
    if (writev(fd_, parts, 2) < 0)
        return;
}

} // namespace backends
