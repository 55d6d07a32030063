# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""xl's commands and options behave as with any guest."""

import re

import pytest

from lab.dom0 import await_command

MAC = "00:16:3e:77:00:01"


def test_xl_list(world, dom0):
    guest = world.guest()
    line = dom0.run("xl list xendemo", check=True).out.splitlines()[1].split()
    assert line[:4] == ["xendemo", str(guest.domid()), "256", "2"]
    assert re.fullmatch(r"[rb-]{6}", line[4])


def test_xl_vcpu_list(world, dom0):
    world.guest()
    lines = dom0.run("xl vcpu-list xendemo", check=True).out.splitlines()[1:]
    assert [line.split()[2] for line in lines] == ["0", "1"]
    assert not any(line.split()[4].startswith("--p") for line in lines)


def test_xl_network_list(world, dom0):
    world.guest()
    line = dom0.run("xl network-list xendemo", check=True).out.splitlines()[1].split()
    assert line[2] == MAC and line[4] == "4"  # State 4 is Connected.


def test_xl_block_list(world, dom0):
    world.guest()
    line = dom0.run("xl block-list xendemo", check=True).out.splitlines()[1].split()
    assert line[0] == "51713" and line[3] == "4"  # 51713 is xvda1.


def test_xl_create_c_shows_the_boot_from_its_first_line(world, dom0):
    guest = world.make(vcpus=1, extra="init=/bin/bash")
    guest.create()
    guest.expect(r"Linux version 6\.1.*Command line: .*root=/dev/xvda1.*# $", 180)
    assert "Linux version" in dom0.console_log("xendemo")
    guest.destroy()
    assert guest.console.wait(20) == 0


def test_xl_console_leaves_and_comes_back(world):
    guest = world.guest()
    guest.send("\x1d")
    assert guest.console.wait(20) is not None
    guest.attach()
    guest.send("echo still @@'here'@@\n")
    guest.expect("still @@here@@", 30)


def test_console_carries_a_long_text(world):
    """Many times the size of the console's ring, in order and complete."""
    out = world.guest().run("seq 1 9000", timeout=60).out
    assert out.split() == [str(number) for number in range(1, 9001)]


@pytest.mark.lab_only
def test_vif_mac_and_bridge(world, dom0):
    dom0.run("ip link show xenbr1 || ip link add xenbr1 type bridge; ip link set xenbr1 up")
    mac = "00:16:3e:77:00:aa"
    guest = world.boot(vif=[f"mac={mac},bridge=xenbr1"])
    assert mac in guest.run("cat /sys/class/net/e*/address").out
    assert f"vif{guest.domid()}.0" in dom0.run("ls /sys/class/net/xenbr1/brif").out


WORD = "proxenos.word=42"


def test_root_and_extra_reach_the_command_line(world):
    guest = world.guest(extra=WORD)
    words = guest.run("cat /proc/cmdline", check=True).out.split()
    assert "root=/dev/xvda1" in words and WORD in words


# Elsewhere Xen may have 2-level ones alone: its PV shim has.
@pytest.mark.lab_only
def test_event_channels_are_fifo(world):
    log = world.guest(extra=WORD).run("dmesg -t", check=True).out
    assert re.search("^xen: FIFO event channels$|Using FIFO-based ABI", log, re.M), log


UPSTREAMS = ["xen_512gb_limit=0", "xen_msr_safe=1", "xen_nopvspin", "xen_scrub_pages=0", "xen_timer_slop=5",
             "xen_legacy_crash"]


def test_upstreams_parameters_are_answered(world):
    """A configuration made for upstream's kernel works; each word that changes nothing is said to."""
    if not world.kernel.ours:
        pytest.skip("upstream's kernel does what they say")
    guest = world.boot(extra=" ".join(["earlyprintk=xen", "xen.fifo_events=0", *UPSTREAMS]))
    log = guest.run("dmesg -t", check=True).out
    assert "xen: 2-level event channels" in log.splitlines()
    assert re.findall("^xen: (.*) changes nothing: ", log, re.M) == UPSTREAMS
    assert "Unknown kernel command line" not in log, log


