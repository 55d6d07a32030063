# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A disk or an interface that backends/evilback serves from dom0 to a running guest."""

import re
import shlex

from lab.steps import BUILD, LabError

PROGRAM = "/root/evilback"
CLOSING, CLOSED, CONNECTED = 5, 6, 4


class Backend:
    """One evilback process. ask() is one command and its answer."""

    def __init__(self, dom0, kind, **options):
        program = BUILD / "backends/evilback"
        if not program.exists():
            raise LabError(f"{program} is not built; make backends")
        if dom0.run(f"[ -x {PROGRAM} ]").rc:
            dom0.put(program, PROGRAM)
            dom0.run(f"chmod +x {PROGRAM}; modprobe tun", check=True)
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = dom0.spawn(f"exec {PROGRAM} {kind} {shlex.join(words)} --later")
        self.seen = self.process.expect(r"(?<![^\n])ok ready\n", 20)

    def ask(self, line, timeout=30):
        """The answer without its "ok", which an error is not."""
        answer = self.try_ask(line, timeout)
        if answer.startswith("error"):
            raise LabError(f"evilback: {line}: {answer}")
        return answer[2:].strip()

    def try_ask(self, line, timeout=30):
        self.process.write(line.encode() + b"\n")
        end = self.process.expect(r"(?<![^\n])(?:ok|error:)[^\n]*\n", timeout, self.seen)
        answer = self.process.text(self.seen, end)
        self.seen = end
        return answer.splitlines()[-1]

    def show(self):
        """What "show" says, as numbers by name."""
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", self.ask("show"))}

    def attach(self, seconds=10):
        self.ask("attach")
        self.ask(f"await {CONNECTED} {seconds}", seconds + 60)

    def detach(self, seconds=5):
        """True: the frontend closed in time."""
        return "forced" not in self.ask(f"detach {seconds}", seconds + 60)

    def recover(self):
        """Back to no device and no lies, whatever happened."""
        self.ask("honest")
        if self.show()["attached"]:
            self.detach()

    def end(self):
        self.process.close_input()
        if self.process.wait(30) is None:
            self.process.kill()
