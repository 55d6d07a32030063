# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A guest is moved while it works, to the host where it is.

That takes a Xen with shadow paging: make xen, then XEN=build/xen/shadow. SOAK=1 does it 50 times, with each
number of processors, and beside an upstream guest.
"""

import os
import statistics
import time

import pytest

from lab import images
from lab.dom0 import await_command
from lab.load import SHARED, Forks, Heartbeat, total, under_load
from lab.world import SECOND

SOAK = bool(os.environ.get("SOAK"))
CYCLES = 50 if SOAK else 2
MOVES = 5  # while something else happens
MOVE_SECONDS = 280  # for one, on a busy machine

pytestmark = [pytest.mark.lab_only, pytest.mark.usefixtures("shadow_paging"),
              pytest.mark.limit(CYCLES * MOVE_SECONDS + 400)]
long_run = pytest.mark.skipif(not SOAK, reason="takes too long for every run: SOAK=1")


def migrate(guest):
    """Without ssh: the other end is a second xl here."""
    domid = guest.domid()
    guest.dom0.run(f"xl migrate -s '' {guest.name} 'exec xl migrate-receive'", timeout=MOVE_SECONDS, check=True)
    guest.console.wait(20)
    guest.attach_to_shell()
    assert guest.domid() not in (None, domid)


@pytest.mark.parametrize("vcpus", [1, 2, 3, 4] if SOAK else [4])
def test_moved_under_load(world, vcpus):
    guest = world.guest(**{**SHARED, "vcpus": vcpus})
    under_load(guest, CYCLES, lambda: migrate(guest))


@long_run
def test_moved_while_memory_and_processors_change(world, dom0):
    """Memory goes during each move, and comes back after it: Xen's tools create the new domain before they copy,
    with no more than the target is then. And what goes after it was copied stays the new domain's, of no use to the
    guest: a move without changes gives it everything."""
    guest = world.guest(**SHARED)
    memory = total(guest)
    parts = [Forks(guest), Heartbeat(guest)]
    for _ in range(MOVES):
        dom0.run(f"rm -f /tmp/ended /tmp/changes; (until xl domid {guest.name}--incoming; do sleep 0.1; done; "
                 f"for n in $(seq 8); do xl mem-set {guest.name} $((256 - n * 16)) && "
                 f"xl vcpu-set --ignore-host {guest.name} $((n % 4 + 1)) && echo $n >> /tmp/changes; done; "
                 "touch /tmp/ended) >/dev/null 2>&1 </dev/null &")
        migrate(guest)
        dom0.run(await_command("[ -e /tmp/ended ]", 30), check=True)
        changes = dom0.run("cat /tmp/changes", check=True).out.split()
        assert len(changes) > 3 and total(guest) < memory, changes
        guest.set_vcpus(4)
        dom0.run(f"xl mem-set {guest.name} 256", check=True)
    migrate(guest)
    guest.run(await_command(f"[ $(awk '/MemTotal/ {{ print $2 }}' /proc/meminfo) -ge $(({memory - 2} << 10)) ]", 30),
              timeout=60, check=True)
    for part in parts:
        part.check()
    guest.run("stress-ng --vm 1 --vm-bytes 100M --vm-method all --verify -t 5", check=True)


def downtimes(guest):
    """The longest gaps in a heartbeat of a millisecond, of five moves, in seconds of the guest's."""
    gaps = []
    for _ in range(5):
        heartbeat = Heartbeat(guest)
        time.sleep(1)
        migrate(guest)
        gaps.append(heartbeat.check())
    return gaps


@long_run
def test_stands_still_no_longer_than_upstreams_guest(world, dom0, request):
    """Both in one dom0, one after the other, idle."""
    images.build_all(stand_in=True)
    dom0.put(images.DOM0_KERNEL, "/lab/upstream")
    dom0.put(images.STAND_IN_INITRD, "/lab/upstream-initrd")
    guests = [world.guest(**SHARED),
              world.boot(**SECOND, **SHARED, kernel="/lab/upstream", ramdisk="/lab/upstream-initrd")]
    ours, theirs = (downtimes(guest) for guest in guests)
    request.node.user_properties.append(("seconds", f"ours {ours}, upstream's {theirs}"))
    assert statistics.median(ours) <= statistics.median(theirs)
