# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A real Xen host as the machine under test, over the system's ssh: TARGET=ssh://root@host[:port].

The host is left as it was: all that the lab puts there is in one folder below /var/tmp, which is
removed at the end, as are the domains that came since the beginning. What a host must have is
checked before anything is done.
"""

import os
import re
import select
import shlex
import subprocess
import tempfile

from lab import images, leaks
from lab.dom0 import Dom0, Process
from lab.steps import LOGS, LabError, say, tail

TOOLS = "bash xl xenstore-ls xenstore-read ip dmesg e2fsck mktemp gzip"
NAMES = ["xendemo", "xendemo2"]
# What the lab's own dom0 calls the disks with the guests' roots; scenarios use these names.
LAB_DISKS = ["/dev/vdb", "/dev/vdc"]
LAB_BRIDGE = "xenbr0"
ROOM_MIB = 4000
KILL_SECONDS = 20
CHECKS = """
[ "$(id -u)" = 0 ] || {{ echo "log in as root"; exit 1; }}
for tool in {tools}; do
    command -v $tool >/dev/null || {{ echo "$tool is not there"; exit 1; }}
done
xl info >/dev/null 2>&1 || {{
    echo "xl info fails: it is no Xen host, or its tools do not run"; exit 1; }}
[ -d /sys/class/net/{bridge}/bridge ] || {{
    echo "there is no bridge {bridge}; BRIDGE= names another"; exit 1; }}
for name in {names}; do
    ! xl domid $name >/dev/null 2>&1 || {{ echo "a domain $name runs already"; exit 1; }}
done
for disk in {volumes}; do
    [ -e $disk ] || {{ echo "there is no $disk, which DISKS= names"; exit 1; }}
done
[ "$(df -Pm /var/tmp | awk 'NR == 2 {{ print $4 }}')" -ge {room} ] || {{
    echo "/var/tmp has not {room} MiB free"; exit 1; }}
"""


def parse_target(text):
    """(user@host, port or None) of ssh://user@host[:port]."""
    match = re.fullmatch(r"ssh://(\w[\w.-]*@)?(\w[\w.-]*|\[[0-9a-fA-F:]+\])(?::(\d+))?/?", text)
    if not match or (match[3] and not 0 < int(match[3]) < 65536):
        raise LabError(f"TARGET={text} is neither qemu nor ssh://root@host[:port]")
    return (match[1] or "root@") + match[2].strip("[]"), match[3]


def refuse_unfit_host(target):
    """One line about a host that will not do, before anything is started for it."""
    host = SshHost("ssh-check", target)
    host.close(host.connect())


class SshProcess(Process):
    """One ssh, which shares the run's connection."""

    def __init__(self, dom0, command, pty):
        super().__init__()
        self.dom0 = dom0
        self.number = dom0.next_number()
        # By this file a process can be signalled; without a folder yet, none is.
        note = f"echo $$ > {dom0.folder}/pid.{self.number}; " if dom0.folder else ""
        script = f"{note}cd; {command}"
        self.process = subprocess.Popen(
            [*dom0.ssh, *(["-tt"] if pty else []), dom0.host, f"exec bash -c {shlex.quote(script)}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=dom0.log)

    def write(self, data):
        view = memoryview(data)
        os.set_blocking(self.process.stdin.fileno(), False)
        while view:
            try:
                view = view[os.write(self.process.stdin.fileno(), view):]
            except BlockingIOError:
                self.pump(0)
                select.select([], [self.process.stdin], [], 0.1)
            except OSError as error:
                raise LabError(f"{self.dom0.host}: a command ended before it read its input") \
                    from error

    def close_input(self):
        self.process.stdin.close()

    def kill(self, number=9):
        signaller = self.dom0.spawn(f"kill -{number} -- -$(cat {self.dom0.folder}/pid.{self.number})")
        signaller.close_input()
        if signaller.wait(KILL_SECONDS) is None:
            # The host hangs; what is left to end is here.
            signaller.process.kill()
            self.process.kill()

    def fileno(self):
        return self.process.stdout.fileno()

    def pump(self, timeout):
        if self.rc is not None or not select.select([self], [], [], max(0, min(timeout, 1)))[0]:
            return
        data = os.read(self.fileno(), 1 << 16)
        self.output += data
        if data and self.sink:
            self.sink(data)
        if not data:
            self.rc = self.process.wait()
            if self.rc == 255 and self.dom0.folder:
                self.dom0.check_connection()


class SshDom0(Dom0):
    """A dom0 behind ssh. The lab's names for disks, bridge and folder are replaced by the host's."""

    def __init__(self, ssh, host, log, names):
        self.ssh = ssh
        self.host = host
        self.log = log
        self.folder = None
        self.names = names
        self.number = 0

    def next_number(self):
        self.number += 1
        return self.number

    def adapt(self, text):
        # In one pass, because a host's name may be one of the lab's, too; the longest name counts.
        names = sorted(self.names, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, names)), lambda match: self.names[match[0]], text) \
            if names else text

    def check_connection(self):
        if subprocess.run([*self.ssh, "-O", "check", self.host], capture_output=True,
                          check=False).returncode:
            raise LabError(f"the ssh connection to {self.host} broke")

    def spawn(self, command, pty=False, quiet=False):
        errors = "" if pty else "exec 2>/dev/null; " if quiet else "exec 2>&1; "
        return SshProcess(self, errors + self.adapt(command), pty)

    def put(self, path, remote, timeout=300):
        super().put(path, self.adapt(remote), timeout)


