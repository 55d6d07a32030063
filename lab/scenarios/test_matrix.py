# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What the real backends can be made to offer, row by row: verified data, and nothing asked for that
was not offered. Devices come and go on one running guest; what leaks is found after each row.

The simulator has the whole matrix; here are the values that dom0's backends can be given.
"""

import itertools
import re
from typing import NamedTuple

import pytest

from lab.disks import AWAIT, Disk, guest_with_qemu, keys, parameters

pytestmark = [pytest.mark.matrix, pytest.mark.lab_only, pytest.mark.limit(200)]

MIB = 4
DEVICE = "xvdp"


class Block(NamedTuple):
    offered: dict                 # keys of the backend, as they have to be
    module: dict = {}             # parameters of xen_blkback
    disk: dict = {}               # of lab.disks.Disk


BLOCK = {
    "defaults": Block({"feature-persistent": "1", "feature-flush-cache": "1"}),
    "one-queue": Block({"feature-persistent": "0", "multi-queue-max-queues": "1"},
                       {"feature_persistent": "N", "max_queues": 1}),
    "no-discard": Block({"discard-enable": "0", "feature-discard": None, "direct-io-safe": "1"},
                        disk={"options": "no-discard,direct-io-safe"}),
    "read-only": Block({"mode": "r", "info": "4"}, disk={"read_only": True}),
    "4096-byte-sectors": Block({"sector-size": "4096", "physical-sector-size": "4096",
                                "sectors": str(MIB * 2048)}, disk={"sector": 4096}),
    # Not read-only: QEMU 7.2 refuses such a disk ("realization of device xen-disk failed: Block node is
    # read-only"), so that no backend ever answers.
    "qdisk": Block({"feature-flush-cache": "1", "max-ring-page-order": "4",
                    "feature-persistent": None}, disk={"backend": "qdisk"}),
    "qdisk-no-discard": Block({"discard-enable": "0", "feature-discard": None},
                              disk={"backend": "qdisk", "options": "no-discard"}),
}


class Nic(NamedTuple):
    offered: dict
    module: dict = {}     # parameters of xen_netback
    options: str = ""     # more of xl's for the interface
    ethtool: str = ""     # what dom0's end is made to do without


NET = {
    "defaults": Nic({"feature-sg": "1", "feature-gso-tcpv4": "1", "feature-rx-copy": "1",
                     "feature-split-event-channels": "1"}),
    "one-queue": Nic({"multi-queue-max-queues": "1"}, {"max_queues": 1}),
    "one-event-channel": Nic({"feature-split-event-channels": "0"}, {"separate_tx_rx_irq": "N"}),
    "no-hash": Nic({"feature-ctrl-ring": "1"}, {"hash_cache_size": 0}),
    "no-offloads": Nic({}, ethtool="tx off sg off tso off gso off"),
    "untrusted": Nic({}, options="untrusted"),
    "small-and-limited": Nic({}, options="mtu=1400 rate=50Mb/s"),
}


def check_offer(backend, offered):
    wrong = {name: backend.get(name) for name, value in offered.items()
             if backend.get(name) != value}
    assert not wrong, f"the backend was to offer {offered}, and has {wrong}"


def check_disk_keys(backend, frontend):
    """The frontend took what was offered, or less."""
    assert (backend["state"], frontend["state"]) == ("4", "4")
    queues = int(frontend.get("multi-queue-num-queues", 1))
    assert 1 <= queues <= int(backend.get("multi-queue-max-queues", 1))
    order = int(frontend.get("ring-page-order", 0))
    assert order <= int(backend.get("max-ring-page-order", 0))
    rings = [name for name in frontend if re.search(r"(^|/)ring-ref\d*$", name)]
    assert len(rings) == queues << order, rings
    ports = [name for name in frontend if name.split("/")[-1] == "event-channel"]
    assert len(ports) == queues, ports


def check_nic_keys(backend, frontend):
    assert (backend["state"], frontend["state"]) == ("4", "4")
    assert frontend["request-rx-copy"] == "1"
    queues = int(frontend.get("multi-queue-num-queues", 1))
    assert 1 <= queues <= int(backend.get("multi-queue-max-queues", 1))
    split = [name for name in frontend if name.endswith("event-channel-tx")]
    together = [name for name in frontend if name.split("/")[-1] == "event-channel"]
    assert len(split) + len(together) == queues
    assert not split or backend["feature-split-event-channels"] == "1"
    assert "ctrl-ring-ref" not in frontend or backend.get("feature-ctrl-ring") == "1"


# ---- disks ----

def use_disk(dom0, guest, disk):
    """Data both ways; the guest's caches see none of it."""
    device, sector = disk.device, disk.sector
    out = guest.run(f"blockdev --getro --getss --getsize64 {device}", check=True).out.split()
    assert out == [str(int(disk.read_only)), str(sector), str(MIB << 20)]
    in_guest = f"dd if={device} bs=1M iflag=direct status=none | sha256sum"
    in_dom0 = f"sha256sum < {disk.image}"
    assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out
    if disk.read_only:
        assert guest.run(f"dd if=/dev/zero of={device} bs=4k count=1 oflag=direct").rc != 0
        assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out
        return
    # Large requests, then single sectors at odd places, then a flush.
    guest.run(f"dd if=/dev/urandom of={device} bs=1M count={MIB} oflag=direct iflag=fullblock && "
              f"for at in 1 7 9 63 1001; do dd if=/dev/urandom of={device} bs={sector} seek=$at "
              f"count=1 oflag=direct,sync || exit 1; done; blockdev --flushbufs {device}",
              timeout=90, check=True)
    assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out


