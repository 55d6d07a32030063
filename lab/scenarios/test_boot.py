# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The guest is up as it should be: its root, its network, its processors, its log-in."""

import re


def test_root_is_a_partition_given_as_a_disk(world):
    guest = world.guest()
    assert guest.run("findmnt -no SOURCE,FSTYPE,OPTIONS /", check=True).out.split()[:2] == \
        ["/dev/xvda1", "ext4"]
    assert re.search(r"\bxvda1\b.*\bdisk\b.*/", guest.run("lsblk").out)
    assert not guest.run("test -e /sys/block/xvda").rc == 0


def test_root_is_writable_on_blkfront(world):
    guest = world.guest()
    guest.run("echo proxenos > /root/written && sync && grep -q proxenos /root/written", check=True)
    assert "rw" in guest.run("findmnt -no OPTIONS /").out.split(",")[0]
    assert "vbd" in guest.run("readlink -f /sys/block/xvda1/device/driver").out


def test_dhcp_gives_an_address_over_netfront(world, dom0):
    guest = world.guest()
    address = guest.address()
    assert address.rpartition(".")[0] == dom0.address().rpartition(".")[0]
    assert dom0.run(f"ping -c 1 -W 5 {address}").rc == 0
    assert "vif" in guest.run("readlink -f /sys/class/net/e*/device/driver").out


def test_devices_on_the_xen_bus(world):
    devices = world.guest().run("ls /sys/bus/xen/devices").out.split()
    assert "vif-0" in devices and any(name.startswith("vbd-") for name in devices)


def test_no_unit_failed(world):
    failed = world.guest().run("systemctl --failed --no-pager").out
    assert re.search(r"(?<!\d)0 loaded units", failed), failed


def test_clock_agrees_with_dom0(world, dom0):
    guest = world.guest()
    ours, theirs = int(guest.run("date +%s").out), int(dom0.run("date +%s").out)
    assert abs(ours - theirs) <= 5
    slept = guest.run("a=$(date +%s%N); sleep 2; b=$(date +%s%N); echo $(((b-a)/1000000))").out
    assert 1990 <= int(slept.split()[-1]) <= 4000
