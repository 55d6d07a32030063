# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What a scenario has to give back: grants, event ports, domains and memory, counted by Xen itself.

Xen prints what it holds when it is asked by its debug keys (g, e and H). Two such censuses are
compared for the domains that are in both: what belongs to a domain that came in between is its own.
"""

import collections
import re
import time
from typing import NamedTuple

KEYS = "geH"
SEPARATOR = "=====proxenos====="
# One command takes the census: Xen writes its part into its log, the rest comes from dom0.
COMMAND = f"xl debug-keys {KEYS}; xl dmesg"
DOMAINS = "xl list; cat /sys/devices/system/xen_memory/xen_memory0/info/current_kb"
# Takes longer than all others together, so it is asked only where the answer matters.
PERSISTENT = "xenstore-ls -f /local/domain 2>/dev/null | grep -q 'device/vbd.*feature-persistent = \"1\"'"
# A scenario may press keys of its own: a census never reaches over the beginning of another.
BLOCK = re.compile(r"^\(XEN\) gnttab_usage_print_all \[(?:(?!usage_print_all \[).)*?"
                   r"(?:^\(XEN\) heap\[[^\n]*\n)+", re.M | re.S)
# Ends of torn-down domains are given back by and by: until then a census is taken again.
SECONDS = 20
# Xen's allocator of small objects keeps a page while any object on it lives. That is its only memory
# that no census shows; of it a scenario has been seen to move one page.
POOL_PAGES = 2
STATES = {0: "free", 1: "reserved", 2: "unbound", 3: "interdomain", 4: "physical interrupt",
          5: "virtual interrupt", 6: "between processors"}


class Census(NamedTuple):
    mapped: collections.Counter     # (granting domain, mapping domain): mappings of grants
    ports: collections.Counter      # (domain, state, remote domain or None): event ports
    domains: dict                   # id: (name, MiB); the name is None for one that is no more
    frames: int                     # of all grant tables and of what tracks mappings
    free: int                       # pages that Xen has left
    dom0: int                       # pages that dom0 has
    persistent: object              # a function: does a disk keep its grants mapped, as agreed?

    def guests(self):
        return set(self.domains) - {0}


def strip(log):
    """A log of Xen without the censuses in it."""
    return BLOCK.sub("", log)


def parse(log, domains, persistent):
    """The last census in a log of Xen, with what dom0 said of the domains; None if one is missing."""
    blocks = BLOCK.findall(log)
    if not blocks:
        return None
    mapped, ports, frames, seen, at = collections.Counter(), collections.Counter(), 0, {0}, None
    for line in blocks[-1].splitlines():
        if match := re.search(r"grant-table for remote d(\d+)|information for domain (\d+)", line):
            at = int(match[1] or match[2])
            seen.add(at)
        elif match := re.search(r"(\d+) frames \(\d+ max\), (\d+) maptrack frames", line):
            frames += int(match[1]) + int(match[2])
        elif match := re.search(r"\[0x\w+\] +(\d+) 0x\w+ 0x(\w{8}) ", line):
            # Four bytes count the mappings of the grant: by host or device, to read or write.
            mapped[at, int(match[1])] += sum(bytes.fromhex(match[2]))
        elif match := re.search(r" \d+ \[.*\]: s=(\d) n=\d+ x=\d(?: d=(\d+))?", line):
            remote = int(match[2]) if match[2] else None
            ports[at, STATES.get(int(match[1]), "unknown"), remote] += 1
    free = sum(map(int, re.findall(r"heap\[.*\] -> (\d+) pages", blocks[-1])))
    names = {int(match[2]): (match[1], int(match[3])) for match in
             re.finditer(r"^(\S+) +(\d+) +(\d+) +\d+ ", domains, re.M) if match[1] != "(null)"}
    if not (dom0 := re.search(r"^(\d+)\n\Z", domains, re.M)):
        return None
    return Census(mapped, ports, {domid: names.get(domid, (None, 0)) for domid in seen}, frames, free,
                  int(dom0[1]) // 4, persistent)


def title(census, domid):
    name = census.domains.get(domid, (None,))[0]
    return f"d{domid} ({name})" if name else f"d{domid} (gone)"


def port_leaks(before, after):
    for (domid, state, remote), number in sorted(after.ports.items(), key=str):
        came = remote in after.domains and remote not in before.domains
        if domid not in before.domains or came:
            continue
        # The end of a connection whose other end has died since must be closed, too.
        died = remote in before.domains and remote not in after.domains
        expected = 0 if died else before.ports[domid, state, remote]
        if number > expected:
            to = f" to {title(after, remote)}" if remote is not None else ""
            yield f"{title(after, domid)}: {number} event ports ({state}{to}), {expected} before"


def grant_leaks(before, after):
    for (owner, user), number in sorted(after.mapped.items()):
        if owner not in before.domains or user not in before.domains:
            continue
        if number > before.mapped[owner, user] and not (user == 0 and after.persistent()):
            yield (f"{title(after, owner)}: {number} mappings of grants by {title(after, user)}, "
                   f"{before.mapped[owner, user]} before")


def memory_leak(before, after, scenarios=1):
    """Pages that Xen misses between two censuses with the same domains."""
    if before.domains != after.domains:
        return []
    missing = (before.free + before.frames + before.dom0) - (after.free + after.frames + after.dom0)
    if missing <= POOL_PAGES * scenarios:
        return []
    return [f"Xen's memory: {missing} pages less are free than before"]


def domain_leaks(before, after, known):
    for domid, (name, _) in after.domains.items():
        if name is None:
            yield f"d{domid}: the domain has ended, but something of it is still held"
        elif domid not in before.domains and name not in known:
            yield f"d{domid}: the scenario left the domain {name} running"


def compare(before, after, known=()):
    """What is there that was not before, one line each; known names guests that may stay."""
    return [*domain_leaks(before, after, known), *port_leaks(before, after),
            *grant_leaks(before, after), *memory_leak(before, after)]


def disks_keep_grants(dom0):
    return lambda: dom0.run(PERSISTENT).rc == 0


class LeakWatch:
    """The censuses of one dom0: the last one, and the last without any guest."""

    def __init__(self, dom0, first):
        self.dom0 = dom0
        self.last = first
        self.empty = first if first and not first.guests() else None
        self.since_empty = 0

    def take(self):
        out = self.dom0.run(f"{COMMAND} | tail -c 300000; echo {SEPARATOR}; {DOMAINS}; true",
                            check=True).out
        log, _, domains = out.partition(SEPARATOR + "\n")
        return parse(log, domains, disks_keep_grants(self.dom0))

    def leaks(self, census, known):
        found = compare(self.last, census, known)
        if self.empty and not census.guests():
            found += memory_leak(self.empty, census, self.since_empty)
        return list(dict.fromkeys(found))

    def check(self, census, known=(), seconds=SECONDS):
        """What leaked since the last check, given a census of now; one that shows a leak is taken
        again until it shows none or the time is over."""
        if self.last is None or census is None:
            return ["Xen printed no census of grants, event ports and memory"]
        self.since_empty += 1
        deadline = time.monotonic() + seconds
        while (found := self.leaks(census, known)) and time.monotonic() < deadline:
            time.sleep(0.3)
            census = self.take() or census
        self.last = census
        if not census.guests():
            self.empty, self.since_empty = census, 0
        return found
