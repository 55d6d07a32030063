# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A disk changes while it is in use: its size, and whether it may be written."""

import pytest

from lab.disks import AWAIT, Disk, guest_with_qemu

pytestmark = pytest.mark.lab_only

NAME, MIB = "xvdp", 16


def test_file_system_grows_with_its_disk(world, dom0):
    """xen-blkback says that its device is larger now, and ext4 grows while it is mounted."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB).attach()
    guest.run(f"mke2fs -q -F -t ext4 {disk.device} && mount {disk.device} /mnt && "
              "head -c 4M /dev/urandom > /mnt/file && sync", check=True)
    before = guest.run("sha256sum < /mnt/file", check=True).out
    disk.resize(3 * MIB)
    guest.run(AWAIT.format(f"[ $(blockdev --getsize64 {disk.device}) = {3 * MIB << 20} ]"), check=True)
    guest.run(f"resize2fs {disk.device} && head -c 30M /dev/zero > /mnt/more && sync && "
              "echo 3 > /proc/sys/vm/drop_caches", check=True)
    assert guest.run("sha256sum < /mnt/file", check=True).out == before
    guest.run(f"umount /mnt && e2fsck -fn {disk.device}", check=True)
    disk.detach()
    dom0.run(f"e2fsck -fn {disk.image}", check=True)
    disk.remove()


# udev may be reading the last sectors of a new disk when they go.
@pytest.mark.allow_log("I/O error,? (on )?dev xvdp,")
def test_disk_shrinks(world):
    """What lies beyond the new end cannot be reached any more."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB).attach()
    disk.resize(MIB // 2)
    guest.run(AWAIT.format(f"[ $(blockdev --getsize64 {disk.device}) = {MIB << 19} ]"), check=True)
    read = "dd if={} bs=1M count=1 iflag=direct status=none skip={} | wc -c"
    assert guest.run(read.format(disk.device, MIB // 2 - 1)).out.split() == [str(1 << 20)]
    assert guest.run(read.format(disk.device, MIB // 2)).out.split() == ["0"]
    disk.detach()
    disk.remove()


def test_read_only_comes_and_goes(world, dom0):
    """dom0 forbids writing and allows it again; a disk that is open stays open."""
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB).attach()
    say = f"xenstore-write {disk.node}/info {{}} {disk.node}/state 4"
    write = f"dd if=/dev/zero of={disk.device} bs=4k count=1 oflag=direct status=none"
    guest.run(f"sleep 600 < {disk.device} & echo $! > /tmp/pid")
    for info, refuses in ((4, True), (0, False)):
        dom0.run(say.format(info), check=True)
        guest.run(AWAIT.format(f"[ $(blockdev --getro {disk.device}) = {int(refuses)} ]"), check=True)
        assert (guest.run(write).rc != 0) == refuses
        guest.run(f"dd if={disk.device} of=/dev/null bs=4k count=1 iflag=direct status=none", check=True)
    guest.run("kill $(cat /tmp/pid)")
    disk.detach()
    disk.remove()
