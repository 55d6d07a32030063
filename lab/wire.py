# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Frames that are sent over an interface, and the judge of what arrived.

A frame's source address is 02:77, the kind's number, a run's number and the frame's, so that what arrives
can be told apart whatever it is: TCP, UDP, ICMP, over IPv4 and IPv6, or none of them. lab/programs/wire.cc
sends and receives; tcpdump's files are judged as well.
"""

import io
import random
import struct
from typing import NamedTuple

import dpkt

PREFIX = b"\x02\x77"
ETHERNET, LARGEST = 14, 65535
RAW_TYPE = 0x88b5  # for experiments
# Nobody's addresses: whoever receives these packets drops them, after everybody could look.
ADDRESSES = {4: (b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"),
             6: (b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02")}
KINDS = ["raw", "tcp4", "udp4", "icmp4", "tcp6", "udp6", "icmp6"]
HEADERS = {"raw": 0, "tcp4": 40, "udp4": 28, "icmp4": 28, "tcp6": 60, "udp6": 48, "icmp6": 48}
# struct virtio_net_hdr: flags, kind of segments, bytes of headers, bytes of a segment, checksum's place
VNET = struct.Struct("<BBHHHH")
SIZE = struct.Struct("<I")
NEEDS_CHECKSUM, VALIDATED = 1, 2
SEGMENTS = {"tcp4": 1, "tcp6": 4}
CHECKSUM_AT = {"tcp": 16, "udp": 6}
# Bits of a TCP header that only a frame's last segment has.
LAST_ALONE = dpkt.tcp.TH_PUSH | dpkt.tcp.TH_FIN


class Frame(NamedTuple):
    kind: str
    number: int
    payload: bytes
    to: bytes = bytes(6)
    blank: bool = False   # the checksum is left to the other side
    segment: int = 0      # bytes of payload in a segment; 0: it is not to be cut
    linear: int = 0       # bytes that the sender's kernel keeps in one piece
    run: int = 0

    @property
    def source(self):
        return PREFIX + bytes([KINDS.index(self.kind), self.run]) + self.number.to_bytes(2, "big")

    def bytes(self, blank, start=0, end=None, ip_id=0, flags=None):
        """The frame, or the segment of it that has so much of its payload."""
        payload = self.payload[start:end]
        if self.kind == "raw":
            return self.to + self.source + RAW_TYPE.to_bytes(2, "big") + payload
        transport = self.transport(payload, start, flags)
        source, destination = ADDRESSES[int(self.kind[-1])]
        if self.kind[-1] == "4":
            # dpkt adds no checksum to ICMP's, which has its own.
            packet = dpkt.ip.IP(src=source, dst=destination, p=self.protocol(), id=ip_id, ttl=64,
                                df=1, data=transport)
        else:
            packet = dpkt.ip6.IP6(src=source, dst=destination, nxt=self.protocol(), hlim=64,
                                  plen=len(transport), data=transport)
        data = bytearray(bytes(dpkt.ethernet.Ethernet(dst=self.to, src=self.source, data=packet,
                                                      type=0x800 if self.kind[-1] == "4" else 0x86dd)))
        if blank:
            at = self.transport_at() + CHECKSUM_AT[self.kind[:3]]
            data[at:at + 2] = pseudo_sum(source, destination, self.protocol(), len(transport))
        return bytes(data)

    def protocol(self):
        return {"tcp4": 6, "udp4": 17, "icmp4": 1, "tcp6": 6, "udp6": 17, "icmp6": 58}[self.kind]

    def transport(self, payload, start, flags):
        if self.kind.startswith("tcp"):
            last = dpkt.tcp.TH_ACK | dpkt.tcp.TH_PUSH
            return dpkt.tcp.TCP(sport=40000, dport=9, seq=self.sequence() + start, ack=1, win=1000,
                                flags=last if flags is None else flags, data=payload)
        if self.kind.startswith("udp"):
            return dpkt.udp.UDP(sport=40000, dport=9, ulen=8 + len(payload), data=payload)
        echo = dpkt.icmp.ICMP.Echo(id=self.number, seq=1, data=payload)
        return dpkt.icmp.ICMP(type=8, data=echo) if self.kind == "icmp4" else \
            dpkt.icmp6.ICMP6(type=128, data=dpkt.icmp6.ICMP6.Echo(id=self.number, seq=1, data=payload))

    def sequence(self):
        return self.number << 16

    def transport_at(self):
        return ETHERNET + (20 if self.kind[-1] == "4" else 40)

    def header(self):
        """What the kernel of the sender is told."""
        at = self.transport_at() if self.kind != "raw" else 0
        place = (at, CHECKSUM_AT[self.kind[:3]]) if self.blank else (0, 0)
        if self.segment:
            return VNET.pack(NEEDS_CHECKSUM, SEGMENTS[self.kind], ETHERNET + HEADERS[self.kind],
                             self.segment, *place)
        return VNET.pack(NEEDS_CHECKSUM if self.blank else 0, 0, self.linear, 0, *place)


def pseudo_sum(source, destination, protocol, length):
    """What a blank checksum holds: the sum of the pseudo header."""
    words = source + destination + struct.pack(">IHBB", length, 0, 0, protocol)
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total.to_bytes(2, "big")


def pack(frames):
    """The file for wire send."""
    parts = []
    for frame in frames:
        data = frame.bytes(frame.blank)
        parts += [SIZE.pack(len(data)), frame.header(), data]
    return b"".join(parts)


class Arrived(NamedTuple):
    data: bytes
    blank: bool = None    # None: not known
    segment: int = 0


def read_received(data):
    """A file of wire receive."""
    arrived, at = [], 0
    while at < len(data):
        size, = SIZE.unpack_from(data, at)
        flags, kind, _, segment, _, _ = VNET.unpack_from(data, at + SIZE.size)
        at += SIZE.size + VNET.size
        arrived.append(Arrived(data[at:at + size], bool(flags & NEEDS_CHECKSUM), segment if kind else 0))
        at += size
    return arrived


def read_pcap(data):
    """A file of tcpdump's, which does not say which checksums are blank."""
    return [Arrived(frame) for _, frame in dpkt.pcap.Reader(io.BytesIO(data))]


