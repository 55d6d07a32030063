# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The kernel's own ways: hot plug, an initial RAM disk, backtraces of all processors, a crash."""

import os
import pathlib
import re
import signal
import stat
import subprocess
import zlib

import pytest

from lab import core, images
from lab.disks import AWAIT
from lab.dom0 import await_command

VMLINUX = images.OUR_KERNEL.with_name("vmlinux")
CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
HELLO = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t tmpfs -o size=300m fill /fill
/bin/busybox echo initial-RAM-disk-runs
until [ $(/bin/busybox awk '/MemTotal/ { print $2 }' /proc/meminfo) -gt 400000 ]; do
    /bin/busybox usleep 100000
done
/bin/busybox head -c 200m /dev/zero >/fill/zeroes && /bin/busybox echo memory-has-come
/bin/busybox poweroff -f
"""


@pytest.mark.advisory("XSA-379", "XSA-387", "XSA-486", "XSA-501")
def test_grant_table_is_of_version_1(world, dom0):
    """Version 2 and changes between versions have been holes; the guest uses neither."""
    domid = world.guest().domid()
    log = dom0.run("xl debug-keys g; xl dmesg | grep grant-table", check=True).out
    assert set(re.findall(rf"grant-table for remote d{domid} \((v\d)\)", log)) == {"v1"}


def test_hot_plug_of_a_disk(world, dom0):
    """A disk comes and goes while the guest runs, three times, under the same name."""
    guest = world.guest()
    dom0.run("truncate -s 32M /lab/plug.img", check=True)
    for _ in range(3):
        dom0.run("xl block-attach xendemo file:/lab/plug.img xvdp w", timeout=60, check=True)
        guest.run(AWAIT.format("[ -b /dev/xvdp ]") +
                  " && mke2fs -q -F /dev/xvdp && mount /dev/xvdp /mnt && echo here > /mnt/file && "
                  "umount /mnt",
                  check=True)
        dom0.run("xl block-detach xendemo xvdp", timeout=60, check=True)
        guest.run(AWAIT.format("[ ! -b /dev/xvdp ]"), check=True)
    assert dom0.run("e2fsck -fn /lab/plug.img; rm /lab/plug.img").rc == 0


def test_hot_plug_of_a_network_interface(world, dom0):
    guest = world.guest()
    for _ in range(2):
        dom0.run("xl network-attach xendemo mac=00:16:3e:77:00:09 bridge=xenbr0",
                 timeout=60, check=True)
        guest.run(await_command("ip -4 -o addr | grep -q 'enX1 .*inet '", 30) +
                  " || { ip addr; exit 1; }", check=True)
        dom0.run("xl network-detach xendemo 1", timeout=60, check=True)
        guest.run(AWAIT.format("[ ! -e /sys/class/net/enX1 ]"), check=True)


@pytest.mark.allow_log("Call Trace", "Kernel panic", "not syncing", "crash")
def test_initial_ram_disk(world, dom0):
    """And growth to as much memory as there can be, in a guest that boots with little."""
    archive = images.Cpio()
    archive.add("bin", stat.S_IFDIR | 0o755)
    archive.add("init", stat.S_IFREG | 0o755, HELLO)
    archive.add("bin/busybox", stat.S_IFREG | 0o755,
                pathlib.Path("/bin/busybox").read_bytes())
    for folder in ("dev", "proc", "fill"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("dev/zero", stat.S_IFCHR | 0o600, device=(1, 5))
    dom0.put(archive.finish(), "/lab/hello.initrd")
    guest = world.make(ramdisk="/lab/hello.initrd", disk=[], vif=[], memory=64, maxmem=512)
    guest.create()
    guest.expect("initial-RAM-disk-runs", 90)
    dom0.run(f"xl mem-set {guest.name} 512", check=True)
    guest.expect("memory-has-come", 60)
    guest.wait_gone()


@pytest.mark.allow_log("Call Trace", "NMI backtrace")
def test_backtraces_of_all_processors(world):
    """The magic key l, which reaches the other processors by NMI."""
    guest = world.guest()
    out = guest.run("dmesg -C; echo l > /proc/sysrq-trigger; sleep 1; dmesg -t; dmesg -C",
                    timeout=40).out
    for cpu in range(2):
        assert f"NMI backtrace for cpu {cpu}" in out, out


@pytest.mark.allow_log("Call Trace", "Kernel panic", "not syncing", "crash", "Oops", "RIP", "sysrq",
                       r"\bBUG\b")
def test_crash_is_reported(world, dom0):
    """A panic leaves its last words on the console, and the toolstack hears of a crash."""
    guest = world.make(on_crash="preserve")
    guest.boot()
    guest.send("sync; echo c > /proc/sysrq-trigger\n")
    guest.expect("Kernel panic - not syncing: sysrq triggered crash", 30)
    guest.wait_crashed()
    guest.destroy()
    assert dom0.run("e2fsck -p /dev/vdb", timeout=120).rc in (0, 1)


@pytest.mark.lab_only
@pytest.mark.limit(600)
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes too long for every run: SOAK=1")
@pytest.mark.allow_log("Call Trace", "Kernel panic", "not syncing", "crash", "Oops", "RIP", "sysrq",
                       r"\bBUG\b")
def test_core_of_a_crash(world, dom0, tmp_path):
    """on_crash=coredump-destroy leaves a core; as lab.core makes it, gdb sees the guest as it was."""
    if not (world.kernel.ours and VMLINUX.exists()):
        pytest.skip("no vmlinux for this kernel")
    dump = "/var/lib/xen/dump/xendemo"
    dom0.run(f"rm -f {dump}*; mkdir -p /var/lib/xen/dump", check=True)
    guest = world.make(on_crash="coredump-destroy", memory=128, vcpus=2)
    guest.boot()
    guest.send("sync; echo c > /proc/sysrq-trigger\n")
    guest.wait_gone(200)
    dom0.run(f"gzip -1 {dump}", timeout=200, check=True)
    dumped, made = tmp_path / "dump", tmp_path / "core"
    dumped.write_bytes(zlib.decompress(dom0.get(f"{dump}.gz", timeout=300), wbits=31))
    dom0.run(f"rm {dump}.gz; e2fsck -p /dev/vdb", timeout=120)
    core.main([dumped, VMLINUX, made])
    commands = ["info threads", "x/s &linux_banner", "x/s *(char **)&saved_command_line", "thread apply all bt"]
    out = subprocess.run(["gdb", "-batch", *[f"-ex={command}" for command in commands], f"{made}.vmlinux", made],
                         capture_output=True, text=True, check=False, timeout=300).stdout
    assert "Linux version" in out and "root=/dev/xvda1" in out, out
    assert len(re.findall(r"^[* ] +\d+ +LWP", out, re.M)) == 2, out
    # Our C++ and Linux's C, from the one that tells Xen to the program's system call, and nothing between them.
    callers = re.findall(r"^#\d+ +0x\w+ in (\S+)", out.partition("\nThread 1 ")[2], re.M)
    assert callers[:4] == ["xen_hypercall", "xen_arch_shutdown", "panic", "sysrq_handle_crash"], out
    assert "ksys_write" in callers and "??" not in callers[:callers.index("ksys_write")], out


# Runs bash, which prints the time, and is killed if it makes a system call for that: gettimeofday or
# clock_gettime.
TIME_WITHOUT_A_CALL = r"""
my $filter = pack("SCCL" x 5, 0x20, 0, 0, 0,  0x15, 2, 0, 96,  0x15, 1, 0, 228,
                  6, 0, 0, 0x7fff0000,  6, 0, 0, 0);
syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, pack("S x6 P", 5, $filter)) == 0 or die $!;
exec "bash", "-c", "echo \$EPOCHREALTIME";
"""


def test_time_without_a_system_call(world):
    """Xen's clock takes one; clocksource=tsc, or the same while it runs, does without."""
    guest = world.guest()
    guest.run(f"cat > /tmp/time.pl <<'END'\n{TIME_WITHOUT_A_CALL}END", check=True)
    seconds = {}
    for clock in ("xen", "tsc", "xen"):
        guest.run(f"echo {clock} > {CLOCK} && grep -x {clock} {CLOCK}", check=True)
        seconds[clock] = guest.run("date +%s.%N; perl /tmp/time.pl")
    assert seconds["xen"].rc == 128 + signal.SIGSYS, seconds["xen"].out
    before, without = [float(line) for line in seconds["tsc"].out.split()]
    assert before <= without < before + 5


# kexec_load and kexec_file_load
@pytest.mark.parametrize("call", [246, 320])
def test_no_other_kernel_is_loaded(world, call):
    """A program that would load one hears that there is no such call."""
    if not world.kernel.ours:
        pytest.skip("upstream's kernel may have it")
    out = world.guest().run(f"perl -e 'print syscall({call}, 0, 0, 0, 0, 0), \": $!\"'").out
    assert out == "-1: Function not implemented"
