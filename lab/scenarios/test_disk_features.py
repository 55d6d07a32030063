# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a disk has beyond reading and writing: discard, CD-ROMs, limits and counters to be seen, polled
queues, and what becomes of a request that takes too long.
"""

import contextlib
import re

import pytest

from lab.backends import Backend
from lab.disks import AWAIT, Disk, guest_with_qemu, parameters

pytestmark = pytest.mark.lab_only

NAME, MIB = "xvdp", 16
DIRECT_SEGMENTS = 11
FRONT = "xen_blkfront"


def agreed(guest, name=NAME):
    """/sys/block/NAME/xen, as numbers where they are."""
    out = guest.run(f"cd /sys/block/{name}/xen && grep . *", check=True).out
    return {key: int(value) if value.isdecimal() else value
            for key, value in re.findall(r"^(\w+):(\w+)$", out, re.M)}


def statistics(guest, name=NAME):
    """The counters of a disk's queues, in their order."""
    out = guest.run("mountpoint -q /sys/kernel/debug || mount -t debugfs debug /sys/kernel/debug; "
                    f"cd /sys/kernel/debug/xen-blkfront/{name} && for queue in $(ls | sort -V); do "
                    "echo == $queue; cat $queue; done", check=True).out
    return [dict((key, int(value)) for key, value in re.findall(r"^(\w+) (\d+)$", text, re.M))
            for text in out.split("== ")[1:]]


def total(queues, key):
    return sum(queue[key] for queue in queues)


WISHES = [{}, {"max_queues": 1, "max_ring_page_order": 0, "max_indirect_segments": 0},
          {"poll_queues": 1, "max_ring_page_order": 4, "feature_persistent": "N"}, {"trusted": "N"}]


@pytest.mark.parametrize("backend", ["vbd", "qdisk"])
@pytest.mark.parametrize("wishes", WISHES, ids=["defaults", "least", "polled", "untrusted"])
def test_what_was_agreed_is_visible(world, wishes, backend):
    """sysfs says what both sides wrote into xenstore, which is what each could have at best."""
    guest = guest_with_qemu(world)
    with parameters(guest, FRONT, wishes):
        disk = Disk(guest, NAME, MIB, backend).attach()
    seen = agreed(guest)
    theirs, ours = disk.keys()
    queues = int(ours.get("multi-queue-num-queues", 1))
    assert seen["queues"] + seen["polled_queues"] == queues
    assert seen["queues"] <= min(wishes.get("max_queues", 2), int(theirs.get("multi-queue-max-queues", 1)))
    assert seen["polled_queues"] == (min(1, queues - 1) if "poll_queues" in wishes else 0)
    order = min(wishes.get("max_ring_page_order", 2), int(theirs.get("max-ring-page-order", 0)))
    assert seen["ring_pages"] == 1 << order == 1 << int(ours.get("ring-page-order", 0))
    segments = min(wishes.get("max_indirect_segments", 512),
                   int(theirs.get("feature-max-indirect-segments", 0)))
    assert DIRECT_SEGMENTS <= seen["segments"] <= max(segments, DIRECT_SEGMENTS)
    assert seen["segments"] == DIRECT_SEGMENTS or segments > DIRECT_SEGMENTS
    wished = "feature_persistent" not in wishes
    assert ours.get("feature-persistent", "0") == str(int(wished))  # or would, if they could
    assert seen["persistent_grants"] == int(wished and theirs.get("feature-persistent") == "1")
    assert seen["trusted"] == int("trusted" not in wishes)
    assert seen["requests"] >= 32 and seen["flush"] == "flush"
    size = int(guest.run(f"cat /sys/block/{NAME}/queue/max_hw_sectors_kb").out)
    assert size == seen["segments"] * 4
    assert int(guest.run(f"cat /sys/block/{NAME}/queue/io_poll").out) == int(seen["polled_queues"] > 0)
    disk.detach()
    disk.remove()