@pytest.mark.parametrize("name", BLOCK)
def test_disk(world, dom0, name):
    row = BLOCK[name]
    guest = guest_with_qemu(world)
    with parameters(dom0, "xen_blkback", row.module):
        disk = Disk(guest, DEVICE, MIB, **row.disk)
        dom0.run(f"head -c {MIB}M /dev/urandom > {disk.image} && sync", check=True)
        disk.attach()
        use_disk(dom0, guest, disk)
        backend, frontend = disk.keys()
        check_offer(backend, row.offered)
        check_disk_keys(backend, frontend)
        disk.detach()
        disk.remove()


# ---- network interfaces ----

PORTS = itertools.count(6001)
SUBNETS = itertools.count(1)


def transfer(sender, receiver, address, size):
    port = next(PORTS)
    receiver.run(f"(nc -l -p {port} > /run/received) >/dev/null 2>&1 </dev/null & "
                 f"until ss -Hltn | grep -q :{port}; do sleep 0.1; done", check=True)
    sent = sender.run(f"head -c {size} /dev/urandom > /run/sent; sha256sum < /run/sent; "
                      f"timeout 60 nc -N -w 20 {address} {port} < /run/sent", timeout=90, check=True)
    received = receiver.run("for i in $(seq 50); do pgrep -x nc >/dev/null || break; sleep 0.1; done; "
                            "sha256sum < /run/received", timeout=30).out
    assert received == sent.out


def use_nic(dom0, guest, net):
    guest.run(AWAIT.format("[ -e /sys/class/net/enX1 ]") +
              f" && ip link set enX1 up && ip addr add {net}.2/24 dev enX1", check=True)
    for size in (14, 1372):
        out = guest.run(f"ping -c 3 -i 0.2 -W 5 -s {size} {net}.1", timeout=30).out
        assert "3 received" in out, out
    transfer(guest, dom0, f"{net}.1", 300_003)
    transfer(dom0, guest, f"{net}.2", 300_003)


@pytest.mark.parametrize("name", NET)
def test_interface(world, dom0, name):
    row = NET[name]
    guest = guest_with_qemu(world)
    net = f"10.78.{next(SUBNETS)}"
    domid = guest.domid()
    options = f" {row.options}" if row.options else ""
    with parameters(dom0, "xen_netback", row.module):
        try:
            dom0.run("xl network-attach xendemo mac=00:16:3e:77:02:01 bridge=xenbr0"
                     f"{options} && ip addr add {net}.1/24 dev xenbr0", timeout=60, check=True)
            if row.ethtool:
                dom0.run(f"ethtool -K vif{domid}.1 {row.ethtool}", check=True)
            use_nic(dom0, guest, net)
            backend, frontend = keys(dom0, domid, "vif", 1)
            check_offer(backend, row.offered)
            check_nic_keys(backend, frontend)
            assert frontend["trusted"] == ("0" if "untrusted" in row.options else "1")
        finally:
            dom0.run(f"xl network-detach xendemo 1; ip addr del {net}.1/24 dev xenbr0", timeout=60)
    guest.run(AWAIT.format("[ ! -e /sys/class/net/enX1 ]"), check=True)
