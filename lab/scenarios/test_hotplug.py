# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Disks come and go many times, and there may be many; what is not given back is seen after each
scenario. SOAK=1 makes 500 cycles of the 6.
"""

import os

import pytest

from lab.disks import AWAIT, ROOT, Disk, guest_with_qemu
from lab.guest import BOOT_SECONDS

pytestmark = pytest.mark.lab_only

SOAK = bool(os.environ.get("SOAK"))
CYCLES = 125 if SOAK else 3
CYCLED = [("vbd", "xvdp"), ("qdisk", "xvdq"), *([("vbd", "xvdaaa"), ("qdisk", "xvdzz")] if SOAK else [])]
# Of both schemes of numbers; xl runs a script for each disk of xen-blkback's, which takes seconds.
KERNELS = ["xvdb", "xvdaaa"]
QEMUS = ["xvdp", "xvdr", "xvdzz", *(["xvdc", "xvdq", "xvdz", "xvdaa", "xvdab", "xvdaz", "xvdba", "xvdbz",
         *(f"xvdc{letter}" for letter in "abcdefghijk")] if SOAK else [])]
IN_AND_OUT = "head -c 64k /dev/urandom > /tmp/sent && dd if=/tmp/sent of={0} bs=64k oflag=direct " \
             "status=none && dd if={0} bs=64k count=1 iflag=direct status=none | cmp - /tmp/sent"


@pytest.mark.limit(200 + 60 * CYCLES)
@pytest.mark.parametrize("backend, name", CYCLED)
def test_cycles(world, backend, name):
    """xl's command for each, and data both ways; Xen's counts at the end are those of the first cycle."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, name, 8, backend)
    for cycle in range(CYCLES):
        disk.attach()
        guest.run(IN_AND_OUT.format(disk.device), check=True)
        disk.detach()
        if cycle == 0:  # what the backend keeps for ever is there
            world.leaks.check(world.leaks.take(), set(world.guests))
    disk.remove()


@pytest.mark.parametrize("backend, name", CYCLED[:2])
def test_nobody_opens_a_disk_that_goes(world, backend, name):
    """Who opens it in time can read it, who comes too late cannot open it; one of the two, always."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, name, 8, backend).attach()
    guest.run(f"(while dd if={disk.device} of=/dev/null bs=4k count=1 iflag=direct; do :; done; "
              "mv /tmp/dd.running /tmp/dd) 2>/tmp/dd.running >/dev/null &", check=True)
    guest.run(AWAIT.format("grep -q copied /tmp/dd.running"), check=True)
    disk.detach()
    guest.run(AWAIT.format("[ -f /tmp/dd ]"), check=True)
    assert "failed to open" in guest.run("tail -n 1 /tmp/dd; rm /tmp/dd", check=True).out
    disk.remove()


def test_names_beyond_z(world):
    guest = guest_with_qemu(world)
    for name in ("xvdq", "xvdaa"):
        disk = Disk(guest, name, 8).attach()
        guest.run(IN_AND_OUT.format(disk.device), check=True)
        disk.detach()
        disk.remove()


@pytest.mark.limit(1500 if SOAK else 300)
def test_many_disks(world, dom0):
    """24 with SOAK=1, else 5. All from the guest's start, of both backends, each one with its own content."""
    names = " ".join(KERNELS + QEMUS)
    dom0.run(f"for name in {names}; do (echo $name; head -c 1M /dev/zero) > /root/$name.img; "
             "truncate -s 1M /root/$name.img; done", check=True)
    loops = dom0.run(f"for name in {' '.join(KERNELS)}; do losetup -f --show /root/$name.img; done",
                     check=True).out.split()
    disks = [f"phy:{loop},{name},w" for loop, name in zip(loops, KERNELS)]
    disks += [f"format=raw,vdev={name},access=rw,backendtype=qdisk,target=/root/{name}.img"
              for name in QEMUS]
    guest = world.make(disk=[ROOT, *disks]).boot(600 if SOAK else BOOT_SECONDS)
    there = f"[ $(ls -d /sys/block/xvd* | wc -l) = {1 + len(KERNELS + QEMUS)} ]"
    guest.run(AWAIT.format(there), check=True)
    wrong = guest.run(f"for name in {names}; do [ \"$(head -n 1 /dev/$name)\" = $name ] || "
                      "echo $name; done", check=True).out
    assert not wrong.strip(), f"missing, or another disk's: {wrong}"
    guest.run(f"for name in {names}; do (echo $name; seq 9999) | "
              "dd of=/dev/$name bs=4k oflag=sync status=none; done", timeout=120, check=True)
    world.drop("xendemo")
    wrong = dom0.run(f"for name in {names}; do [ \"$(sed -n '1p;10000p' /root/$name.img | "
                     "paste -sd ' ')\" = \"$name 9999\" ] || echo $name; rm /root/$name.img; done; "
                     f"losetup -d {' '.join(loops)}", check=True).out
    assert not wrong, wrong


USE = "(while dd if=/dev/zero of={0} bs=64k count=64 oflag=direct status=none; do :; done; " \
      "touch /tmp/failed) >/dev/null 2>&1 &"


@pytest.mark.allow_log("xvdp", "I/O error", "Buffer I/O")
@pytest.mark.parametrize("backend", ["vbd", "qdisk"])
def test_surprise_removal(world, backend):
    """A disk that vanishes under a writer fails it at once; one of the same name comes and works."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, "xvdp", 8, backend).attach()
    guest.run(f"rm -f /tmp/failed; {USE.format(disk.device)}\nsleep 0.5", check=True)
    disk.detach(force=True)
    guest.run(AWAIT.format("[ -e /tmp/failed ]"), check=True)
    disk.attach()
    guest.run(IN_AND_OUT.format(disk.device), check=True)
    disk.detach()
    disk.remove()


@pytest.mark.parametrize("backend", ["vbd", "qdisk"])
def test_detached_while_mounted(world, dom0, backend):
    """xl's command is refused or waits; the file system works on until it is unmounted, then the disk
    goes by itself."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, "xvdp", 8, backend).attach()
    guest.run(f"mke2fs -q -F {disk.device} && mount {disk.device} /mnt", check=True)
    assert dom0.run(f"xl block-detach {guest.name} {disk.name}").rc != 0
    guest.run("head -c 3M /dev/urandom > /mnt/file && sync && echo 3 > /proc/sys/vm/drop_caches && "
              "sha256sum < /mnt/file", check=True)
    guest.run("umount /mnt", check=True)
    guest.run(AWAIT.format(f"[ ! -b {disk.device} ]"), check=True)
    dom0.run(f"xl block-detach {guest.name} {disk.name}")  # what of it xl still knows
    disk.let_go()
    dom0.run(f"e2fsck -fn {disk.image}", check=True)
    disk.remove()
