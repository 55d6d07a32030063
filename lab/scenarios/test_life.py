# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A guest's life: it is saved and restored, or saved and goes on where it is, gets and loses processors and
memory while it works; and what its programs see of Xen.

SOAK=1 does it with each number of processors, 200 times under load, and what is left out otherwise.
"""

import os
import time

import pytest

from lab.disks import AWAIT
from lab.load import SHARED, Forks, Heartbeat, check_clock, total, under_load
from lab.steps import LabError

SOAK = bool(os.environ.get("SOAK"))
SAVES = 200 if SOAK else 1
CYCLES = 50 if SOAK else 1
ROUNDS = 100  # of four programs at once: 500 take more than ten minutes on a busy machine
SAVED = "/root/saved"
CONNECTED = "sectors of 512"  # what a disk says when it is connected
STRESS = "stress-ng --vm 1 --vm-bytes {}M --vm-method all --verify -t 5"
TOOLS = ["read", "write", "ls", "list", "rm", "exists", "chmod", "watch"]
FILES = ["/usr/bin/xenstore", "/lib/x86_64-linux-gnu/libxenstore.so.4",
         "/lib/x86_64-linux-gnu/libxentoolcore.so.1"]

pytestmark = [pytest.mark.lab_only, pytest.mark.limit(4 * 3600 if SOAK else 300)]
long_run = pytest.mark.skipif(not SOAK, reason="takes too long for every run: SOAK=1")
both_kinds_of_events = pytest.mark.parametrize(
    "events", [{}, pytest.param({"extra": "xen.fifo_events=0"}, marks=long_run)], ids=["fifo", "2-level"])


@both_kinds_of_events
@pytest.mark.parametrize("vcpus", [1, 2, 3, 4] if SOAK else [4])
def test_restored_guest_goes_on(world, dom0, vcpus, events):
    guest = world.guest(**{**SHARED, **events, "vcpus": vcpus})
    if events:
        guest.run("dmesg -t | grep 2-level", check=True)
    address = guest.address()
    heartbeat = Heartbeat(guest)
    guest.run("dmesg -C")
    domid = guest.domid()
    guest.save(SAVED)
    assert guest.domid() is None
    time.sleep(2)
    guest.restore(SAVED)
    assert guest.domid() not in (None, domid)
    # The shell is the one of before, and disk, network and all processors work.
    assert guest.run("echo here").out.strip() == "here"
    guest.run("dd if=/dev/xvda1 of=/dev/null bs=1M count=8 iflag=direct", check=True)
    assert CONNECTED in guest.run("dmesg -t").out
    for cpu in range(vcpus):
        guest.run(f"taskset -c {cpu} sleep 0.1", check=True)
    assert guest.address() == address
    dom0.run(f"ping -c 3 -i 0.3 -W 5 {address}", check=True)
    check_clock(guest)
    heartbeat.check()
    states = dom0.run("xl block-list xendemo; xl network-list xendemo", check=True).out
    assert states.count(" 4 ") >= 2, states


def test_guest_that_is_saved_and_stays(world, dom0):
    """xl save -c: nothing of the guest's is new, and the file can be restored later."""
    guest = world.guest(**SHARED)
    heartbeat = Heartbeat(guest)
    guest.run("dmesg -C")
    domid = guest.domid()
    devices = dom0.run(f"xenstore-ls -f /local/domain/{domid}/device").out
    guest.save(SAVED, "-c")
    assert guest.domid() == domid
    assert guest.run("echo here").out.strip() == "here"
    assert dom0.run(f"xenstore-ls -f /local/domain/{domid}/device").out == devices
    assert CONNECTED not in guest.run("dmesg -t").out
    check_clock(guest)
    heartbeat.check()
    dom0.run(f"rm {SAVED}", check=True)


@pytest.mark.parametrize("options", ["", pytest.param("-c", marks=long_run)], ids=["restored", "stays"])
def test_under_load(world, dom0, options):
    guest = world.guest(**SHARED)

    def step():
        guest.save(SAVED, options)
        if options:
            dom0.run(f"rm {SAVED}", check=True)
        else:
            guest.restore(SAVED)

    under_load(guest, SAVES, step)


@long_run
def test_processors_that_are_down_stay_down(world, dom0):
    """A vCPU that did not run when the guest was saved can be brought up in the restored one."""
    guest = world.guest(**SHARED)
    guest.set_vcpus(2)
    guest.save(SAVED)
    guest.restore(SAVED)
    assert guest.run("nproc", check=True).out.strip() == "2"
    guest.set_vcpus(4)
    for cpu in range(4):
        guest.run(f"taskset -c {cpu} sleep 0.1", check=True)


