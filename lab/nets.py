# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Network interfaces that a guest gets while it runs, each in a namespace of its own, where nobody else
configures it; and what they lead to in dom0.
"""

import contextlib
import re

from lab import programs
from lab.disks import AWAIT, keys

BRIDGE = "wirebr0"
BRIDGE_MAC = "fe:ff:ff:ff:77:01"
DOM0_ADDRESS, DOM0_ADDRESS6 = "10.79.0.1", "fd79::1"


@contextlib.contextmanager
def bridge(dom0, name=BRIDGE, mtu=9000):
    """A bridge of dom0's with nothing on it that answers but dom0."""
    dom0.run(f"ip link add {name} address {BRIDGE_MAC} mtu {mtu} type bridge stp_state 0 forward_delay 0 "
             f"mcast_snooping 0 && ip addr add {DOM0_ADDRESS}/24 dev {name} && "
             f"ip addr add {DOM0_ADDRESS6}/64 dev {name} nodad && ip link set {name} up", check=True)
    try:
        yield name
    finally:
        dom0.run(f"ip link del {name}")


def program(machine, name):
    """Puts one of lab/programs into a guest or dom0, once; its path."""
    remote = f"/root/{name}"
    if machine.run(f"[ -x {remote} ]").rc:
        machine.put(programs.build(name), remote)
        machine.run(f"chmod +x {remote}", check=True)
    return remote


class Vif:
    """An interface of a running guest's, from attach() to detach()."""

    def __init__(self, guest, index, bridge=BRIDGE, options=""):
        self.guest, self.dom0, self.index = guest, guest.dom0, index
        self.bridge, self.options = bridge, options
        self.name, self.space = f"enX{index}", f"net{index}"
        self.mac = f"00:16:3e:77:04:{index:02x}"
        self.address, self.address6 = f"10.79.0.{10 + index}", f"fd79::{10 + index:x}"
        self.back = None

    @property
    def node(self):
        return f"device/vif/{self.index}"

    def attach(self, up=True):
        options = f" {self.options}" if self.options else ""
        self.dom0.run(f"xl network-attach {self.guest.name} mac={self.mac} bridge={self.bridge}{options}",
                      check=True)
        self.back = f"vif{self.guest.domid()}.{self.index}"
        return self.settle(up)

    def settle(self, up=True):
        """Its namespace and addresses, when it is there."""
        self.guest.run(AWAIT.format(f"[ -e /sys/class/net/{self.name} ]") + "\n", check=True)
        self.guest.run(f"ip netns add {self.space} && ip link set {self.name} netns {self.space}", check=True)
        self.run("ip link set lo up", check=True)
        if up:
            self.run(f"ip addr add {self.address}/24 dev {self.name} && "
                     f"ip addr add {self.address6}/64 dev {self.name} nodad && "
                     f"ip link set {self.name} up", check=True)
            self.await_carrier()
        return self

    def run(self, command, timeout=60, check=False):
        """A command of the guest's in the interface's namespace."""
        quoted = command.replace("'", "'\\''")
        return self.guest.run(f"ip netns exec {self.space} sh -c '{quoted}'", timeout, check)

    def await_carrier(self, tenths=100):
        self.run(f"for i in $(seq {tenths}); do [ \"$(cat /sys/class/net/{self.name}/carrier)\" = 1 ] "
                 "&& exit 0; sleep 0.1; done; exit 1", check=True)

    def detach(self):
        self.dom0.run(f"xl network-detach {self.guest.name} {self.index}", check=True)
        self.run(AWAIT.format(f"[ ! -e /sys/class/net/{self.name} ]"), check=True)
        self.guest.run(f"ip netns del {self.space}", check=True)

    def set_mtu(self, mtu):
        """On both sides."""
        self.dom0.run(f"ip link set {self.back} mtu {mtu}", check=True)
        self.run(f"ip link set {self.name} mtu {mtu}", check=True)

    def keys(self):
        return keys(self.dom0, self.guest.domid(), "vif", self.index)

    def ping(self, address=DOM0_ADDRESS, count=3, more=""):
        out = self.run(f"ping -c {count} -i 0.1 -W 5 -q {more} {address}", timeout=60)
        assert f" {count} received" in out.out, out.out

    def statistics(self):
        """ethtool -S, the queues' counters added up."""
        counted = {}
        out = self.run(f"ethtool -S {self.name}", check=True).out
        for name, value in re.findall(r"^ *(?:queue_\d+_)?(\w+): (\d+)$", out, re.M):
            counted[name] = counted.get(name, 0) + int(value)
        return counted