class Judge:
    """What arrived against what was sent: problems, one line each."""

    def __init__(self, sent):
        self.sent = {frame.source: frame for frame in sent}
        self.parts = {source: [] for source in self.sent}
        self.problems = []
        self.blank = self.cut = 0

    def judge(self, arrived):
        for one in arrived:
            frame = self.sent.get(one.data[6:12])
            if frame is None:
                self.problems.append(f"nobody sent {one.data[:32].hex()}")
            elif problem := self.judge_one(frame, one):
                self.problems.append(f"{frame.kind} {frame.number} of {len(frame.payload)} bytes: {problem}")
        for source, frame in self.sent.items():
            parts, length = sorted(self.parts[source]), len(frame.payload)
            joined = [0, *(end for _, end in parts)]
            if [start for start, _ in parts] != joined[:-1] or joined[-1] != length or \
                    not parts or (not length and len(parts) > 1):
                self.problems.append(f"{frame.kind} {frame.number}: sent were {length} bytes, "
                                     f"{parts or 'nothing'} arrived")
        return self.problems

    def judge_one(self, frame, one):
        start, end, ip_id, flags = 0, len(frame.payload), 0, None
        if frame.segment:
            at = ETHERNET + HEADERS[frame.kind]
            if len(one.data) < at:
                return f"only {len(one.data)} bytes"
            transport = frame.transport_at()
            start = int.from_bytes(one.data[transport + 4:transport + 8], "big") - frame.sequence()
            end = start + len(one.data) - at
            if not 0 <= start < end <= len(frame.payload):
                return f"bytes {start} to {end}"
            flags = one.data[transport + 13]
            if flags | LAST_ALONE != dpkt.tcp.TH_ACK | LAST_ALONE or flags & LAST_ALONE and \
                    (flags & LAST_ALONE != dpkt.tcp.TH_PUSH or end != len(frame.payload)):
                return f"TCP flags {flags:#x} at {start}"
            if frame.kind == "tcp4":
                ip_id = int.from_bytes(one.data[ETHERNET + 4:ETHERNET + 6], "big")
            if one.segment and one.segment != frame.segment:
                return f"segments of {one.segment} bytes"
            whole = end - start > frame.segment
            if whole and not one.segment and one.blank is not None:
                return f"{end - start} bytes at {start} in one packet, without a word of segments"
            self.cut += not whole
        self.parts[frame.source].append((start, end))
        may_be_blank = (frame.blank or bool(frame.segment)) and one.blank is not False
        must_be_blank = one.blank is True
        if one.data == frame.bytes(False, start, end, ip_id, flags):
            # A sum may be right by chance where it is blank.
            return "a checksum that is said to be blank is not" if must_be_blank and \
                one.data != frame.bytes(True, start, end, ip_id, flags) else None
        if may_be_blank and one.data == frame.bytes(True, start, end, ip_id, flags):
            self.blank += 1
            return None
        return difference(one.data, frame.bytes(must_be_blank and frame.kind[:3] in CHECKSUM_AT,
                                                start, end, ip_id, flags))


