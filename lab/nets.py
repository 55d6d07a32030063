# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Network interfaces of a guest's, each in a namespace of its own, where nobody else configures it; and what
they lead to in dom0.
"""

import re

from lab import programs
from lab.disks import AWAIT, keys

BRIDGE = "wirebr0"
BRIDGE_MAC = "fe:ff:ff:ff:77:01"
DOM0_ADDRESS, DOM0_ADDRESS6 = "10.79.0.1", "fd79::1"
CPUS = 4  # and as many queues
FIRST = "mac=00:16:3e:77:00:01,bridge=xenbr0"  # as in lab/guest.cfg
OTHERS = (1, 2)
ALL_ON = "tx on sg on tso on gso on gro on rx on"
CARRIER = "(" + AWAIT.format('[ "$(cat /sys/class/net/{}/carrier)" = 1 ]') + ")"


def mac(index):
    return f"00:16:3e:77:04:{index:02x}"


def make_bridge(dom0, name=BRIDGE):
    """A bridge with nothing on it that answers but dom0; it stays."""
    if dom0.run(f"[ -e /sys/class/net/{name} ]").rc:
        dom0.run(f"ip link add {name} address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0 "
                 f"mcast_snooping 0 && ip addr add {DOM0_ADDRESS}/24 dev {name} && "
                 f"ip addr add {DOM0_ADDRESS6}/64 dev {name} nodad && ip link set {name} up", check=True)


def guest_with_vifs(world):
    """The guest that the network's scenarios share, with two interfaces besides its own."""
    guest = world.guests.get("xendemo")
    if hasattr(guest, "vifs") and world.guest(**guest.settings) is guest:
        return guest
    make_bridge(world.dom0)
    others = [f"mac={mac(index)},bridge={BRIDGE}" for index in OTHERS]
    # netback looks at it at each connection, not only when it offers queues: so it stays.
    world.dom0.run(f"echo {CPUS} > /sys/module/xen_netback/parameters/max_queues", check=True)
    guest = world.guest(vcpus=CPUS, vif=[FIRST, *others])
    guest.vifs = [Vif(guest, index).settle() for index in OTHERS]
    return guest


def program(machine, name):
    """Puts one of lab/programs into a guest or dom0, once; its path."""
    remote = f"/root/{name}"
    if machine.run(f"[ -x {remote} ]").rc:
        machine.put(programs.build(name), remote)
        machine.run(f"chmod +x {remote}", check=True)
    return remote


class Vif:
    """An interface of a running guest's."""

    def __init__(self, guest, index, back=None):
        self.guest, self.dom0, self.index = guest, guest.dom0, index
        self.name, self.space = f"enX{index}", f"net{index}"
        self.inside = f"ip netns exec {self.space}"
        self.mac = mac(index)
        self.address, self.address6 = f"10.79.0.{10 + index}", f"fd79::{10 + index:x}"
        self.back = back or f"vif{guest.domid()}.{index}"

    @property
    def node(self):
        return f"device/vif/{self.index}"

    def settle(self):
        """Its namespace and addresses, when it is there."""
        self.guest.run(AWAIT.format(f"[ -e /sys/class/net/{self.name} ]"), check=True)
        self.guest.run(f"ip netns add {self.space} && ip link set {self.name} netns {self.space}", check=True)
        return self.address_it()

    def address_it(self):
        self.run(f"ip link set lo up; ip addr add {self.address}/24 dev {self.name} && "
                 f"ip addr add {self.address6}/64 dev {self.name} nodad && ip link set {self.name} up && "
                 f"{CARRIER.format(self.name)}", check=True)
        return self

    def run(self, command, timeout=60, check=False):
        """A command of the guest's in the interface's namespace."""
        quoted = command.replace("'", "'\\''")
        return self.guest.run(f"{self.inside} sh -c '{quoted}'", timeout, check)

    def await_carrier(self):
        self.run(CARRIER.format(self.name), check=True)

    def set_up(self, features="", queues=CPUS, mtu=1500, more=""):
        """Everything on and as many queues as there are, but for what is said; both sides have connected
        anew for it."""
        command = f"ip link set {self.name} up; ethtool -L {self.name} combined {queues}; " \
            f"ethtool -K {self.name} {ALL_ON}; "
        if features:
            command += f"ethtool -K {self.name} {features}; "
        return self.run(f"({command}) >/dev/null 2>&1; sleep 0.5; {CARRIER.format(self.name)} && "
                        f"ip link set {self.name} mtu {mtu} || exit 1; {more}", check=True)

    def forget(self):
        """It has gone, or goes."""
        self.run(AWAIT.format(f"[ ! -e /sys/class/net/{self.name} ]"), check=True)
        self.guest.run(f"ip netns del {self.space}", check=True)

    def keys(self):
        return keys(self.dom0, self.guest.domid(), "vif", self.index)

    def ping(self, address=DOM0_ADDRESS, count=3, more=""):
        out = self.run(f"ping -c {count} -i 0.1 -W 5 -q {more} {address}", timeout=60)
        assert f" {count} received" in out.out, out.out

    def ping_until_it_works(self, address=DOM0_ADDRESS):
        self.run(f"for i in $(seq 40); do ping -c 1 -W 1 -q {address} >/dev/null 2>&1 && exit 0; sleep 0.1; "
                 "done; exit 1", timeout=90, check=True)

    def counters(self):
        """ethtool -S: (queue, name, value)."""
        out = self.run(f"ethtool -S {self.name}", check=True).out
        return [(int(queue), name, int(value)) for queue, name, value in
                re.findall(r"^ *queue_(\d+)_(\w+): (\d+)$", out, re.M)]

    def queue_counter(self, wanted):
        """One counter of each queue."""
        return [value for _, name, value in self.counters() if name == wanted]

    def statistics(self):
        """All counters, added up over the queues."""
        counted = {}
        for _, name, value in self.counters():
            counted[name] = counted.get(name, 0) + value
        return counted

    def who_waits(self):
        """For the report of a failure: both ends' connections, netback's view of the rings, the guest's event
        channels (pending, masked) and counters."""
        theirs = "ss -tino; mountpoint -q /sys/kernel/debug || mount -t debugfs debug /sys/kernel/debug; " \
            f"cd /sys/kernel/debug/xen-netback/{self.back} && grep -E '^(req|rsp|Rx)' io_ring_q*; xl debug-keys e; " \
            f"xl dmesg | tac | sed '/information for domain {self.guest.domid()}:/q' | tac"
        counters = {name: value for name, value in self.statistics().items() if value}
        return "\n".join(["dom0:", self.dom0.run(theirs).out, "guest:", self.run("ss -tino").out, f"{counters}"])
