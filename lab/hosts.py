# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A second Xen host beside the lab's: another QEMU from the same snapshot, a network between the two bridges,
and a disk with a guest's root that both have.
"""

import contextlib
import os
import socket
import subprocess

from lab import images
from lab.dom0 import await_command
from lab.leaks import LeakWatch
from lab.logs import LogWatch, find_complaints
from lab.qemu import Lab
from lab.steps import BUILD, LabError

DISK = "/dev/vdd"  # in both
PORT = 7010
ADDRESS = "10.77.0.{}"
AHEAD = 60  # seconds
SSHD = ["/usr/sbin/sshd", "/lib/x86_64-linux-gnu/libwrap.so.0"]  # what a guest lacks of it
SSH = "exec ssh -i /lab/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def plug(lab, number, disk, **link):
    """The shared disk and a network card, which becomes a part of the bridge. What one QEMU writes the other
    one reads: both use the file through this machine's page cache, and blkback keeps nothing in dom0's."""
    command = lab.qemu.monitor.command
    command("blockdev-add", **{"driver": "raw", "node-name": "shared", "cache": {"no-flush": True},
                               "file": {"driver": "file", "filename": str(disk), "locking": "off"}})
    command("device_add", driver="virtio-blk-pci", drive="shared", id="shared", **{"share-rw": True})
    mac = f"52:54:00:78:00:0{number}"
    command("netdev_add", type="socket", id="link", **link)
    command("device_add", driver="virtio-net-pci", netdev="link", id="link-card", romfile="", mac=mac)
    # There may be a card already: lab.add_network_card().
    lab.dom0.run(f"modprobe virtio_net; ({await_command(f'[ -b {DISK} ]')}) && "
                 f"({await_command(f'grep -qs {mac} /sys/class/net/eth*/address')}) && "
                 f"ip link set $(grep -l {mac} /sys/class/net/eth*/address | cut -d/ -f5) master xenbr0 up",
                 timeout=60, check=True)


class Watch:
    """The logs of a host and what Xen holds there."""

    def __init__(self, dom0):
        self.logs = LogWatch(dom0)
        self.leaks = LeakWatch(dom0, self.logs.census)

    def problems(self):
        complaints = [f"{log}: {line}" for log, text in self.logs.read().items() for line in find_complaints(text)]
        return complaints + self.leaks.check(self.logs.census)


@contextlib.contextmanager
def second_host(world):
    """Its dom0. The first one's machine is not fit for anything else afterwards, so both are looked at, and
    ended, here; guests are gone by then. What the second one logged is kept if something fails."""
    first, disk = world.dom0, BUILD / "run" / f"shared-{world.lab.name}"
    for name in list(world.guests):
        world.drop(name)
    second = Lab(f"{world.lab.name}-second", os.environ.get("XEN") or None)
    port = free_port()
    try:
        subprocess.run(["cp", "--sparse=always", images.GUEST_ROOT, disk], check=True)
        dom0 = second.start()
        world.kernel.install(dom0)  # for a guest that reboots there
        plug(world.lab, 1, disk, listen=f"127.0.0.1:{port}")
        # Both come from one snapshot: this one needs an address of its own, and gives out none.
        dom0.run("pkill dnsmasq; ip addr flush dev xenbr0; ip link set xenbr0 address 52:54:00:78:00:f2; "
                 f"ip addr add {ADDRESS.format(2)}/24 dev xenbr0", check=True)
        plug(second, 2, disk, connect=f"127.0.0.1:{port}")
        dom0.run(f"ping -c 1 -w 20 {ADDRESS.format(1)}", check=True)
        watches = [Watch(first), Watch(dom0)]
        try:
            yield dom0
        except BaseException:
            with contextlib.suppress(LabError):
                world.keep(second.name, watches[1].logs.texts())
            raise
        problems = [problem for watch in watches for problem in watch.problems()]
        assert not problems, "\n".join(problems)
        world.reset()
    finally:
        second.stop(clean=False)
        disk.unlink(missing_ok=True)


def set_clock(dom0, other):
    """To what the other one has, and more. Two QEMUs on a busy machine do not agree for long, and a
    guest's date does not go back with it."""
    now = float(other.run("date +%s.%N", check=True).out)
    dom0.run(f"date -s @{now + AHEAD:.6f}", check=True)


def move(guest, target):
    """Live, to another dom0; over a connection that nobody has to log in for."""
    set_clock(target, guest.dom0)
    target.run("rm -f /lab/in /lab/received; mkfifo /lab/in; "
               f"(nc -N -l -p {PORT} < /lab/in | xl migrate-receive > /lab/in 2> /lab/received) "
               f">/dev/null 2>&1 </dev/null & {await_command(f'ss -Hltn | grep -q :{PORT}')}", check=True)
    out = guest.dom0.run(f"xl migrate -s '' {guest.name} 'exec nc -N {target.address()} {PORT}'", timeout=560)
    assert out.rc == 0, out.out + target.run("cat /lab/received").out
    guest.console.wait(20)
    guest.dom0 = target
    guest.attach_to_shell()


class Session:
    """A client in dom0, which stays there, is logged in to the guest by ssh; with the server of dom0's."""

    def __init__(self, guest):
        dom0 = guest.dom0
        dom0.run("rm -f /lab/key /lab/key.pub; ssh-keygen -q -t ed25519 -N '' -f /lab/key", check=True)
        for path in SSHD:
            guest.put(dom0.get(path), path)
        guest.put(dom0.get("/lab/key"), "/root/key")  # the host's, too
        key = dom0.get("/lab/key.pub").decode().strip()
        guest.run("mkdir -p /run/sshd /root/.ssh && "
                  f"echo {key} > /root/.ssh/authorized_keys && chmod -R go= /root/key /root/.ssh /root && "
                  "echo sshd:x:74:65534::/run/sshd:/usr/sbin/nologin >> /etc/passwd && "
                  "/usr/sbin/sshd -f /dev/null -h /root/key", check=True)
        self.process = dom0.spawn(f"{SSH} root@{guest.address()} cat")
        self.seen = self.lines = 0
        self.check()

    def check(self):
        """What is typed comes back."""
        self.lines += 1
        self.process.write(b"line %d\n" % self.lines)
        self.seen = self.process.expect(rf"line {self.lines}\n", 60, self.seen)

    def end(self):
        self.process.close_input()
        assert self.process.wait(30) == 0, self.process.text()
