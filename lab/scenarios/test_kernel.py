# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The kernel's own ways: hot plug, an initial RAM disk, backtraces of all processors, a crash."""

import pathlib
import re
import stat

import pytest

from lab import images
from lab.disks import AWAIT
from lab.dom0 import await_command

HELLO = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t tmpfs -o size=300m fill /fill
/bin/busybox echo initial-RAM-disk-runs
until [ $(/bin/busybox awk '/MemTotal/ { print $2 }' /proc/meminfo) -gt 400000 ]; do
    /bin/busybox usleep 100000
done
/bin/busybox head -c 200m /dev/zero >/fill/zeroes && /bin/busybox echo memory-has-come
/bin/busybox poweroff -f
"""


@pytest.mark.advisory("XSA-379", "XSA-387", "XSA-486", "XSA-501")
def test_grant_table_is_of_version_1(world, dom0):
    """Version 2 and changes between versions have been holes; the guest uses neither."""
    domid = world.guest().domid()
    log = dom0.run("xl debug-keys g; xl dmesg | grep grant-table", check=True).out
    assert set(re.findall(rf"grant-table for remote d{domid} \((v\d)\)", log)) == {"v1"}


def test_hot_plug_of_a_disk(world, dom0):
    """A disk comes and goes while the guest runs, three times, under the same name."""
    guest = world.guest()
    dom0.run("truncate -s 32M /lab/plug.img", check=True)
    for _ in range(3):
        dom0.run("xl block-attach xendemo file:/lab/plug.img xvdp w", timeout=60, check=True)
        guest.run(AWAIT.format("[ -b /dev/xvdp ]") +
                  " && mke2fs -q -F /dev/xvdp && mount /dev/xvdp /mnt && echo here > /mnt/file && "
                  "umount /mnt",
                  check=True)
        dom0.run("xl block-detach xendemo xvdp", timeout=60, check=True)
        guest.run(AWAIT.format("[ ! -b /dev/xvdp ]"), check=True)
    assert dom0.run("e2fsck -fn /lab/plug.img; rm /lab/plug.img").rc == 0


def test_hot_plug_of_a_network_interface(world, dom0):
    guest = world.guest()
    for _ in range(2):
        dom0.run("xl network-attach xendemo mac=00:16:3e:77:00:09 bridge=xenbr0",
                 timeout=60, check=True)
        guest.run(await_command("ip -4 -o addr | grep -q 'enX1 .*inet '", 30) +
                  " || { ip addr; exit 1; }", check=True)
        dom0.run("xl network-detach xendemo 1", timeout=60, check=True)
        guest.run(AWAIT.format("[ ! -e /sys/class/net/enX1 ]"), check=True)


@pytest.mark.allow_log("Call Trace", "Kernel panic", "not syncing", "crash")
def test_initial_ram_disk(world, dom0):
    """And growth to as much memory as there can be, in a guest that boots with little."""
    archive = images.Cpio()
    archive.add("bin", stat.S_IFDIR | 0o755)
    archive.add("init", stat.S_IFREG | 0o755, HELLO)
    archive.add("bin/busybox", stat.S_IFREG | 0o755,
                pathlib.Path("/bin/busybox").read_bytes())
    for folder in ("dev", "proc", "fill"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("dev/zero", stat.S_IFCHR | 0o600, device=(1, 5))
    dom0.put(archive.finish(), "/lab/hello.initrd")
    guest = world.make(ramdisk="/lab/hello.initrd", disk=[], vif=[], memory=64, maxmem=512)
    guest.create()
    guest.expect("initial-RAM-disk-runs", 90)
    dom0.run(f"xl mem-set {guest.name} 512", check=True)
    guest.expect("memory-has-come", 60)
    guest.wait_gone()


@pytest.mark.allow_log("Call Trace", "NMI backtrace")
def test_backtraces_of_all_processors(world):
    """The magic key l, which reaches the other processors by NMI."""
    guest = world.guest()
    out = guest.run("dmesg -C; echo l > /proc/sysrq-trigger; sleep 1; dmesg -t; dmesg -C",
                    timeout=40).out
    for cpu in range(2):
        assert f"NMI backtrace for cpu {cpu}" in out, out


@pytest.mark.allow_log("Call Trace", "Kernel panic", "not syncing", "crash", "Oops", "RIP", "sysrq",
                       r"\bBUG\b")
def test_crash_is_reported(world, dom0):
    """A panic leaves its last words on the console, and the toolstack hears of a crash."""
    guest = world.make(on_crash="preserve")
    guest.boot()
    guest.send("sync; echo c > /proc/sysrq-trigger\n")
    guest.expect("Kernel panic - not syncing: sysrq triggered crash", 30)
    guest.wait_crashed()
    guest.destroy()
    assert dom0.run("e2fsck -p /dev/vdb", timeout=120).rc in (0, 1)
