# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Reads the TAP that a test guest prints. What a guest does not report counts as failed."""

import re
from typing import NamedTuple

from lab.steps import RESULTS

PREFIX = re.compile(r"^(\(XEN\) )?(\[[ 0-9.]+\] )?(\(d\d+\) )?")
PLAN = re.compile(r"^1\.\.(\d+)")
RESULT = re.compile(r"^(not )?ok\b(?: +(\d+))?(?: *-? *(.*))?$")


class Report(NamedTuple):
    planned: int | None
    passed: list
    failed: list
    skipped: list

    def complete(self):
        done = len(self.passed) + len(self.failed) + len(self.skipped)
        return self.planned is not None and done >= self.planned

    def problem(self):
        """None for a guest that kept its plan and passed, else what is wrong."""
        done = len(self.passed) + len(self.failed) + len(self.skipped)
        if self.failed:
            return "failed: " + ", ".join(self.failed)
        if self.planned is None:
            return f"it printed no plan ({done} results)"
        if done != self.planned:
            return f"it planned {self.planned} tests and reported {done}"
        if not self.passed and self.skipped:
            return "it skipped everything"
        return None


def keep(name, text):
    """Writes the TAP in a guest's console log, and nothing else of that, to a file of the results."""
    path = RESULTS / "tap" / f"{name}.tap"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [PREFIX.sub("", raw).rstrip() for raw in text.replace("\r", "").splitlines()]
    path.write_text("".join(f"{line}\n" for line in lines if PLAN.match(line) or
                            RESULT.match(line) or line.startswith(("#", "Bail"))))


def parse(text):
    planned, passed, failed, skipped = None, [], [], []
    for raw in text.replace("\r", "").splitlines():
        line = PREFIX.sub("", raw).rstrip()
        if match := PLAN.match(line):
            planned = int(match.group(1))
        elif match := RESULT.match(line):
            name = match.group(3) or f"test {match.group(2)}"
            if re.search(r"# *skip", name, re.I):
                skipped.append(name)
            else:
                (failed if match.group(1) else passed).append(name)
        elif line.startswith("Bail out!"):
            failed.append(line)
    return Report(planned, passed, failed, skipped)
