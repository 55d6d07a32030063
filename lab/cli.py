# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The commands behind the Makefile's targets: images, boot and shell."""

import fcntl
import os
import pathlib
import re
import select
import signal
import struct
import sys
import termios
import time
import tty

from lab import backends, hosttools, images, loc, suite, xen
from lab.guest import CONFIG, Guest, GuestKernel
from lab.qemu import Lab
from lab.steps import LOGS, LabError, end_in_good_order, say

DETACH = b"\x1d"
COMMANDS_IN_GUEST = "uname -a; lsblk; ip addr"


def setting(name):
    return os.environ.get(name) or None


def chosen_kernel():
    return GuestKernel(setting("GUEST"), setting("GUEST_INITRD"))


def chosen_config():
    """The guest's configuration; CONFIG= names another than lab/guest.cfg."""
    path = pathlib.Path(setting("CONFIG") or CONFIG)
    if not path.is_file():
        raise LabError(f"CONFIG={path}: no such file")
    return path


def write_terminal(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class BootOutput:
    """Shows the console by whole lines, less what xl says of itself: that ends up in one line."""

    XL = (b"xc: ", b"libxl: ", b"Parsing config")

    def __init__(self):
        self.pending = b""

    def __call__(self, data):
        *lines, self.pending = (self.pending + data).split(b"\n")
        write_terminal(b"".join(line + b"\n" for line in lines if not line.startswith(self.XL)))

    def end(self):
        """Shows a line that has no end yet, as a prompt has none."""
        write_terminal(self.pending + b"\n" if self.pending else b"")
        self.pending = b""


def terminal_size():
    packed = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    return struct.unpack("HHHH", packed)[:2]


def interact(process):
    """Connects the user's terminal with a process in dom0 until that ends or Ctrl-] is typed."""
    saved = termios.tcgetattr(0)
    signal.signal(signal.SIGWINCH, lambda *_: process.resize(*terminal_size()))
    process.sink = write_terminal
    try:
        tty.setraw(0)
        process.resize(*terminal_size())
        while process.rc is None:
            ready, _, _ = select.select([0, process.agent], [], [], 1)
            if 0 in ready:
                data = os.read(0, 1024)
                if not data or DETACH in data:
                    return
                process.write(data)
            process.pump(0)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        process.sink = None
        print()


def console_ended(guest, error):
    """One line about a guest that ended before its prompt, from what xl or the guest said last."""
    text = guest.console.text()
    loader = re.findall(r"^(?:xc|libxl): error: (?:panic: )?(?:\w+\.c:\d+:\w*:? ?)?(.*)$", text, re.M)
    if loader and guest.console.rc:
        return LabError(f"xl create refused the guest: {loader[0]}")
    panics = re.findall(r"^.*(?:panic|BUG:|Oops).*$", text, re.M | re.I)
    if guest.console.rc is not None:
        return LabError("the guest ended before its log-in prompt"
                        f"{': ' + panics[0].strip() if panics else ''}")
    return LabError("no log-in prompt: " + str(error).splitlines()[0])


def keep_console(guest):
    """The guest's console as a file that is still there when the lab has gone."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{setting('LAB_NAME') or 'boot'}.guest.log"
    path.write_bytes(guest.console.output if guest.console else b"")
    return path


def drive(guest, interactive):
    """Takes the created guest to its log-in prompt and on: by the user, or by three commands."""
    if interactive:
        say("the guest's console; Ctrl-] leaves and shuts it down")
        interact(guest.console)
        if guest.console.rc:
            raise console_ended(guest, "xl create failed")
        return
    try:
        guest.await_prompt()
    except LabError as error:
        raise console_ended(guest, error) from error
    guest.sink.end()
    guest.console.sink = None
    guest.log_in()
    guest.address()
    print(f"root@xendemo:~# {COMMANDS_IN_GUEST}")
    print(guest.run(COMMANDS_IN_GUEST, check=True).out, flush=True)
    guest.console.sink = guest.sink


def boot():
    kernel = chosen_kernel()
    config = chosen_config()
    start = time.monotonic()
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    with Lab(setting("LAB_NAME") or "boot", setting("XEN")) as lab:
        kernel.install(lab.dom0)
        say(f"dom0 is up after {time.monotonic() - start:.0f} s; xl create")
        guest = Guest(lab.dom0, kernel.settings(), config)
        guest.sink = None if interactive else BootOutput()
        try:
            guest.create()
            drive(guest, interactive)
            if guest.domid() is not None:
                say("shutting the guest down")
                guest.shut_down()
        finally:
            path = keep_console(guest)
            if guest.sink:
                guest.sink.end()
        if not lab.stop():
            raise LabError(f"dom0 did not power off; see {LOGS}")
    # on_crash="destroy" makes it look like any other end.
    if panic := re.search(r"Kernel panic - .*", guest.console.text()):
        raise LabError(f"the guest did not end cleanly: {panic[0]}")
    say(f"the guest and dom0 shut down cleanly (console log: {path})")


def shell():
    if not sys.stdin.isatty():
        raise LabError("make shell needs a terminal")
    with Lab("shell", setting("XEN")) as lab:
        if setting("GUEST") or images.OUR_KERNEL.exists():
            chosen_kernel().install(lab.dom0)
            lab.dom0.put(chosen_config(), "/root/xendemo.cfg")
        if backends.BUILT.exists():
            backends.install(lab.dom0)
        say("dom0; try: xl create -c xendemo.cfg; exit or Ctrl-] ends it")
        interact(lab.dom0.spawn("exec bash -l", pty=True))
        lab.stop()


def build_images():
    images.build_all(stand_in=setting("GUEST") == "debian")


def run_suite(name):
    if not suite.command(name):
        sys.exit(1)


COMMANDS = {"images": build_images, "boot": boot, "shell": shell,
            "check": lambda: run_suite("check"), "test": lambda: run_suite("test"),
            "regress": lambda: run_suite("regress"), "compare": lambda: run_suite("compare"),
            "pattern": suite.refuse_unknown_pattern, "settings": suite.refuse_bad_settings,
            "fuzz": hosttools.fuzz, "corpus": hosttools.corpus, "coverage": hosttools.coverage,
            "loc": loc.main, "xen": xen.main}


def main(arguments):
    end_in_good_order()
    try:
        for name in arguments:
            COMMANDS[name]()
        return 0
    except LabError as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "interrupted"
    except OSError as error:
        message = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    print(f"lab: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