@long_run
def test_saved_again_right_away(world):
    """Before everything has settled."""
    guest = world.guest(**SHARED)
    for _ in range(3):
        guest.save(SAVED)
        guest.restore(SAVED)
    assert guest.run("echo here", timeout=120).out.strip() == "here"


# ---- processors ----


@both_kinds_of_events
def test_processors_come_and_go_under_load(world, dom0, events):
    guest = world.guest(**SHARED, **events)
    forks = Forks(guest)
    for _ in range(CYCLES):
        for count in (1, 3, 2, 4):
            guest.set_vcpus(count)
            running = dom0.run("xl vcpu-list xendemo", check=True).out.splitlines()[1:]
            assert sum("--p" not in line.split()[4] for line in running) == count, running
    forks.check()
    for cpu in range(4):
        guest.run(f"taskset -c {cpu} sleep 0.1", check=True)


@long_run
def test_boots_on_fewer_than_it_may_have(world):
    """vcpus= of maxvcpus=; the others are there when they are wanted."""
    guest = world.boot(vcpus=1, maxvcpus=4)
    guest.run(AWAIT.format("[ $(nproc) = 1 ]"), timeout=60, check=True)
    guest.set_vcpus(4)


def test_stolen_time_is_shown(world, dom0):
    """A processor that the guest shares with a busy dom0."""
    guest = world.guest(**SHARED)
    spin = "timeout 5 taskset -c 0 sh -c 'while :; do :; done'"

    def stolen():  # in hundredths of a second
        return int(guest.run("awk '/^cpu0 / { print $9 }' /proc/stat", check=True).out)

    dom0.run("xl vcpu-pin Domain-0 0 0 && xl vcpu-pin xendemo 0 0", check=True)
    try:
        before = stolen()
        dom0.run(f"({spin}) >/dev/null 2>&1 </dev/null &")
        guest.run(spin)
        assert 100 < stolen() - before < 450
    finally:
        dom0.run("xl vcpu-pin Domain-0 0 all; xl vcpu-pin xendemo 0 all")


# ---- memory ----


def set_memory(guest, mib):
    """Returns when Xen counts so much for the domain."""
    guest.dom0.run(f"xl mem-set {guest.name} {mib}", check=True)
    count = f"xl list {guest.name} | awk 'NR == 2 {{ print $3 }}'"
    out = guest.dom0.run(f"for i in $(seq 300); do [ $({count}) = {mib} ] && exit 0; sleep 0.1; done; "
                         f"{count}; exit 1", timeout=60)
    if out.rc:
        raise LabError(f"the guest has {out.out} MiB, and not {mib}")


@long_run
def test_memory_comes_and_goes_under_load(world):
    guest = world.guest(**SHARED)
    before = total(guest)
    forks = Forks(guest)
    for _ in range(CYCLES):
        for mib in (128, 100, 256):
            set_memory(guest, mib)
            assert abs(total(guest) - (before - 256 + mib)) <= 2
    forks.check()
    guest.run(STRESS.format(100), check=True)


@long_run
def test_stops_before_programs_die(world):
    """What the toolstack wants is impossible: the guest gives what it can, and goes on."""
    guest = world.guest(**SHARED)
    guest.dom0.run("xl mem-set xendemo 16", check=True)
    guest.run("sleep 5; ls -R /usr >/dev/null", timeout=60, check=True)
    assert "Out of memory" not in guest.run("dmesg -t").out
    set_memory(guest, 256)


def test_saved_while_it_is_small(world):
    """Frames that Xen has are no part of the file, and come back in the restored guest."""
    guest = world.guest(**SHARED)
    before = total(guest)
    set_memory(guest, 120)
    guest.save(SAVED)
    guest.restore(SAVED)
    assert abs(total(guest) - (before - 136)) <= 2
    set_memory(guest, 256)
    assert abs(total(guest) - before) <= 2
    guest.run(STRESS.format(100), check=True)


