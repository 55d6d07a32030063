# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Reads what Xen, dom0 and the guests have logged, and finds what must never be in it."""

import re

from lab import leaks
from lab.steps import LabError

COMPLAINTS = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|Call Trace|general protection fault|Unable to handle kernel"
    r"|Kernel panic|rcu_\w+ (detected|self-detected) stall|soft lockup|hard LOCKUP|blocked for more"
    r"|UBSAN:|KASAN:|lockdep|possible recursive|suspicious RCU|scheduling while atomic"
    r"|segfault at|traps: |trap invalid opcode|bad page|Bad page"
    r"|no FIFO event channel|lost event|port \d+ not linked|already on a queue|page of the event array"
    r"|2-level event channels are all"
    r"|I/O error|EXT4-fs (error|warning)|Buffer I/O|JBD2: .*(error|Error)|NETDEV WATCHDOG"
    r"|\(XEN\).*(\b[Ee]rror\b|ERROR|\bBUG\b|Assertion|[Pp]anic|FATAL|crash|Unhandled|[Ww]arning"
    r"|Bad |\bbad |invalid|Invalid|illegal|Attempt|Failed|failed|Non-privileged|Could not)")

# What a healthy system says, too.
HARMLESS = re.compile(
    r"Spectre|Speculative|MDS|TAA|L1TF|Meltdown|mitigation|Mitigat|xpti"
    r"|\(XEN\) \*+|WARNING: (CONSOLE OUTPUT|SILO|X)"
    r"|traps: init|Failed to find module|x86/mm: Checked W\+X")


def find_complaints(text, allowed=()):
    """The lines of a log that must not be there; allowed are patterns that a scenario expects."""
    result = []
    for line in text.splitlines():
        if COMPLAINTS.search(line) and not HARMLESS.search(line) \
                and not any(re.search(pattern, line) for pattern in allowed):
            result.append(line.strip())
    return result


def what_is_new(old, text):
    """The part of a log that follows what was read before, of which a ring drops the beginning."""
    if text.startswith(old):
        return text[len(old):]
    start = text.rfind(old[-300:])
    return text[start + len(old[-300:]):] if start >= 0 else text


class LogWatch:
    """The logs of a dom0 and its guests, and how far they were looked at."""

    def __init__(self, dom0):
        self.dom0 = dom0
        self.seen = {}
        self.census = None
        self.read()

    def texts(self):
        """All logs by name, in one command, because each command costs part of a second. The same
        takes the census that the leak check compares."""
        mark = leaks.SEPARATOR
        command = f"{leaks.COMMAND}; echo {mark}xen; dmesg; echo {mark}dom0; " \
                  f"{leaks.DOMAINS}; echo {mark}domains; " \
                  "cd /var/log/xen/console && for f in guest-*.log; do [ -f $f ] && cat $f && " \
                  f"echo && echo {mark}$f; done; true"
        out = self.dom0.run(command, check=True).out
        parts = re.split(rf"^{mark}(.*)\n", out, flags=re.M)
        # The newline before a guest's separator is ours: its log may end in the middle of a line.
        result = {name: text[:-1] if name.startswith("guest-") else text
                  for name, text in zip(parts[1::2], parts[0::2])}
        if not {"xen", "dom0", "domains"} <= result.keys():
            raise LabError("dom0 did not give all of its logs")
        self.census = leaks.parse(result["xen"], result.pop("domains"),
                                  leaks.disks_keep_grants(self.dom0))
        result["xen"] = leaks.strip(result["xen"])
        return result

    def read(self):
        """What is new since the last call, by log."""
        result = {}
        for name, text in self.texts().items():
            result[name] = what_is_new(self.seen.get(name, ""), text)
            self.seen[name] = text
        return result