def difference(is_now, should_be):
    if len(is_now) != len(should_be):
        return f"{len(is_now)} bytes instead of {len(should_be)}"
    at = next(i for i, pair in enumerate(zip(is_now, should_be)) if pair[0] != pair[1])
    return f"at {at} is {is_now[at:at + 8].hex()} instead of {should_be[at:at + 8].hex()}"


# ---- what to send ----

def around(*edges, width=1):
    return {edge + step for edge in edges for step in range(-width, width + 1)}


# Of whole frames: what headers alone take, small ones that are copied, the MTU, and each page's end.
EDGES = sorted(around(62, 128, 256, 270, 1024, 2048, 3520, 3776, 3840) | around(1514, 4096, 8192, width=4) |
               {9013, 9014})
LONG = sorted(around(4096, 16384, width=1) | {32768, 65520, LARGEST - 1, LARGEST})


def plain_frames(seed, to, run, sizes=tuple(EDGES), blank=True):
    """A frame of each kind and size; every second one with a blank checksum, and its header in pieces
    in the sender's memory in every third."""
    source = random.Random(seed)
    frames = []
    for kind in KINDS:
        least = ETHERNET + HEADERS[kind]
        for number, size in enumerate(sorted({*range(least, least + 8), *sizes})):
            if size < least:
                continue
            empty = blank and kind[:3] in CHECKSUM_AT and number % 2 == 0
            frames.append(Frame(kind, number, source.randbytes(size - least), to, empty, 0,
                                0 if number % 3 else source.randrange(ETHERNET, least + 1), run))
    return frames


def segmented_frames(seed, to, run, sizes=tuple(LONG), segments=(1448, 536, 8948)):
    """TCP packets that somebody has to cut up, sooner or later."""
    source = random.Random(seed + 1)
    frames = []
    for kind in SEGMENTS:
        header = ETHERNET + HEADERS[kind]
        number = 1 << 12
        for segment in segments:
            some = sizes if segment == segments[0] else sizes[-1:]
            segment -= HEADERS[kind] - HEADERS["tcp4"]  # what the MTU leaves
            for size in [*some, header + segment + 1, header + 2 * segment]:
                if size - header > segment:
                    frames.append(Frame(kind, number, source.randbytes(size - header), to, True, segment,
                                        0, run))
                    number += 1
    return frames