@long_run
def test_grows_beyond_what_it_booted_with(world):
    """Up to maxmem; saved and restored while it is large."""
    guest = world.boot(memory=128, maxmem=512)
    before = total(guest)
    set_memory(guest, 512)
    assert abs(total(guest) - (before + 384)) <= 2
    guest.run(STRESS.format(350), check=True)
    guest.save(SAVED)
    guest.restore(SAVED)
    assert abs(total(guest) - (before + 384)) <= 2
    guest.run(STRESS.format(350), check=True)
    set_memory(guest, 128)


# ---- programs ----


@pytest.fixture
def with_tools(world, dom0, tmp_path):
    """The shared guest, with dom0's tools."""
    guest = world.guest(**SHARED)
    if guest.run("[ -e /usr/bin/xenstore-ls ]").rc:
        for path in FILES:
            copy = tmp_path / os.path.basename(path)
            copy.write_bytes(dom0.get(path))
            guest.put(copy, path)
        for tool in TOOLS:
            guest.run(f"ln -s xenstore /usr/bin/xenstore-{tool}", check=True)
    return guest


def test_xenstore_tools(with_tools, dom0):
    """Debian's own, at /dev/xen/xenbus."""
    guest = with_tools
    assert guest.run("ls -l /dev/xen/xenbus", check=True).out.startswith("crw------- 1 root root 10,")
    assert guest.run("xenstore-read name", check=True).out.strip() == guest.name
    assert "backend-id" in guest.run("xenstore-ls device/vbd | cat", check=True).out
    guest.run("xenstore-write data/one 1 data/two/three 'a b'", check=True)
    home = f"/local/domain/{guest.domid()}"
    assert dom0.run(f"xenstore-read {home}/data/two/three", check=True).out.strip() == "a b"
    assert guest.run("xenstore-list data/two", check=True).out.strip() == "three"
    guest.run("xenstore-rm data/one && ! xenstore-exists data/one", check=True)
    assert guest.run("xenstore-write /local/domain/0/name mine").rc
    assert dom0.run("xenstore-read /local/domain/0/name", check=True).out.strip() == "Domain-0"


@long_run
def test_several_programs_use_xenstore(with_tools, dom0):
    """At once, one of which is ended in the middle of what it does."""
    guest = with_tools
    home = f"/local/domain/{guest.domid()}"
    guest.run("(xenstore-watch data/watched > /tmp/watched 2>&1 &) >/dev/null 2>&1 </dev/null; "
              "for i in $(seq 50); do [ -s /tmp/watched ] && break; sleep 0.1; done", check=True)
    guest.run(f"for p in 1 2 3 4; do (for i in $(seq {ROUNDS}); do xenstore-write data/p$p/a $i data/p$p/b $i || "
              "touch /tmp/bad; [ \"$(xenstore-read data/p$p/a)\" = $i ] || touch /tmp/bad; done) & done; wait; "
              "[ ! -e /tmp/bad ]", timeout=600, check=True)
    dom0.run(f"xenstore-write {home}/data/watched/now 1", check=True)
    guest.run("for i in $(seq 50); do grep -q watched/now /tmp/watched && break; sleep 0.1; done; "
              "pkill xenstore-watch; grep -q watched/now /tmp/watched", check=True)
    guest.run("xenstore-ls device >/dev/null", check=True)


@long_run
def test_program_watches_in_a_restored_guest(with_tools):
    """It goes on doing so."""
    guest = with_tools
    guest.run("(xenstore-watch data/kept > /tmp/kept 2>&1 &) >/dev/null 2>&1 </dev/null", check=True)
    guest.save(SAVED)
    guest.restore(SAVED)
    guest.run("xenstore-write data/kept/here 1; for i in $(seq 50); do grep -q kept/here /tmp/kept && break; "
              "sleep 0.1; done; pkill xenstore-watch; grep -q kept/here /tmp/kept", check=True)
    assert guest.run("xenstore-read name", check=True).out.strip() == guest.name


def test_sys_hypervisor(world, dom0):
    guest = world.guest(**SHARED)

    def line(name):
        return guest.run(f"cat /sys/hypervisor/{name}", check=True).out.strip()

    info = dict(part.partition(":")[::2] for part in dom0.run("xl info", check=True).out.replace(" ", "").splitlines())
    assert line("type") == "xen" and line("guest_type") == "PV"
    for name in ("major", "minor", "extra"):
        assert line(f"version/{name}") == info[f"xen_{name}"]
    assert line("uuid") in dom0.run("xl list -v xendemo", check=True).out
    assert line("properties/pagesize") == "4096"
    assert line("properties/capabilities").split()[0] == "xen-3.0-x86_64"
