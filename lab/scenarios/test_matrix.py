# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What the real backends can be made to offer, row by row: verified data, and nothing asked for that
was not offered. Devices come and go on one running guest; what leaks is found after each row.

The simulator has the whole matrix; here are the values that dom0's backends can be given.
"""

import contextlib
import itertools
import re
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.matrix, pytest.mark.lab_only, pytest.mark.limit(200)]

MIB = 4
IMAGE = "/root/matrix.img"
DEVICE = "xvdp"
VBD = 51952
# QEMU, which is the backend of qdisk, is started with a guest that has such a disk.
DISKS = ["phy:/dev/vdb,xvda1,w",
         "format=raw,vdev=xvdo,access=rw,backendtype=qdisk,target=/root/idle.img"]


class Disk(NamedTuple):
    offered: dict                 # keys of the backend, as they have to be
    module: dict = {}             # parameters of xen_blkback
    options: str = ""             # more of xl's for the disk
    losetup: str = ""             # options of losetup: the disk is a loop device
    backend: str = "vbd"          # or qdisk
    read_only: bool = False
    sector: int = 512


BLOCK = {
    "defaults": Disk({"feature-persistent": "1", "feature-flush-cache": "1"}),
    "one-queue": Disk({"feature-persistent": "0", "multi-queue-max-queues": "1"},
                      {"feature_persistent": "N", "max_queues": 1}),
    "no-discard": Disk({"discard-enable": "0", "feature-discard": None, "direct-io-safe": "1"},
                       options="no-discard,direct-io-safe"),
    "read-only": Disk({"mode": "r", "info": "4"}, read_only=True),
    "4096-byte-sectors": Disk({"sector-size": "4096", "physical-sector-size": "4096",
                               "sectors": str(MIB * 2048)}, losetup="-b 4096", sector=4096),
    # Not read-only: QEMU 7.2 refuses such a disk ("realization of device xen-disk failed: Block node is
    # read-only"), so that no backend ever answers.
    "qdisk": Disk({"feature-flush-cache": "1", "max-ring-page-order": "4",
                   "feature-persistent": None}, backend="qdisk"),
    "qdisk-no-discard": Disk({"discard-enable": "0", "feature-discard": None},
                             options="no-discard", backend="qdisk"),
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


@contextlib.contextmanager
def parameters(dom0, module, values):
    """With a module's parameters set for the devices that come now."""
    folder = f"/sys/module/{module}/parameters"
    old = {name: dom0.run(f"cat {folder}/{name}", check=True).out.strip() for name in values}
    write = "echo {} > " + folder + "/{}"
    try:
        for name, value in values.items():
            dom0.run(write.format(value, name), check=True)
        yield
    finally:
        for name, value in old.items():
            dom0.run(write.format(value, name), check=True)


def keys(dom0, domid, kind, device):
    """The keys of a device: its backend's and its frontend's."""
    frontend = f"/local/domain/{domid}/device/{'vif' if kind == 'vif' else 'vbd'}/{device}"
    backend = f"/local/domain/0/backend/{kind}/{domid}/{device}"
    out = dom0.run(f"xenstore-ls -f {backend}; xenstore-ls -f {frontend}", check=True).out
    return [dict(re.findall(rf'^{path}/(\S+) = "(.*)"$', out, re.M)) for path in (backend, frontend)]


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
    assert frontend.get("feature-persistent", "0") <= backend.get("feature-persistent", "0")
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

def attach_disk(dom0, row):
    """Attaches a new disk with something on it; returns the command that undoes the rest."""
    dom0.run(f"head -c {MIB}M /dev/urandom > {IMAGE} && sync", check=True)
    target, undo = IMAGE, f"rm {IMAGE}"
    if row.backend == "vbd":
        target = dom0.run(f"losetup -f --show {row.losetup} {IMAGE}", check=True).out.strip()
        undo = f"losetup -d {target}; {undo}"
    options = "".join(f",{option}" for option in [row.options] if option)
    kind = "phy" if row.backend == "vbd" else "qdisk"
    access = "ro" if row.read_only else "rw"
    dom0.run(f"xl block-attach xendemo 'format=raw,vdev={DEVICE},access={access},backendtype={kind}"
             f"{options},target={target}'", timeout=60, check=True)
    return undo


def use_disk(dom0, guest, row):
    """Data both ways; the guest's caches see none of it."""
    guest.run(f"for i in $(seq 100); do [ -b /dev/{DEVICE} ] && break; sleep 0.1; done; "
              f"[ -b /dev/{DEVICE} ]", check=True)
    out = guest.run(f"blockdev --getro --getss --getsize64 /dev/{DEVICE}", check=True).out.split()
    assert out == [str(int(row.read_only)), str(row.sector), str(MIB << 20)]
    in_guest = f"dd if=/dev/{DEVICE} bs=1M iflag=direct status=none | sha256sum"
    in_dom0 = f"sha256sum < {IMAGE}"
    assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out
    if row.read_only:
        assert guest.run(f"dd if=/dev/zero of=/dev/{DEVICE} bs=4k count=1 oflag=direct").rc != 0
        assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out
        return
    # Large requests, then single sectors at odd places, then a flush.
    sector = row.sector
    guest.run(f"dd if=/dev/urandom of=/dev/{DEVICE} bs=1M count={MIB} oflag=direct iflag=fullblock && "
              f"for at in 1 7 9 63 1001; do dd if=/dev/urandom of=/dev/{DEVICE} bs={sector} seek=$at "
              f"count=1 oflag=direct,sync || exit 1; done; blockdev --flushbufs /dev/{DEVICE}",
              timeout=90, check=True)
    assert guest.run(in_guest, check=True).out == dom0.run(in_dom0, check=True).out


@pytest.mark.parametrize("name", BLOCK)
def test_disk(world, dom0, name):
    row = BLOCK[name]
    dom0.run("truncate -s 1M /root/idle.img", check=True)
    guest = world.guest(disk=DISKS)
    undo = "true"
    with parameters(dom0, "xen_blkback", row.module):
        try:
            undo = attach_disk(dom0, row)
            use_disk(dom0, guest, row)
            backend, frontend = keys(dom0, guest.domid(), row.backend, VBD)
            check_offer(backend, row.offered)
            check_disk_keys(backend, frontend)
        finally:
            dom0.run(f"xl block-detach xendemo {DEVICE}; {undo}", timeout=60)
    guest.run(f"for i in $(seq 100); do [ -b /dev/{DEVICE} ] || exit 0; sleep 0.1; done; exit 1",
              check=True)


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
    guest.run("for i in $(seq 100); do [ -e /sys/class/net/enX1 ] && break; sleep 0.1; done; "
              f"ip link set enX1 up && ip addr add {net}.2/24 dev enX1", check=True)
    for size in (14, 1372):
        out = guest.run(f"ping -c 3 -i 0.2 -W 5 -s {size} {net}.1", timeout=30).out
        assert "3 received" in out, out
    transfer(guest, dom0, f"{net}.1", 300_003)
    transfer(dom0, guest, f"{net}.2", 300_003)


@pytest.mark.parametrize("name", NET)
def test_interface(world, dom0, name):
    row = NET[name]
    dom0.run("truncate -s 1M /root/idle.img", check=True)
    guest = world.guest(disk=DISKS)
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
    guest.run("for i in $(seq 100); do [ -e /sys/class/net/enX1 ] || exit 0; sleep 0.1; done; exit 1",
              check=True)
