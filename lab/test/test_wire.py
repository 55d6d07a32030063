# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The judge of the wire scenarios notices every way in which a frame can be wrong."""

import io

import dpkt
import pytest

from lab import wire

TO = bytes.fromhex("0200000000aa")
PLAIN = wire.plain_frames(7, TO, 1, (60, 1514, 4097))
LONG = wire.segmented_frames(7, TO, 1, (4096, wire.LARGEST), (1448,))
TCP = next(frame for frame in LONG if frame.kind == "tcp4")
# Computed by hand: 192.0.2.1 to 192.0.2.2, UDP 40000 to 9, "ab".
UDP = wire.Frame("udp4", 3, b"ab", TO)
UDP_CHECKSUM = 0xffff - (0xc000 + 0x0201 + 0xc000 + 0x0202 + 17 + 10 + 40000 + 9 + 10 + 0x6162) % 0xffff


def whole(frames):
    """As it arrives when nothing on the way changes anything."""
    return wire.read_received(wire.pack(frames))


def cut(frame, blank=False):
    """The segments of a frame."""
    for start in range(0, len(frame.payload), frame.segment):
        end = min(start + frame.segment, len(frame.payload))
        flags = dpkt.tcp.TH_ACK | (dpkt.tcp.TH_PUSH if end == len(frame.payload) else 0)
        yield wire.Arrived(frame.bytes(blank, start, end, 5 + start, flags), blank)


def flip(arrived, at, bit=1):
    data = bytearray(arrived.data)
    data[at] ^= bit
    return arrived._replace(data=bytes(data))


def problems(sent, arrived):
    return wire.Judge(sent).judge(arrived)


def test_checksums_are_right():
    assert UDP.bytes(False)[40:42] == UDP_CHECKSUM.to_bytes(2, "big")
    ones = sum(int.from_bytes(UDP.bytes(False)[at:at + 2], "big") for at in range(14, 34, 2)) % 0xffff
    assert ones == 0


def test_what_arrives_as_it_was_sent_is_right():
    assert not problems(PLAIN, whole(PLAIN))
    assert not problems(LONG, whole(LONG))
    assert {len(frame.bytes(False)) for frame in PLAIN} >= {14, 60, 1514, 4097}
    assert max(len(frame.bytes(True)) for frame in LONG) == wire.LARGEST


def test_blank_checksums_may_be_filled_in():
    filled = [wire.Arrived(frame.bytes(False), False) for frame in PLAIN]
    assert not problems(PLAIN, filled)


def test_segments_may_arrive_one_by_one():
    assert not problems([TCP], list(cut(TCP)))
    assert not problems([TCP], list(cut(TCP, blank=True)))
    assert not problems([TCP], reversed(list(cut(TCP))))


def test_files_of_tcpdump():
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file)
    for frame in PLAIN:
        writer.writepkt(frame.bytes(frame.blank), ts=1)
    assert not problems(PLAIN, wire.read_pcap(file.getvalue()))


@pytest.mark.parametrize("kind", wire.KINDS)
def test_any_flipped_bit(kind):
    frame = next(frame for frame in PLAIN if frame.kind == kind and len(frame.payload) == 7)
    arrived = whole([frame])[0]
    for at in range(len(arrived.data)):
        assert problems([frame], [flip(arrived, at)]), at
        assert problems([frame], [flip(arrived, at)._replace(blank=None)]), at


def test_blank_checksum_that_is_said_to_be_whole():
    frame = next(frame for frame in PLAIN if frame.blank)
    assert problems([frame], [wire.Arrived(frame.bytes(True), False)])
    assert not problems([frame], [wire.Arrived(frame.bytes(True))])  # tcpdump cannot tell


def test_whole_checksum_that_is_said_to_be_blank():
    frame = next(frame for frame in PLAIN if frame.kind == "tcp6" and not frame.blank)
    assert problems([frame], [wire.Arrived(frame.bytes(False), True)])


def test_checksum_that_was_not_blank_is_not_made_so():
    frame = next(frame for frame in PLAIN if frame.kind == "udp4" and not frame.blank)
    assert problems([frame], [wire.Arrived(frame.bytes(True))])


def test_missing_doubled_foreign_and_short():
    arrived = whole(PLAIN)
    assert problems(PLAIN, arrived[1:])
    assert problems(PLAIN, [*arrived, arrived[0]])
    assert problems(PLAIN, [*arrived, wire.Arrived(bytes(20))])
    assert problems(PLAIN, [arrived[0]._replace(data=arrived[0].data + b"x"), *arrived[1:]])
    assert problems(PLAIN, [*arrived[:-1], arrived[-1]._replace(data=arrived[-1].data[:-1])])


def test_segments_that_are_missing_doubled_or_wrong():
    segments = list(cut(TCP))
    assert problems([TCP], segments[1:])
    assert problems([TCP], [*segments, segments[0]])
    assert problems([TCP], [flip(segments[0], 200), *segments[1:]])
    assert problems([TCP], [flip(segments[0], 50), *segments[1:]])   # its checksum
    assert problems([TCP], [flip(segments[0], 47, 8), *segments[1:]])  # PSH before the end
    assert problems([TCP], [flip(segments[0], 38), *segments[1:]])   # its place


def test_segments_of_another_size():
    arrived = whole([TCP])[0]
    assert problems([TCP], [arrived._replace(segment=536)])
    assert problems([TCP], [arrived._replace(segment=0)])
