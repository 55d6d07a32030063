# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The block frontend as a module. It wants another kernel, which takes minutes to build:
arch-xen/build-kernel.sh --module, then make regress T=test_module.
"""

import pathlib
import re
import stat
import subprocess

import pytest

from lab import images
from lab.steps import BUILD

KERNEL, MODULE = BUILD / "kernel-module/bzImage", BUILD / "kernel-module/xen-blkfront.ko"
INIT = b"""#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for queues in 1 2; do
    insmod /xen-blkfront.ko max_queues=$queues
    until [ -b /dev/xvda1 ]; do sleep 0.1; done
    echo "with max_queues=$queues: $(cat /sys/block/xvda1/xen/queues)"
    [ $queues = 2 ] || rmmod xen_blkfront
done
mount -t ext4 -o rw /dev/xvda1 /root
mount -o move /dev /root/dev
umount /proc
umount /sys
exec switch_root /root /sbin/init
"""
COMMANDS = ["sh", "mount", "umount", "insmod", "rmmod", "sleep", "cat", "echo", "[", "switch_root"]

pytestmark = pytest.mark.skipif(not MODULE.exists(), reason="needs arch-xen/build-kernel.sh --module")


def initramfs():
    archive = images.Cpio()
    for name in ["bin", "dev", "proc", "sys", "root"]:
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path("/bin/busybox").read_bytes())
    for name in COMMANDS:
        archive.add(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("xen-blkfront.ko", stat.S_IFREG | 0o644, MODULE.read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, INIT)
    return archive.finish()


def test_root_on_a_module(world, dom0):
    """Loaded, unloaded and loaded again with another parameter; then it carries the root."""
    dom0.put(KERNEL, "/lab/modular-kernel")
    dom0.put(initramfs(), "/lab/modular-initrd")
    guest = world.make(kernel="/lab/modular-kernel", ramdisk="/lab/modular-initrd")
    guest.create()
    for queues in (1, 2):
        guest.expect(f"with max_queues={queues}: {queues}\\r?\\n", 120)
    guest.log_in()
    assert re.search(r"^xen_blkfront ", guest.run("lsmod").out, re.M)
    guest.run("head -c 8M /dev/urandom > /root/file && sync && rm /root/file", check=True)


def test_modinfo():
    """Every parameter is documented."""
    out = subprocess.run(["/sbin/modinfo", MODULE], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^parm: +(\w+):\S.* \((?:\w+ ?)+\)$", out, re.M)
    assert sorted(names) == ["feature_persistent", "max_indirect_segments", "max_queues",
                             "max_ring_page_order", "poll_queues", "timeout_action", "trusted"], out