def test_xl_sysrq(world, dom0):
    guest = world.guest()
    guest.run("dmesg -C", check=True)
    dom0.run("xl sysrq xendemo h", check=True)
    guest.run(await_command("dmesg | grep 'sysrq: HELP'", 3), check=True)


def test_xl_trigger_nmi(world, dom0):
    """It reaches the vCPU that is named, in the kernel or in a program, which goes on."""
    guest = world.guest()
    guest.run("taskset -c 1 sh -c 'while :; do :; done' >/dev/null & echo $! > /tmp/busy; dmesg -C",
              check=True)
    for vcpu in (0, 1):
        dom0.run(f"xl trigger xendemo nmi {vcpu}", check=True)
        seen = f"dmesg | grep 'NMI received for unknown reason 00 on CPU {vcpu}'"
        guest.run(await_command(seen, 3), check=True)
    guest.run("kill $(cat /tmp/busy)", check=True)


# xl says what went wrong, and exits with 0.
@pytest.mark.parametrize("kind", ["reset", "init", "power", "sleep", "s3resume"])
def test_xl_trigger_of_other_machines_is_refused(world, dom0, kind):
    guest = world.guest()
    assert f"Send trigger '{kind}' failed" in dom0.run(f"xl trigger xendemo {kind} 2>&1").out
    guest.run("true", check=True)


@pytest.mark.allow_log("Kernel panic", "Call Trace", "not syncing", "crash")
def test_xl_trigger_ends_a_guest_that_hangs(world, dom0):
    """No program and no xenstore client of the guest need work for that."""
    guest = world.make(on_crash="preserve", extra="init=/bin/bash unknown_nmi_panic")
    guest.create()
    guest.expect(r"# $", 180)
    dom0.run("xl trigger xendemo nmi 1", check=True)
    guest.expect("Kernel panic - not syncing: NMI: Not continuing", 30)
    guest.wait_crashed()
    guest.destroy()


@pytest.mark.allow_log("Kernel panic", "Call Trace", "not syncing", "crash")
def test_no_disk_and_no_vif_is_possible(world):
    """Without a root the kernel has to panic, and Xen has to be told that it was a crash."""
    guest = world.make(disk=[], vif=[], on_crash="preserve", extra="panic=1")
    guest.create()
    guest.expect("Kernel panic|VFS: Unable to mount root|no root on", 120)
    guest.wait_crashed()
    guest.destroy()


def test_xl_reboot(world, dom0):
    guest = world.guest()
    first = guest.domid()
    dom0.run("xl reboot xendemo", check=True)
    guest.wait_other(first)
    guest.attach().log_in()
    assert float(guest.run("cut -d' ' -f1 /proc/uptime").out) < 120


def test_reboot_from_inside(world):
    guest = world.guest()
    first = guest.domid()
    guest.send("systemctl reboot\n")
    guest.wait_other(first)
    guest.attach().log_in()


def test_poweroff_from_inside(world):
    guest = world.guest()
    guest.send("systemctl poweroff\n")
    guest.wait_gone(120)


def test_xl_shutdown(world, dom0):
    guest = world.guest()
    guest.shut_down()
    names = [line.split()[0] for line in dom0.run("xl list").out.splitlines()[1:]]
    assert "Domain-0" in names and "xendemo" not in names


def test_xl_destroy_leaves_nothing_behind(world, dom0):
    guest = world.guest()
    domid = guest.domid()
    dom0.run("xl destroy xendemo", check=True)
    guest.wait_gone()
    dom0.run("for i in $(seq 50); do [ -e /sys/class/net/vif%d.0 ] || break; sleep 0.1; done" % domid)
    assert dom0.run(f"xenstore-ls /local/domain/{domid}").rc != 0
    assert not dom0.run(f"ls /sys/class/net | grep vif{domid}").out
    # A guest that was torn off leaves a journal to replay; the next boot does.
    assert dom0.run("e2fsck -p /dev/vdb", timeout=120).rc in (0, 1)
