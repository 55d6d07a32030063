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
from lab.load import SHARED, Forks, Heartbeat, Load, Stream, check_clock
from lab.world import SECOND

SOAK = bool(os.environ.get("SOAK"))
CYCLES = 50 if SOAK else 2
MOVE_SECONDS = 280  # for one, on a busy machine

pytestmark = [pytest.mark.lab_only, pytest.mark.usefixtures("shadow_paging"),
              pytest.mark.limit(4 * 3600 if SOAK else 600)]
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
    parts = [Load(guest), Stream(guest), Forks(guest), Heartbeat(guest)]
    for _ in range(CYCLES):
        migrate(guest)
        assert guest.run("echo here", timeout=120).out.strip() == "here"
        time.sleep(1)
    check_clock(guest)
    for part in parts:
        part.check()


@long_run
def test_moved_while_memory_and_processors_change(world, dom0):
    """xl mem-set and xl vcpu-set go on, whatever xl migrate does meanwhile: for a moment no domain has the name."""
    guest = world.guest(**SHARED)
    forks = Forks(guest)
    dom0.run("rm -f /tmp/enough /tmp/changes; (until [ -e /tmp/enough ]; do for n in 1 3 2 4; do "
             f"xl mem-set {guest.name} $((64 + n * 48)) && xl vcpu-set --ignore-host {guest.name} $n && "
             "echo $n >> /tmp/changes; sleep 1; done; done; touch /tmp/ended) >/dev/null 2>&1 </dev/null &")

    def changed():
        return int(dom0.run("cat /tmp/changes 2>/dev/null | wc -l", check=True).out)

    changes = []
    for _ in range(10):
        before = changed()
        migrate(guest)
        changes.append(changed() - before)
    dom0.run("touch /tmp/enough; until [ -e /tmp/ended ]; do sleep 0.2; done; rm /tmp/ended", timeout=120, check=True)
    print(f"changes during each move: {changes}")
    assert min(changes) > 0, changes
    forks.check()
    guest.set_vcpus(4)
    dom0.run(f"xl mem-set {guest.name} 256", check=True)
    guest.run(await_command("[ $(awk '/MemTotal/ { print $2 }' /proc/meminfo) -gt 200000 ]", 30), timeout=60,
              check=True)
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
