# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""File systems on attached disks: made, loaded with stress-ng, unmounted, and clean; SOAK=1 takes more
time and each file system on each backend.
"""

import os

import pytest

from lab.disks import Disk, guest_with_qemu

SOAK = bool(os.environ.get("SOAK"))
SECONDS = 120 if SOAK else 3
NAME = "xvdp"
MIB = 320  # XFS wants 300
MAKE = {"ext4": "mke2fs -q -F -t ext4 {}", "xfs": "mkfs.xfs -q {}"}
CHECK = {"ext4": "e2fsck -fn {}", "xfs": "xfs_repair -n {}"}
# At most a few MiB each, so that the disk is never full.
LOAD = "stress-ng --temp-path /mnt --timeout {}s --verify --oomable --hdd 1 --hdd-bytes 16M --iomix 1 " \
       "--iomix-bytes 16M --dir 1 --dir-dirs 128 --rename 1 --fallocate 1 --fallocate-bytes 16M"
ROWS = [(kind, backend) for kind in MAKE for backend in ("vbd", "qdisk")
        if SOAK or (kind, backend) in (("ext4", "qdisk"), ("xfs", "vbd"))]


@pytest.mark.lab_only
@pytest.mark.limit(300 + 2 * SECONDS)
@pytest.mark.parametrize("kind, backend", ROWS)
def test_file_system_under_load(world, dom0, kind, backend):
    guest = guest_with_qemu(world)
    disk = Disk(guest, NAME, MIB, backend).attach()
    guest.run(f"{MAKE[kind].format(disk.device)} && mount {disk.device} /mnt", check=True)
    result = guest.run(LOAD.format(SECONDS), timeout=90 + SECONDS)
    assert result.rc == 0 and "fail:" not in result.out, result.out[-3000:]
    guest.run(f"umount /mnt && {CHECK[kind].format(disk.device)}", timeout=90, check=True)
    disk.detach()
    if kind == "ext4":  # dom0 has no tools for the other
        dom0.run(CHECK[kind].format(disk.image), check=True)
    disk.remove()
