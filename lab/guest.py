# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A guest of dom0: made by xl from lab/guest.cfg, driven over its console."""

import re
import shlex
import time

from lab import images
from lab.dom0 import Result, await_command
from lab.record import RECORDER
from lab.steps import LabError, SOURCE

CONFIG = SOURCE / "lab/guest.cfg"
KERNEL = "/lab/guest-kernel"
RAMDISK = "/lab/guest-initrd"
BOOT_SECONDS = 180
LOGIN = r"[a-z0-9]+ login: "
EXTRA = r'^extra = "(.*)"$'


class GuestKernel:
    """The kernel, and where it needs one the ramdisk, that guests are started with."""

    def __init__(self, path=None, ramdisk=None):
        """path is a file, "debian" for Debian's own kernel, or nothing for ours."""
        self.ours = not path
        if path == "debian":
            path, ramdisk = images.DOM0_KERNEL, ramdisk or images.STAND_IN_INITRD
        self.path = path or images.OUR_KERNEL
        self.ramdisk = ramdisk
        for name in filter(None, [self.path, self.ramdisk]):
            try:
                open(name, "rb").close()
            except OSError as error:
                raise LabError(f"guest kernel {name}: {error.strerror}") from error

    def install(self, dom0):
        dom0.put(self.path, KERNEL)
        if self.ramdisk:
            dom0.put(self.ramdisk, RAMDISK)

    def settings(self):
        return {"ramdisk": RAMDISK} if self.ramdisk else {}


def config_value(value):
    if isinstance(value, list):
        return "[ " + ", ".join(config_value(item) for item in value) + " ]"
    return str(value) if isinstance(value, int) else f'"{value}"'


