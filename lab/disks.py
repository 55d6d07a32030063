# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Disks that a guest gets while it runs: images in dom0, behind xen-blkback or QEMU."""

import contextlib
import re

from lab.dom0 import await_command

# QEMU, which is the backend of qdisk, is started with a guest that has such a disk.
ROOT = "phy:/dev/vdb,xvda1,w"
IDLE = "/root/idle.img"
WITH_QEMU = [ROOT, f"format=raw,vdev=xvdo,access=rw,backendtype=qdisk,target={IDLE}"]
# What came or went is there or gone within ten seconds.
AWAIT = await_command("{}")


def guest_with_qemu(world, **settings):
    """The shared guest that can be given disks of both backends."""
    world.dom0.run(f"truncate -s 1M {IDLE}", check=True)
    return world.guest(disk=WITH_QEMU, **settings)


def number(name):
    """The number of a disk: beyond xvdp by the extended scheme."""
    place = 0
    for letter in name.removeprefix("xvd"):
        place = place * 26 + ord(letter) - ord("a") + 1
    return 202 << 8 | (place - 1) << 4 if place <= 16 else 1 << 28 | (place - 1) << 8


@contextlib.contextmanager
def parameters(machine, module, values):
    """With a module's parameters set for the devices that come now."""
    folder = f"/sys/module/{module}/parameters"
    old = {name: machine.run(f"cat {folder}/{name}", check=True).out.strip() for name in values}
    write = "echo {} > " + folder + "/{}"
    try:
        for name, value in values.items():
            machine.run(write.format(value, name), check=True)
        yield
    finally:
        for name, value in old.items():
            machine.run(write.format(value, name), check=True)


class Disk:
    """An image of dom0's that a guest has as a disk, from attach() to detach()."""

    def __init__(self, guest, name, mib, backend="vbd", sector=512, read_only=False, options=""):
        self.guest, self.dom0, self.name, self.backend = guest, guest.dom0, name, backend
        self.sector, self.read_only, self.options = sector, read_only, options
        self.image = f"/root/{name}.img"
        self.dom0.run(f"truncate -s {mib}M {self.image}", check=True)
        self.loop = None

    @property
    def device(self):
        return f"/dev/{self.name}"

    @property
    def node(self):
        """The backend's directory."""
        return f"/local/domain/0/backend/{self.backend}/{self.guest.domid()}/{number(self.name)}"

    def attach(self):
        if self.backend == "vbd":
            self.loop = self.dom0.run(f"losetup -f --show -b {self.sector} {self.image}",
                                      check=True).out.strip()
        words = ["format=raw", f"vdev={self.name}", f"access={'ro' if self.read_only else 'rw'}",
                 f"backendtype={'phy' if self.backend == 'vbd' else 'qdisk'}",
                 *filter(None, [self.options]), f"target={self.loop or self.image}"]
        self.dom0.run(f"xl block-attach {self.guest.name} '{','.join(words)}'", check=True)
        self.guest.run(AWAIT.format(f"[ -b {self.device} ]"), check=True)
        return self

    def detach(self, force=False):
        """Takes it from the guest in good order, or away from under it. QEMU removes its keys when it has
        closed, and sometimes does before libxl has seen that it has: xl's next command finds no backend.
        With force, xl waits for ten seconds of dom0's, of which a busy guest makes a minute and more."""
        command = f"xl block-detach {self.guest.name} {self.name}{' --force' if force else ''}"
        self.dom0.run(f"{command} || {{ [ {self.backend} = qdisk ] && {command}; }}", timeout=200,
                      check=True)
        self.guest.run(AWAIT.format(f"[ ! -b {self.device} ]"), check=True)
        self.let_go()

    def resize(self, mib):
        """The image and the device that xen-blkback has of it become so large; it looks every 100 ms."""
        self.dom0.run(f"truncate -s {mib}M {self.image} && losetup -c {self.loop}", check=True)

    def let_go(self):
        """dom0's own hold on the image ends."""
        if self.loop:
            self.dom0.run(f"losetup -d {self.loop}", check=True)
            self.loop = None

    def remove(self):
        self.let_go()
        self.dom0.run(f"rm {self.image}", check=True)

    def keys(self):
        """The keys of the device: its backend's and its frontend's."""
        return keys(self.dom0, self.guest.domid(), self.backend, number(self.name))


def keys(dom0, domid, kind, device):
    """A device's keys: its backend's and its frontend's."""
    frontend = f"/local/domain/{domid}/device/{'vif' if kind == 'vif' else 'vbd'}/{device}"
    backend = f"/local/domain/0/backend/{kind}/{domid}/{device}"
    out = dom0.run(f"xenstore-ls -f {backend}; xenstore-ls -f {frontend}", check=True).out
    return [dict(re.findall(rf'^{path}/(\S+) = "(.*)"$', out, re.M)) for path in (backend, frontend)]
