# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Disks: data survives a reboot, file systems stay clean, modes and names are as configured."""

import pytest

ROOT_DISK = "phy:/dev/vdb,xvda1,w"
EXTRA_DISKS = [ROOT_DISK, "phy:/dev/ram0,xvdb,w", "phy:/dev/ram1,xvdc,r", "phy:/dev/ram2,hdd1,w",
               "phy:/dev/ram3,sde,w"]


# A block device's cache in dom0 knows nothing of what the backend writes below it.
READ_DIRECTLY = "dd if={} bs=1M iflag=direct status=none | sha256sum"


def guest_with_disks(world):
    """The shared guest with one disk of each kind besides its root; ram disks are dom0's."""
    world.dom0.run("modprobe brd rd_nr=4 rd_size=16384", check=True)
    return world.guest(disk=EXTRA_DISKS)


def test_file_survives_reboot_and_fsck_is_clean(world, dom0):
    guest = world.guest()
    guest.run("head -c 64M /dev/urandom > /root/big && sync", timeout=120, check=True)
    before = guest.run("sha256sum < /root/big", timeout=120, check=True).out.split()[0]
    first = guest.domid()
    dom0.run("xl reboot xendemo", check=True)
    guest.wait_other(first)
    guest.attach().log_in()
    after = guest.run("sha256sum < /root/big", timeout=120, check=True).out.split()[0]
    assert after == before
    guest.run("rm /root/big", check=True)
    guest.shut_down()
    check = dom0.run("e2fsck -fn /dev/vdb", timeout=120)
    assert check.rc == 0, check.out


@pytest.mark.lab_only
def test_writable_disk_holds_what_was_written(world, dom0):
    guest = guest_with_disks(world)
    assert guest.run("blockdev --getro --getsize64 /dev/xvdb").out.split() == ["0", "16777216"]
    sent = guest.run("head -c 16M /dev/urandom > /run/data && cat /run/data > /dev/xvdb && sync && "
                     "sha256sum < /run/data; rm /run/data", timeout=120).out.split()[0]
    assert dom0.run(READ_DIRECTLY.format("/dev/ram0"), timeout=60).out.split()[0] == sent


@pytest.mark.lab_only
def test_disk_written_in_dom0_is_read_by_the_guest(world, dom0):
    guest = guest_with_disks(world)
    dom0.run("head -c 16M /dev/urandom | dd of=/dev/ram1 bs=1M oflag=direct iflag=fullblock",
             check=True)
    sent = dom0.run(READ_DIRECTLY.format("/dev/ram1"), timeout=60).out.split()[0]
    guest.run("echo 3 > /proc/sys/vm/drop_caches")
    assert guest.run("sha256sum < /dev/xvdc", timeout=60).out.split()[0] == sent


@pytest.mark.lab_only
def test_read_only_disk_refuses_writes(world, dom0):
    guest = guest_with_disks(world)
    before = dom0.run(READ_DIRECTLY.format("/dev/ram1"), timeout=60).out
    assert guest.run("blockdev --getro /dev/xvdc").out.split() == ["1"]
    assert guest.run("dd if=/dev/zero of=/dev/xvdc bs=4k count=1 oflag=direct").rc != 0
    assert dom0.run(READ_DIRECTLY.format("/dev/ram1"), timeout=60).out == before


@pytest.mark.lab_only
@pytest.mark.parametrize("name", ["hdd1", "sde"])
def test_names_of_old_configurations(world, name):
    """hdX and sdX of a configuration appear as xvdX, as with an upstream guest."""
    guest = guest_with_disks(world)
    assert guest.run(f"blockdev --getsize64 /dev/xvd{name[2:]}").out.split() == ["16777216"]


@pytest.mark.lab_only
def test_mkfs_and_fsck_on_a_second_disk(world, dom0):
    guest = guest_with_disks(world)
    guest.run("mke2fs -q -F -t ext4 /dev/xvde && mount /dev/xvde /mnt && cp -r /etc /mnt && sync && "
              "umount /mnt && e2fsck -fn /dev/xvde", timeout=120, check=True)
    world.drop("xendemo")
    check = dom0.run("e2fsck -fn /dev/ram3", timeout=60)
    assert check.rc == 0, check.out
