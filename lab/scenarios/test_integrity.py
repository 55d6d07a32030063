# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What was flushed is there, and nothing else has changed: whatever happens to the backend, the disk or
the guest while lab/programs/oracle.cc writes in it.

SEED= repeats a run's content and moments; SOAK=1 has more rounds of each.
"""

import os
import random
import re
import shlex
import time

import pytest

from lab import programs
from lab.backends import Backend
from lab.disks import Disk, guest_with_qemu

pytestmark = [pytest.mark.lab_only,
              pytest.mark.limit(3600 if os.environ.get("SOAK") else 400)]

SECONDS = 2  # which take a minute of real time if the machine is busy
ROUNDS = 20 if os.environ.get("SOAK") else 1
MIB, JOBS = 16, 4
NAME = "xvdp"
ORACLE = "/lab/oracle"
QDISK = {"backend": "qdisk"}
BACKENDS = [pytest.param({}, id="blkback"), pytest.param(QDISK, id="qdisk")]


class Oracle:
    """The program in dom0 and in a guest, for one volume."""

    def __init__(self, dom0, image, seed):
        self.dom0, self.image, self.seed, self.filled = dom0, image, seed, True
        self.random = random.Random(seed)
        dom0.put(programs.build("oracle"), ORACLE)
        dom0.run(f"chmod +x {ORACLE}; truncate -s {MIB}M {image}; {ORACLE} fill {image} {self.words}",
                 check=True)

    @property
    def words(self):
        return f"{self.seed} {MIB} {JOBS}"

    def start(self, guest, name, seconds=SECONDS):
        """Writes in the guest's background, which its console hears of."""
        if guest.run("[ -x /tmp/oracle ]").rc:
            guest.put(programs.build("oracle"), "/tmp/oracle")
        if not self.filled:
            # What the round before wrote last, this one may not reach: nobody could judge it.
            self.seed += 1
            guest.run(f"/tmp/oracle fill /dev/{name} {self.words}", check=True)
        self.filled = False
        self.guest, self.name, self.begin = guest, name, guest.seen
        guest.send(f"(/tmp/oracle write /dev/{name} {self.words} {seconds} &)\n")
        guest.expect(rf"{name} flushed \d+ \d+\r?\n", 60)

    def pause(self):
        """A moment that the seed chooses."""
        end = time.monotonic() + self.random.uniform(0.1, 2)
        while time.monotonic() < end:
            self.guest.console.pump(end - time.monotonic())

    def heard(self, word):
        text = self.guest.console.text(self.begin)
        return re.findall(rf"^{self.name} {word} (\d+) (\d+)$", text, re.M)

    def finish(self, errors=False):
        """All jobs have ended, none with an error if there has to be none."""
        self.guest.expect(rf"{self.name} written\r?\n", 300)
        assert len(self.heard("error")) == (JOBS if errors else 0), self.heard("error")

    def check(self):
        """Judges the image by what the console has said."""
        flushed = dict(self.heard("flushed"))
        assert flushed
        acknowledged = " ".join(f"{job}={last}" for job, last in flushed.items())
        result = self.dom0.run(f"{ORACLE} check {self.image} {self.words} {acknowledged}")
        print(result.out)
        assert result.rc == 0, result.out


def attached(world, seed, name=NAME, **settings):
    """A disk with the oracle's content on a guest that may have any disk."""
    disk = Disk(guest_with_qemu(world), name, MIB, **settings)
    oracle = Oracle(world.dom0, disk.image, seed)
    disk.attach()
    return disk, oracle