def test_counters(world):
    """Each request is counted once, with its time, and an error as one."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB).attach()
    guest.run("udevadm settle", check=True)  # it reads, too
    before = statistics(guest)
    guest.run(f"dd if={disk.device} of=/dev/null bs=4k count=50 iflag=direct status=none", check=True)
    after = statistics(guest)
    done = total(after, "requests") - total(before, "requests")
    assert 50 <= done <= 60, done
    assert total(after, "errors") == total(before, "errors") and total(after, "in_flight") == 0
    assert 0 < total(after, "notifications") <= total(after, "requests")
    assert max(queue["latency_max_ns"] for queue in after) > 1000
    disk.detach()
    assert guest.run(f"ls /sys/kernel/debug/xen-blkfront/{NAME}").rc != 0
    disk.remove()


def test_polled_requests_make_no_interrupts(world):
    guest = guest_with_qemu(world)
    with parameters(guest, FRONT, {"poll_queues": 1}):
        disk = Disk(guest, NAME, MIB).attach()
    seen = agreed(guest)
    assert seen["polled_queues"] == 1
    guest.run(f"fio --name=polled --filename={disk.device} --ioengine=io_uring --hipri --direct=1 "
              "--rw=randwrite --bs=4k --size=1m --iodepth=4 --verify=crc32c >/dev/null", check=True)
    polled = statistics(guest)[-1]
    assert polled["requests"] >= 512 and polled["events"] == 0, polled
    disk.detach()
    disk.remove()


@pytest.mark.parametrize("backend", ["vbd", "qdisk"])
def test_discard(world, dom0, backend):
    """What is discarded takes no room in dom0 any more, and reads as zeros."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB, backend)
    dom0.run(f"head -c {MIB}M /dev/urandom > {disk.image} && sync", check=True)
    disk.attach()
    theirs, _ = disk.keys()
    granularity = int(guest.run(f"cat /sys/block/{NAME}/queue/discard_granularity").out)
    assert granularity == int(theirs["discard-granularity"]) > 0
    guest.run(f"blkdiscard -o 4M -l 8M {disk.device} && sync", check=True)
    hashes = "for part in 0 4 12; do dd if={} bs=1M skip=$part count=4 status=none | sha256sum; done; " \
             "dd if={} bs=1M skip=4 count=8 status=none | tr -d '\\0' | wc -c"
    guest.run("echo 3 > /proc/sys/vm/drop_caches")
    in_guest = guest.run(hashes.format(disk.device, disk.device), check=True).out
    assert in_guest == dom0.run(hashes.format(disk.image, disk.image), check=True).out
    assert in_guest.split()[-1] == "0", "it does not read as zeros"
    assert int(dom0.run(f"du -k {disk.image}").out.split()[0]) <= (MIB - 8 + 1) << 10
    disk.detach()
    disk.remove()


def test_disk_without_discard_refuses_it(world):
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB, options="no-discard").attach()
    assert guest.run(f"cat /sys/block/{NAME}/queue/discard_max_bytes").out.split() == ["0"]
    assert guest.run(f"blkdiscard {disk.device}").rc != 0
    disk.detach()
    disk.remove()


def test_cd_rom(world, dom0):
    """Read-only, and said to be one."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB, read_only=True, options="devtype=cdrom")
    dom0.run(f"head -c {MIB}M /dev/urandom > {disk.image} && sync", check=True)
    disk.attach()
    assert guest.run(f"blockdev --getro {disk.device}").out.split() == ["1"]
    assert agreed(guest)["cdrom"] == 1
    read = "sha256sum < {}"
    assert guest.run(read.format(disk.device)).out == dom0.run(read.format(disk.image)).out
    disk.detach()
    disk.remove()


# ---- time ----

@contextlib.contextmanager
def silent_disk(world, action):
    """A disk whose backend does not answer any more, and a limit of two seconds."""
    guest = world.guest()
    with parameters(guest, FRONT, {"timeout_action": action}):
        backend = Backend(world.dom0, "blk", domid=guest.domid(), vdev=NAME, memory=8)
        backend.attach()
        guest.run(AWAIT.format(f"[ -b /dev/{NAME} ]") +
                  f" && echo 2000 > /sys/block/{NAME}/queue/io_timeout", check=True)
        backend.ask("silent on")
        yield guest, backend
        backend.ask("honest", "detach 5")
        backend.end()


@pytest.mark.allow_log(NAME, "I/O error", "blkfront", "vbd")
def test_request_that_takes_too_long_fails(world):
    with silent_disk(world, "fail") as (guest, backend):
        result = guest.run(f"timeout 30 dd if=/dev/{NAME} of=/dev/null bs=4k count=1 iflag=direct",
                           timeout=60)
        assert result.rc == 1 and "Input/output error" in result.out, result.out
        backend.ask("silent off", "reopen", "await 4 10")
        guest.run(f"dd if=/dev/{NAME} of=/dev/null bs=4k count=1 iflag=direct", check=True)


@pytest.mark.allow_log(NAME, "blkfront", "vbd")
def test_request_that_takes_too_long_is_sent_again(world):
    """The writer hears nothing of it: the frontend connects anew, to a backend that answers then."""
    with silent_disk(world, "requeue") as (guest, backend):
        guest.run(f"rm -f /tmp/sum; (head -c 64k /dev/urandom | tee /tmp/sent | "
                  f"dd of=/dev/{NAME} bs=64k iflag=fullblock oflag=direct status=none; "
                  "echo $? > /tmp/rc) >/dev/null 2>&1 &", check=True)
        guest.run("sleep 6; [ ! -e /tmp/rc ]", check=True)  # more than one limit
        backend.ask("silent off")
        guest.run("for i in $(seq 300); do [ -e /tmp/rc ] && break; sleep 0.1; done; "
                  "[ $(cat /tmp/rc) = 0 ]", check=True)
        guest.run(f"dd if=/dev/{NAME} bs=64k count=1 iflag=direct status=none | cmp - /tmp/sent",
                  check=True)
