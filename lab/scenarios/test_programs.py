# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Programs of two guests' speak to each other, over event channels and memory that they share: libxenvchan as
Debian has it, at /dev/xen/evtchn, gntalloc and gntdev. SOAK=1 adds other rings, kills, and suspensions.
"""

import os
import time

import pytest

from lab import programs
from lab.steps import LabError
from lab.world import SECOND

PROGRAM = "/tmp/vchan"
SAVED = "/root/saved"
NODES = ["evtchn", "gntalloc", "gntdev"]

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(600)]
long_run = pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes too long for every run: SOAK=1")


@pytest.fixture
def pair(world):
    """Two guests with the program; whatever ran of it before has ended."""
    guests = world.guest(), world.guest(**SECOND)
    missing = [guest for guest in guests if guest.run(f"pkill -9 vchan; [ -e {PROGRAM} ]").rc]
    program = programs.build("vchan") if missing else None
    for guest in missing:
        guest.put(program, PROGRAM)
    return guests


class Server:
    """The program in a guest's background, for another guest to ask."""

    def __init__(self, guest, peer, ring):
        self.guest = guest
        self.path = f"/local/domain/{guest.domid()}/data/vchan"
        guest.dom0.run(f"xenstore-rm {self.path}; true") # of one that was killed
        guest.run(f"({PROGRAM} serve {peer.domid()} {self.path} {ring} > /tmp/served 2>&1 &) "
                  ">/dev/null 2>&1 </dev/null", check=True)
        self.wait(f"xenstore-read {self.path}/event-channel", guest.dom0)

    def wait(self, command, machine=None, seconds=30):
        deadline = time.monotonic() + seconds
        while (machine or self.guest).run(command).rc:
            if time.monotonic() > deadline:
                raise LabError(f"{command!r} does not succeed: {self.guest.run('cat /tmp/served').out}")
            time.sleep(0.5)

    def ask(self, peer, count):
        """The command for the peer."""
        return f"{PROGRAM} ask {self.guest.domid()} {self.path} {count}"

    def closed(self):
        """After how many bytes the other end went."""
        self.wait("grep -q ^closed /tmp/served")
        return int(self.guest.run("cat /tmp/served", check=True).out.split()[-1])


def test_devices_are_the_superusers(world):
    guest = world.guest()
    for node in NODES:
        assert guest.run(f"ls -l /dev/xen/{node}", check=True).out.startswith("crw------- 1 root root 10,")


def test_what_programs_do_to_memory(world):
    """Fork, move, protect, split, lock, read through the kernel: all of it is right, refused, or the mapping's end;
    and nobody has a page of it left."""
    guest = world.guest()
    guest.put(programs.build("mapping"), "/tmp/mapping")
    for _ in range(20):
        guest.run(f"/tmp/mapping {guest.domid()} /root/direct", check=True)
    guest.run("rm /root/direct", check=True)


# In the page that both share anyway, one page each, and as many as there can be.
@pytest.mark.parametrize("ring, count", [pytest.param(1024, 30_000, marks=long_run),
                                         pytest.param(4096, 100_000, marks=long_run), (1 << 20, 300_000)])
def test_two_guests_speak(pair, ring, count):
    first, second = pair
    for guest, peer in ((first, second), (second, first)):
        server = Server(guest, peer, ring)
        out = peer.run(server.ask(peer, count), timeout=120, check=True).out.split()
        assert out[0] == "right" and int(out[1]) >= count
        assert server.closed() == int(out[1])


@pytest.mark.parametrize("killed", ["client", pytest.param("server", marks=long_run)])
def test_other_end_notices_that_a_program_was_killed(pair, killed):
    """Its end of the memory says so, and an event comes."""
    first, second = pair
    server = Server(first, second, 4096)
    second.run(f"({server.ask(second, 0)} > /tmp/asked 2>&1 &) >/dev/null 2>&1 </dev/null", check=True)
    time.sleep(2)
    if killed == "client":
        second.run("pkill -9 vchan", check=True)
        assert server.closed() > 0
    else:
        first.run("pkill -9 vchan", check=True)
        second.run("for i in $(seq 60); do grep -q gone /tmp/asked && exit 0; sleep 0.5; done; cat /tmp/asked; exit 1",
                   timeout=60, check=True)


@long_run
def test_nothing_is_left_after_many(pair):
    """What a killed program had of the limits of all comes back: 6 times 513 pages are more than there are."""
    first, second = pair
    for _ in range(6):
        server = Server(first, second, 1 << 20)
        second.run(f"timeout -s KILL 1 {server.ask(second, 0)}; true", check=True)
        server.closed()


@long_run
def test_server_is_saved_while_they_speak(pair):
    """Its program ends in the restored guest; the other end has the old pages, and is not told."""
    first, second = pair
    server = Server(first, second, 4096)
    second.run(f"({server.ask(second, 0)} > /tmp/asked 2>&1 &) >/dev/null 2>&1 </dev/null", check=True)
    time.sleep(2)
    first.save(SAVED)
    second.run("pkill -9 vchan; true")
    first.restore(SAVED)
    server.closed()
    server = Server(first, second, 4096)
    second.run(server.ask(second, 10000), check=True)
    assert server.closed() >= 10000


@long_run
def test_saved_while_they_speak(pair):
    """The pages of the other guest's are given up, so the guest can be saved; its program ends, the other end
    notices, and the next ones speak as these did."""
    first, second = pair
    server = Server(first, second, 4096)
    second.run(f"({server.ask(second, 0)} > /tmp/asked 2>&1; echo ended >> /tmp/asked) >/dev/null 2>&1 </dev/null &",
               check=True)
    time.sleep(2)
    second.save(SAVED)
    assert server.closed() > 0
    second.restore(SAVED)
    second.run("for i in $(seq 60); do grep -q ended /tmp/asked && exit 0; sleep 0.5; done; cat /tmp/asked; exit 1",
               timeout=60, check=True)
    server = Server(first, second, 4096)
    second.run(server.ask(second, 10000), check=True)
    assert server.closed() >= 10000
