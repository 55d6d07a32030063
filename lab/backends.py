# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""A disk or an interface that backends/evilback serves from dom0 to a running guest."""

import re
import shlex

from lab.steps import BUILD, LabError

PROGRAM = "/root/evilback"
BUILT = BUILD / "backends/evilback"
CONNECTED = 4
ATTACH = ("attach", f"await {CONNECTED} 10")


def install(dom0):
    """Puts the program into dom0, once."""
    if not BUILT.exists():
        raise LabError(f"{BUILT} is not built; make backends")
    if dom0.run(f"[ -x {PROGRAM} ]").rc:
        dom0.put(BUILT, PROGRAM)
        dom0.run(f"chmod +x {PROGRAM}; modprobe tun", check=True)


class Backend:
    """One evilback process. ask() is one command and its answer."""

    def __init__(self, dom0, kind, **options):
        install(dom0)
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = dom0.spawn(f"exec {PROGRAM} {kind} {shlex.join(words)} --later")
        self.seen = self.process.expect(r"(?<![^\n])ok ready\n", 20)

    def ask(self, *lines, timeout=60):
        """The last answer without its "ok", which an error is not."""
        answers = self.try_ask(*lines, timeout=timeout)
        for line, answer in zip(lines, answers):
            if answer.startswith("error"):
                raise LabError(f"evilback: {line}: {answer}")
        return answers[-1][2:].strip()

    def try_ask(self, *lines, timeout=60):
        """All answers. The lines are written at once, for each exchange with dom0 takes its time."""
        self.process.write("".join(line + "\n" for line in lines).encode())
        answers = []
        for _ in lines:
            end = self.process.expect(r"(?<![^\n])(?:ok|error:)[^\n]*\n", timeout, self.seen)
            answers.append(self.process.text(self.seen, end).splitlines()[-1])
            self.seen = end
        return answers

    def show(self):
        """What "show" says, as numbers by name."""
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", self.ask("show"))}

    def attach(self):
        self.ask(*ATTACH, timeout=60)

    def renew(self, seconds=5):
        """Detaches, forgets all lies and attaches again; what "detach" said."""
        answers = self.try_ask(f"detach {seconds}", "honest", "sleep 0.05", *ATTACH, timeout=60)
        if answers[-1].startswith("error"):
            raise LabError(f"evilback: attaching again: {answers[-1]}")
        return answers[0]

    def end(self):
        self.process.close_input()
        if self.process.wait(30) is None:
            self.process.kill()
