# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""QEMU with Xen and dom0 in it: starts it, keeps a snapshot of a dom0 that is up, ends it."""

import ctypes
import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib

from lab import images
from lab.dom0 import AgentDom0, await_command, socket_pair
from lab.steps import (BUILD, IMAGES, LOGS, LabError, SOURCE, STAMPS, digest, say, step,
                       stop_group, tail)

# One thread for both CPUs: a whole guest life took 50 s, against 71 s (and 30 CPU seconds more) with
# a thread per CPU, which has oopsed a dom0 too. The suite uses the second core for a second QEMU.
ACCEL = os.environ.get("LAB_ACCEL", "tcg,thread=single")
# Time inside counts instructions, so that on a loaded machine nothing in dom0 runs into a time-out
# (xl gives up on a hotplug script after 10 s of its own time); when all are idle it is real time.
ICOUNT = os.environ.get("LAB_ICOUNT", "shift=1,sleep=on")
CPU = os.environ.get("LAB_CPU", "qemu64,+svm,+npt")
# Newer ones reserve the top of an AMD processor's addresses (HyperTransport), so that Xen takes no
# inverted address for harmless: no guest lives with pv-l1tf=domu then.
MACHINE = "pc-i440fx-7.0"
VCPUS = 2
MEMORY_MIB = 4096
DOM0_MIB = 1024
# pv-l1tf=domu: Xen ends a PV guest that writes a not-present page-table entry with an address in it,
# as it does where the processor can be made to leak by one (XSA-273).
XEN_OPTIONS = (f"com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all dom0_mem={DOM0_MIB}M "
               "bootscrub=0 conring_size=1M pv-l1tf=domu")
# QEMU translates code for each address that it runs at, and walks through all that it has translated
# of a page when the page is written: with random addresses each process costs a translation of its
# own, and pages of a library that many processes ran take minutes to be given back.
DOM0_OPTIONS = ("console=hvc0 root=/dev/vda net.ifnames=0 random.trust_cpu=on loglevel=7 panic=-1 "
                "norandmaps")
