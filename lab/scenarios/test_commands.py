# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The commands themselves: make boot, and what it and the others say to bad input.

Every refusal is one clear line and a non-zero exit, leaves no QEMU, and harms no later run:
the last test of the file boots after all of them.
"""

import os
import pathlib
import pty
import select
import signal
import subprocess
import time

import pytest

from lab.logs import find_complaints
from lab.steps import BUILD, SOURCE

pytestmark = pytest.mark.lab_only
needs_mount = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="mounting a small file system needs root")
BOOT = ["make", "--no-print-directory", "boot"]


def environment(**settings):
    """A user's environment, with the kernel that the suite was started with."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("MAKE", "MFLAGS", "PYTEST")) and key not in ("T", "LAB_NAME")}
    return {**kept, **settings}


def make(*arguments, timeout=400, **settings):
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=SOURCE, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, check=False,
                          env=environment(**settings))


def running(name="boot"):
    """The QEMU processes of a command, found by the serial log that they write."""
    log = f"file:{BUILD / 'logs' / name}.xen.log".encode()
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if log in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def refused(result, *words):
    """One line says why, and nothing runs on."""
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if "error: " in line
              and not line.startswith("make")]
    assert len(errors) == 1, result.stdout[-3000:]
    assert all(word in errors[0] for word in words), errors
    assert "Traceback" not in result.stdout
    assert not running()


def logs_are_clean():
    for name in ("boot.xen.log", "boot.guest.log"):
        complaints = find_complaints((BUILD / "logs" / name).read_text(errors="replace"))
        assert not complaints, f"{name}: {complaints[:5]}"


def test_help_lists_every_target():
    out = make("help").stdout
    for target in "deps kernel boot shell check test regress loc clean".split():
        assert f"make {target}" in out


def test_unknown_pattern():
    refused(make("regress", T="no-such-scenario"), "no scenario matches T=no-such-scenario")


def test_missing_kernel():
    refused(make("boot", GUEST="/nonexistent/bzImage"), "/nonexistent/bzImage", "No such file")


def test_file_that_is_no_kernel():
    refused(make("boot", GUEST=str(SOURCE / "README.md"), GUEST_INITRD=""), "xl create refused")


def test_missing_hypervisor():
    refused(make("boot", XEN="/nonexistent/xen.gz"), "/nonexistent/xen.gz")


def test_file_that_is_no_hypervisor():
    refused(make("boot", XEN=str(SOURCE / "README.md")), "QEMU")


def test_missing_disk_image(tmp_path):
    config = tmp_path / "guest.cfg"
    text = (SOURCE / "lab/guest.cfg").read_text()
    config.write_text(text.replace("phy:/dev/vdb", "file:/nonexistent/disk.img"))
    refused(make("boot", CONFIG=str(config)), "/nonexistent/disk.img")


def test_missing_configuration():
    refused(make("boot", CONFIG="/nonexistent/guest.cfg"), "/nonexistent/guest.cfg")


@needs_mount
def test_full_disk():
    """The directory for QEMU's overlays is on a file system with almost no room."""
    run = BUILD / "run"
    script = f"mount -t tmpfs -o size=8m tmpfs '{run}' && exec make --no-print-directory boot"
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], cwd=SOURCE, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=300, check=False, env=environment())
    refused(result, "MiB free")


@needs_mount
def test_disk_that_becomes_full():
    """There is room when QEMU starts, and none when the guest writes."""
    run = BUILD / "run"
    script = (f"mount -t tmpfs -o size=720m tmpfs '{run}' && "
              f"(while sleep 0.1; do [ -s '{BUILD}/logs/boot.xen.log' ] && "
              f"ls '{run}'/qemu-* >/dev/null 2>&1 && sleep 4 && "
              f"head -c 800M /dev/zero > '{run}/filler' 2>/dev/null; done) & filler=$!; "
              "make --no-print-directory boot; status=$?; kill $filler; exit $status")
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], cwd=SOURCE, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=300, check=False, env=environment())
    refused(result, "is full")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_interrupted(number):
    process = subprocess.Popen(BOOT, cwd=SOURCE, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True, env=environment())
    seen = ""
    for line in process.stdout:
        seen += line
        if "xl create" in line:
            break
    assert running(), seen
    time.sleep(3)
    os.killpg(process.pid, number)
    seen += process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "Traceback" not in seen
    assert not running()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(SOURCE)
            os.execvpe(command[0], command, environment())

    def expect(self, text, timeout=240):
        deadline = time.monotonic() + timeout
        start = len(self.output)
        while text not in self.output[start:] and time.monotonic() < deadline:
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:
                    break
        assert text in self.output[start:], self.output[-2000:].decode(errors="replace")

    def send(self, data):
        os.write(self.fd, data)

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.limit(500)
def test_boot_on_a_terminal():
    """Interactive up to and including log-in; Ctrl-] leaves, and the guest is shut down."""
    terminal = Terminal(BOOT)
    terminal.expect(b"xendemo login:", 400)
    terminal.send(b"root\r")
    terminal.expect(b"root@xendemo:~#", 60)
    terminal.send(b"echo from-the-$((40+2))\r")
    terminal.expect(b"from-the-42", 30)
    terminal.send(b"\x1d")
    terminal.expect(b"shut down cleanly", 120)
    assert terminal.status() == 0
    logs_are_clean()
    assert not running()


@pytest.mark.limit(200)
def test_shell_in_dom0():
    terminal = Terminal(["make", "--no-print-directory", "shell"])
    terminal.expect(b"root@dom0:~#", 120)
    terminal.send(b"xl list; exit\r")
    terminal.expect(b"Domain-0", 60)
    assert terminal.status() == 0
    assert not running("shell")


@pytest.mark.limit(500)
def test_boot_without_a_terminal():
    result = make("boot")
    assert result.returncode == 0, result.stdout[-3000:]
    assert "xendemo login:" in result.stdout
    assert "xvda1" in result.stdout and "inet 10.77.0." in result.stdout
    assert "shut down cleanly" in result.stdout
    logs_are_clean()
    assert not running()