class Guest:
    """One domain. Its console stays attached from creation on; run() uses the shell on it."""

    def __init__(self, dom0, settings, config=CONFIG):
        self.dom0 = dom0
        self.settings = settings
        self.config = config
        self.name = settings.get("name", "xendemo")
        self.console = None
        self.seen = 0
        self.sink = None
        self.at_prompt = False

    def create(self):
        """Starts it with xl create -c."""
        text = self.config.read_text()
        settings = dict(self.settings)
        if "extra" in settings:  # goes behind what every guest has on its command line
            settings["extra"] = f"{re.search(EXTRA, text, re.M)[1]} {settings['extra']}"
        lines = [f"{key} = {config_value(value)}" for key, value in settings.items()]
        path = f"/lab/{self.name}.cfg"
        text += "\n".join(lines) + "\n"
        self.dom0.put(self.dom0.adapt(text).encode(), path)
        self.use(self.dom0.spawn(f"exec xl create -c {path}", pty=True))
        return self

    def attach(self):
        """Attaches to the console, again after a reboot."""
        self.use(self.dom0.console(self.name))
        return self

    def use(self, console):
        self.console = console
        self.console.sink = self.sink
        self.seen = 0
        self.at_prompt = False

    def expect(self, pattern, timeout=30):
        with RECORDER.step("console", f"waits for {pattern}"):
            self.seen = self.console.expect(pattern, timeout, self.seen)

    def send(self, text):
        self.console.write(text.encode())

    def await_prompt(self, timeout=BOOT_SECONDS):
        """Waits for the log-in prompt."""
        if not self.at_prompt:
            self.expect(LOGIN, timeout)
        self.at_prompt = True

    def log_in(self, timeout=BOOT_SECONDS):
        self.await_prompt(timeout)
        self.send("root\n")
        self.expect(r"# $", 60)
        self.start_shell()
        return self

    def start_shell(self):
        """Makes the shell that prompts on the console fit for run()."""
        # The marker is split in what is sent, so that an echo of it is not taken for the answer.
        self.send("stty -echo; PS1= PS2=; export TERM=dumb PAGER=cat; dmesg -n 5; "
                  "echo @@'ready'@@\n")
        self.expect("@@ready@@\r?\n", 60)

    def boot(self, timeout=BOOT_SECONDS):
        with RECORDER.step(self.name, "boot"):
            return self.create().log_in(timeout)

    def run(self, command, timeout=60, check=False):
        """Runs a command in the guest's shell on the console."""
        with RECORDER.step(self.name, command):
            return self.run_now(command, timeout, check)

    def run_now(self, command, timeout, check):
        start = self.seen
        self.send(f"( {command}\n) 2>&1 </dev/null; r=$?; echo; echo \"@@$r@@\"\n")
        self.seen = self.console.expect(r"@@\d+@@\r?\n", timeout, start)
        text = self.console.text(start, self.seen)
        match = re.search(r"\n?@@(\d+)@@\n$", text)
        # The kernel writes on the same console; its lines are no output of the command.
        output = re.sub(r"^\[ *\d+\.\d+\] .*\n", "", text[:match.start()] + "\n", flags=re.M)
        result = Result(int(match.group(1)), output[:-1] if output else "")
        if check and result.rc:
            raise LabError(f"guest: {command!r} exited with {result.rc}\n{result.out}")
        return result

    def put(self, program, remote):
        """Copies a local program into the guest, over its network."""
        self.address()
        self.dom0.put(program, "/lab/sent")
        self.dom0.run("(timeout 60 nc -N -l -p 5002 < /lab/sent) >/dev/null 2>&1 </dev/null & sleep 0.5")
        self.run(f"nc -w 30 {self.dom0.address()} 5002 > {remote} </dev/null && chmod +x {remote}",
                 timeout=60, check=True)

    def address(self, timeout=60):
        """The IPv4 address that DHCP gave it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            out = self.run("ip -4 -o addr show scope global").out
            if match := re.search(r"inet ([0-9.]+)/", out):
                return match.group(1)
            time.sleep(0.5)
        raise LabError("the guest got no address from DHCP")

    def domid(self):
        result = self.dom0.run(f"xl domid {shlex.quote(self.name)} 2>/dev/null")
        return int(result.out) if result.rc == 0 else None

    def wait_other(self, domid, timeout=120):
        """Waits for the domain that follows this one after a reboot."""
        deadline = time.monotonic() + timeout
        while self.domid() in (None, domid):
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not come back in {timeout} s after its reboot")
            time.sleep(0.3)

    def wait_gone(self, timeout=90):
        deadline = time.monotonic() + timeout
        while self.domid() is not None:
            if time.monotonic() > deadline:
                raise LabError(f"the domain {self.name} is still there after {timeout} s")
            time.sleep(0.3)

    def wait_crashed(self, timeout=60):
        """Waits until Xen has been told of a crash; for a domain with on_crash="preserve"."""
        deadline = time.monotonic() + timeout
        while True:
            line = self.dom0.run(f"xl list {shlex.quote(self.name)}", check=True).out.splitlines()[1]
            if line.split()[4][4] == "c":
                return
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} is not reported as crashed after {timeout} s: {line}")
            time.sleep(0.3)

    def shut_down(self, timeout=120):
        """A clean shutdown, asked for from dom0."""
        self.dom0.run(f"xl shutdown {shlex.quote(self.name)}", check=True)
        self.wait_gone(timeout)
        self.console.wait(10)

    def save(self, path, options=""):
        """Into a file of dom0's. Unless the options say otherwise the domain is gone afterwards."""
        self.dom0.run(f"xl save {options} {shlex.quote(self.name)} {path}", timeout=300, check=True)

    def restore(self, path):
        """Goes on where it was saved, as another domain; the file is removed."""
        self.console.wait(10)
        self.dom0.run(f"xl restore {path} && rm {path}", timeout=300, check=True)
        self.attach_to_shell()

    def attach_to_shell(self):
        """Attaches again where a shell is that run() has used; the new terminal echoes at first."""
        self.attach()
        self.send("echo @@'here'@@\n")
        self.expect("@@here@@\r?\n", 120)

    def set_vcpus(self, count):
        """Returns when it runs on so many."""
        self.dom0.run(f"xl vcpu-set --ignore-host {shlex.quote(self.name)} {count}", check=True)
        self.run(await_command(f"[ $(nproc) = {count} ]", 20), timeout=60, check=True)

    def destroy(self):
        self.dom0.run(f"xl destroy {shlex.quote(self.name)}")
        self.wait_gone()