class SshHost:
    """The target of a run, with what scenarios need put on it."""

    def __init__(self, name, target):
        self.name = name
        self.target = target
        self.host, port = parse_target(target)
        self.bridge = os.environ.get("BRIDGE") or LAB_BRIDGE
        self.volumes = (os.environ.get("DISKS") or "").replace(",", " ").split()
        if self.volumes and len(self.volumes) != len(LAB_DISKS):
            raise LabError(f"DISKS= names {len(self.volumes)} volumes, and {len(LAB_DISKS)} are "
                           "needed")
        if strange := [volume for volume in self.volumes if not volume.startswith("phy:/")]:
            raise LabError(f"DISKS= names {strange[0]}, which is no phy:/dev/...")
        self.scratch = tempfile.TemporaryDirectory(prefix="proxenos-ssh-")
        config = os.environ.get("SSH_CONFIG")
        self.ssh = ["ssh", *(["-F", config] if config else []), *(["-p", port] if port else []),
                    "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15",
                    "-o", "ControlMaster=auto", "-o", f"ControlPath={self.scratch.name}/control",
                    "-o", "ControlPersist=yes"]
        self.dom0 = None

    @property
    def running(self):
        return self.dom0 is not None

    def log_path(self):
        LOGS.mkdir(parents=True, exist_ok=True)
        return LOGS / f"{self.name}.ssh.log"

    def connect(self):
        """Logs in and makes sure that the host will do."""
        self.log_path().write_bytes(b"")
        with open(self.log_path(), "ab") as log:
            dom0 = SshDom0(self.ssh, self.host, log.fileno(), {})
            # The log stays open for the processes to come, under a number of its own.
            dom0.log = os.dup(log.fileno())
        if dom0.run("true", 60).rc:
            self.close(dom0)
            raise LabError(f"TARGET={self.target}: ssh cannot log in: {tail(self.log_path(), 1)}")
        try:
            self.check(dom0)
        except BaseException:
            self.close(dom0)
            raise
        return dom0

    def start(self):
        dom0 = self.connect()
        try:
            self.prepare(dom0)
        except BaseException:
            self.close(dom0)
            raise
        self.dom0 = dom0
        return dom0

    def check(self, dom0):
        volumes = " ".join(shlex.quote(volume.rpartition(":")[2]) for volume in self.volumes)
        result = dom0.run(CHECKS.format(tools=TOOLS, bridge=shlex.quote(self.bridge),
                                        names=" ".join(NAMES), volumes=volumes,
                                        room=100 if self.volumes else ROOM_MIB))
        if result.rc:
            why = result.out.strip() or f"the check of the host ended with {result.rc}"
            raise LabError(f"TARGET={self.target}: {why}")
        if leaks.LeakWatch(dom0, None).take() is None:
            raise LabError(f"TARGET={self.target}: Xen's log has no room for what its debug keys "
                           f"{leaks.KEYS} print; boot Xen with conring_size=1M")

    def prepare(self, dom0):
        self.before = set(self.domains(dom0))
        folder = dom0.run("mktemp -d /var/tmp/proxenos.XXXXXX", check=True).out.strip()
        dom0.folder = folder
        dom0.names = {"/lab/": f"{folder}/", f"bridge={LAB_BRIDGE}": f"bridge={self.bridge}"}
        for index, ours in enumerate(LAB_DISKS):
            if self.volumes:
                dom0.names |= {f"phy:{ours}": self.volumes[index],
                               ours: self.volumes[index].rpartition(":")[2]}
            else:
                theirs = f"{folder}/root{index}.ext4"
                dom0.names |= {f"phy:{ours}": f"file:{theirs}", ours: theirs}
        if not self.volumes:
            self.copy_roots(dom0)

    def copy_roots(self, dom0):
        """The guest's root file system goes over once, packed, and stays sparse."""
        say(f"copying the guest's root file system to {self.host}")
        process = dom0.spawn(f"gzip -dc | dd of={LAB_DISKS[0]} bs=64k conv=sparse iflag=fullblock "
                             f"status=none && cp --sparse=always {LAB_DISKS[0]} {LAB_DISKS[1]}")
        packed = subprocess.Popen(["gzip", "-1c", images.GUEST_ROOT], stdout=subprocess.PIPE)
        while block := packed.stdout.read(1 << 20):
            process.write(block)
        process.close_input()
        if packed.wait() or process.wait(600) != 0:
            raise LabError(f"TARGET={self.target}: the guest's root could not be copied: "
                           f"{process.text().strip()}")

    def domains(self, dom0):
        return [line.split()[0] for line in dom0.run("xl list", check=True).out.splitlines()[1:]]

    def stop(self, clean=True):
        """Leaves the host as it was."""
        if self.dom0 is None:
            return True
        dom0, self.dom0 = self.dom0, None
        try:
            for name in set(self.domains(dom0)) - self.before:
                dom0.run(f"xl destroy {shlex.quote(name)}")
            return True
        except LabError:
            return False
        finally:
            self.close(dom0)

    def close(self, dom0):
        try:
            if dom0.folder:
                folder, dom0.folder = dom0.folder, None
                dom0.run(f"rm -rf {folder}")
        except LabError:
            pass
        finally:
            subprocess.run([*self.ssh, "-O", "exit", self.host], capture_output=True, check=False)
            os.close(dom0.log)