def restart_qemu(dom0, domid):
    """Kills the QEMU that serves a guest's qdisks and starts it again, as a toolstack would."""
    key = f"/local/domain/{domid}/image/device-model-pid"
    pid = dom0.run(f"xenstore-read {key}", check=True).out.strip()
    words = dom0.get(f"/proc/{pid}/cmdline").decode().split("\0")[:-1]
    backends = f"/local/domain/0/backend/qdisk/{domid}"
    # QEMU takes up what is in the first state.
    dom0.run(f"kill -9 {pid}; while [ -d /proc/{pid} ]; do sleep 0.1; done; "
             f"for disk in $(xenstore-list {backends}); do "
             f"xenstore-write {backends}/$disk/state 1; done; "
             f"setsid {shlex.join(words)} >/var/log/qemu-again.log 2>&1 </dev/null & "
             f"xenstore-write {key} $!", check=True)


def test_qemu_is_killed_and_restarted(world, dom0, seed):
    """Nothing fails in the guest: what was in flight is done by the next backend."""
    disk, oracle = attached(world, seed, **QDISK)
    for _ in range(ROUNDS):
        oracle.start(disk.guest, disk.name)
        oracle.pause()
        restart_qemu(dom0, disk.guest.domid())
        oracle.finish()
        oracle.check()
    disk.detach()
    disk.remove()


def test_backend_process_is_replaced(world, dom0, seed):
    """The same with a backend that leaves no trace but its grants and keys."""
    guest = guest_with_qemu(world)
    image = "/root/replaced.img"
    oracle = Oracle(dom0, image, seed)
    options = {"domid": guest.domid(), "vdev": NAME, "file": image}
    backend = Backend(dom0, "blk", **options)
    backend.attach()
    for _ in range(ROUNDS):
        oracle.start(guest, NAME)
        oracle.pause()
        backend.try_ask("quit")
        backend.process.wait(10)
        backend = Backend(dom0, "blk", **options)
        backend.attach()
        oracle.finish()
        oracle.check()
    backend.ask("detach 5")
    backend.end()
    dom0.run(f"rm {image}", check=True)


@pytest.mark.parametrize("settings", BACKENDS)
def test_detached_while_busy(world, dom0, seed, settings):
    """It goes when its last user has gone, and until then it works."""
    for _ in range(ROUNDS):
        disk, oracle = attached(world, seed, **settings)
        oracle.start(disk.guest, disk.name)
        oracle.pause()
        dom0.run(f"xenstore-write {disk.node}/online 0; xenstore-write {disk.node}/state 5",
                 check=True)
        oracle.finish()
        disk.detach()
        oracle.check()
        disk.remove()


# With xen-blkback alone: QEMU 7.2 was seen to crash when the keys of a busy disk vanish, and libxl to
# give up waiting for it.
@pytest.mark.allow_log(NAME, r"Buffer I/O", "I/O error")
def test_taken_away_while_busy(world, dom0, seed):
    """Writers get errors at once, and what they were told before is true."""
    for _ in range(ROUNDS):
        disk, oracle = attached(world, seed)
        oracle.start(disk.guest, disk.name, 60)
        oracle.pause()
        dom0.run(f"xl block-detach --force {disk.guest.name} {NAME}", check=True)
        oracle.finish(errors=True)
        oracle.check()
        disk.remove()


def test_grown_while_busy(world, dom0, seed):
    for _ in range(ROUNDS):
        disk, oracle = attached(world, seed)
        oracle.start(disk.guest, disk.name)
        oracle.pause()
        disk.resize(2 * MIB)
        oracle.finish()
        disk.guest.run(f"[ $(blockdev --getsize64 {disk.device}) = {2 * MIB << 20} ]", check=True)
        disk.detach()
        oracle.check()
        disk.remove()


def test_power_loss(world, dom0, seed):
    """xl destroy at any moment, with disks of both backends."""
    for _ in range(ROUNDS):
        volumes = [attached(world, seed), attached(world, seed, "xvdq", **QDISK)]
        for disk, oracle in volumes:
            oracle.start(disk.guest, disk.name, 60)
        oracle.pause()
        disk.guest.destroy()
        disk.guest.console.wait(20)
        for disk, oracle in volumes:
            oracle.check()
            disk.remove()
        # The journal of the guest's root is replayed by its next life.
        assert dom0.run("e2fsck -p /dev/vdb", timeout=120).rc in (0, 1)