BOOT_SECONDS = 180
FREE_MIB = 700
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def end_with_parent():
    """Runs in QEMU's process before QEMU does: no QEMU outlives the program that started it."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Monitor:
    """The QEMU machine protocol over a connected socket."""

    def __init__(self, connection):
        self.connection = connection
        self.connection.settimeout(30)
        self.file = connection.makefile("r", encoding="utf-8")
        self.events = []
        self.read()
        self.command("qmp_capabilities")

    def read(self):
        try:
            line = self.file.readline()
        except OSError as error:
            raise LabError("QEMU's monitor does not answer") from error
        if not line:
            raise LabError("QEMU ended")
        return json.loads(line)

    def command(self, name, **arguments):
        request = {"execute": name, "arguments": arguments}
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise LabError(f"QEMU: {name}: {answer['error']['desc']}")
            else:
                return answer["return"]


def xen_image(path=None):
    """The hypervisor to boot as an uncompressed file; XEN= may name a .gz."""
    if not path:
        return images.XEN
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise LabError(f"XEN={path}: {error.strerror}") from error
    if data[:2] != b"\x1f\x8b":
        return pathlib.Path(path).resolve()
    try:
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise LabError(f"XEN={path}: it cannot be unpacked: {error}") from error
    unpacked = IMAGES / "xen-given"
    IMAGES.mkdir(parents=True, exist_ok=True)
    # Renamed, because another worker unpacks the same file, or boots it.
    temporary = unpacked.with_name(f"xen-given.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.rename(unpacked)
    return unpacked


class Qemu:
    """A QEMU process. `command` is the part of its command line that follows the machine's."""

    def __init__(self, name, arguments, memory=MEMORY_MIB, agent=True, inherit=()):
        self.name = name
        self.directory = BUILD / "run"
        self.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.directory).free >> 20
        if free < FREE_MIB:
            raise LabError(f"{self.directory} has {free} MiB free, and a run needs {FREE_MIB}")
        LOGS.mkdir(parents=True, exist_ok=True)
        self.serial = LOGS / f"{name}.xen.log"
        self.serial.write_bytes(b"")
        self.log = LOGS / f"{name}.qemu.log"
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="qemu-", dir=self.directory))
        monitor, monitor_end = socket_pair()
        port, port_end = socket_pair()
        command = [
            "qemu-system-x86_64", "-accel", ACCEL, "-icount", ICOUNT, "-M", MACHINE,
            "-cpu", CPU, "-smp", str(VCPUS),
            "-m", str(memory), "-display", "none", "-no-reboot", "-nodefaults", "-no-user-config",
            "-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}",
            "-mon", "chardev=monitor,mode=control", "-serial", f"file:{self.serial}"]
        if agent:
            command += ["-chardev", f"socket,id=agent,fd={port_end.fileno()}",
                        "-device", "virtio-serial-pci",
                        "-device", "virtserialport,chardev=agent,name=proxenos.agent"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, *[str(word) for word in arguments]], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=end_with_parent,
                pass_fds=[x.fileno() for x in (monitor_end, port_end, *inherit)],
                env=dict(os.environ, TMPDIR=str(self.scratch)))
        monitor_end.close()
        port_end.close()
        self.port = port
        try:
            self.monitor = Monitor(monitor)
        except BaseException as error:
            self.kill()
            if isinstance(error, LabError):
                raise LabError(f"QEMU did not start: {tail(self.log, 3) or error}") from error
            raise

    def why_dead(self):
        """None while QEMU runs, else a line for the user."""
        if self.process.poll() is None:
            return self.stopped()
        message = f"QEMU ended with status {self.process.returncode}"
        last = [line for line in tail(self.serial, 40).splitlines() if "panic" in line.lower()]
        return f"{message}; {last[-1] if last else tail(self.log, 2)} (see {self.serial})"

    def stopped(self):
        """QEMU stops the machine when the disk that holds its overlays is full."""
        status = self.monitor.command("query-status")
        if status["status"] == "io-error":
            return f"the disk that holds {self.directory} is full; the lab's QEMU was stopped"
        return None

    def wait(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        if self.process.poll() is None:
            stop_group(self.process)
        shutil.rmtree(self.scratch, ignore_errors=True)


def disks(overlay, snapshot):
    """The disks of dom0, in order: its root, the first guest's root, the second guest's."""
    result = ["-drive", f"file={overlay},format=qcow2,if=virtio,cache=unsafe,werror=enospc,"
                        f"snapshot={'on' if snapshot else 'off'}"]
    for _ in range(2):
        result += ["-drive", f"file={images.GUEST_ROOT},format=raw,if=virtio,cache=unsafe,"
                             "werror=enospc,snapshot=on"]
    return result


def machine(xen):
    return ["-kernel", xen, "-append", XEN_OPTIONS,
            "-initrd", f"{images.DOM0_KERNEL} {DOM0_OPTIONS},{images.DOM0_INITRD}"]


def make_snapshot(xen, directory):
    """Boots dom0 once and saves it, when it is up, as a disk overlay and a file of its state."""
    directory.mkdir(parents=True)
    overlay, state = directory / "dom0.qcow2", directory / "state"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b",
                    images.DOM0_ROOT, overlay], check=True)
    say("snapshot: booting dom0 once, for the runs that follow to start from")
    qemu = Qemu("snapshot", [*machine(xen), *disks(overlay, snapshot=False)])
    try:
        dom0 = AgentDom0(qemu.port, qemu.why_dead)
        dom0.hello(BOOT_SECONDS)
        dom0.run("xl list && sync", check=True)
        qemu.monitor.command("stop")
        qemu.monitor.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        qemu.monitor.command("migrate", uri=f"exec:cat > '{state}'")
        while (status := qemu.monitor.command("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise LabError("QEMU could not save dom0's state; is the disk full?")
            time.sleep(0.1)
    finally:
        qemu.kill()


def snapshot_of(xen):
    """The directory of the snapshot for this hypervisor, made if it is missing or out of date."""
    roots = [(STAMPS / name).read_text() for name in ("dom0-root", "guest-root")]
    version = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True)
    inputs = [xen, images.DOM0_KERNEL, images.DOM0_INITRD, *roots, version.stdout,
              XEN_OPTIONS, DOM0_OPTIONS, ICOUNT, MACHINE, CPU, VCPUS, MEMORY_MIB,
              SOURCE / "lab/rootfs/dom0"]
    name = "snapshot" if xen == images.XEN else f"snapshot-{digest([xen])[:8]}"
    step(name, inputs, [IMAGES / name], lambda out: make_snapshot(xen, out))
    return IMAGES / name


class Lab:
    """A dom0 in QEMU, started from the snapshot within a second or two."""

    def __init__(self, name, xen=None):
        self.name = name
        self.xen = xen_image(xen)
        self.snapshot = snapshot_of(self.xen)
        self.qemu = None
        self.dom0 = None

    def start(self):
        with open(self.snapshot / "state", "rb") as state:
            self.qemu = Qemu(self.name, [*machine(self.xen),
                                         *disks(self.snapshot / "dom0.qcow2", snapshot=True),
                                         "-incoming", f"fd:{state.fileno()}"], inherit=[state])
        try:
            while (now := self.qemu.monitor.command("query-status")["status"]) == "inmigrate":
                time.sleep(0.05)
            if now != "paused":
                raise LabError(f"QEMU is {now} after it took dom0's snapshot; see {self.qemu.log}")
            self.qemu.monitor.command("cont")
            self.dom0 = AgentDom0(self.qemu.port, self.qemu.why_dead)
            self.dom0.hello(30)
        except BaseException:
            self.stop(clean=False)
            raise
        return self.dom0

    def add_network_card(self, inside):
        """dom0's eth0, on a network of QEMU's own that leads nowhere: to `inside`, ADDRESS:PORT, from the
        port of this machine that is returned. The snapshot has no card, so it comes as into a running
        machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.qemu.monitor.command("netdev_add", type="user", id="network", restrict=True,
                                  hostfwd=[{"str": f"tcp:127.0.0.1:{port}-{inside}"}])
        self.qemu.monitor.command("device_add", driver="virtio-net-pci", netdev="network", id="card",
                                  romfile="")
        self.dom0.run("modprobe virtio_net; " + await_command("[ -e /sys/class/net/eth0 ]"), check=True)
        return port

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop(clean=False)

    def stop(self, clean=True):
        """Powers dom0 off, or just ends QEMU; tells whether it went as asked."""
        if not self.qemu:
            return True
        try:
            if clean:
                self.dom0.spawn("sync; echo o > /proc/sysrq-trigger")
                return self.qemu.wait(60) is not None
            return True
        except LabError:
            return False
        finally:
            self.qemu.kill()
            self.qemu = None

    @property
    def running(self):
        return self.qemu is not None
