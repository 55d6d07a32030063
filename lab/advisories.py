# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The published problems that a frontend or a PV guest must survive, and where they are tested.

A host test shows one by having its name in the test's as Xsa155 or Cve20158550; a scenario by
@pytest.mark.advisory("XSA-155"). A row that does not apply says why.
"""

import re
from typing import NamedTuple

from lab.steps import SOURCE


class Advisory(NamedTuple):
    names: tuple
    title: str
    reason: str = ""    # why it does not apply to this guest

    @property
    def name(self):
        return self.names[0]

    def pattern(self):
        """A regular expression, for ctest too, of the tokens that name it in host tests."""
        tokens = "|".join(token(name) for name in self.names)
        return f"({tokens})([^0-9]|$)"


def token(name):
    """XSA-155 as it is in the name of a host test: Xsa155."""
    return name.replace("-", "").capitalize()


def row(names, title, reason=""):
    """names as in "XSA-396 CVE-2022-23036..42", where .. counts up the last digits."""
    result = []
    for name in names.split():
        first, _, last = name.partition("..")
        result.append(first)
        if last:
            head, begin = first[:-len(last)], int(first[-len(last):])
            result += [f"{head}{number:0{len(last)}}" for number in range(begin + 1, int(last) + 1)]
    return Advisory(tuple(result), title, reason)


ADVISORIES = [
    row("XSA-155 CVE-2015-8550", "a shared page changes between check and use"),
    row("XSA-171 CVE-2016-3157 XSA-329 CVE-2020-15852", "I/O rights of one task leak to another"),
    row("XSA-174 CVE-2016-3961", "a huge page mapping crashes a PV guest"),
    row("XSA-229 CVE-2017-12134 CVE-2026-98156", "neighbouring frames are taken for neighbouring "
        "machine frames"),
    row("XSA-273", "a non-present page table entry has address bits"),
    row("XSA-274 CVE-2018-14678 CVE-2021-4440", "a failed return to user space corrupts a register"),
    row("XSA-318 CVE-2020-11742", "a grant copy returns 0 and leaves the statuses untouched"),
    row("XSA-331 CVE-2020-27675", "a port is closed while its event is handled"),
    row("XSA-332 XSA-391 CVE-2021-28711..13", "a storm of events"),
    row("XSA-349 CVE-2020-29568", "a queue of watch events without bound"),
    row("XSA-376", "bad counts, ids, operations and indices in responses"),
    row("XSA-379 XSA-387 XSA-486 XSA-501", "races of grant table version 2"),
    row("XSA-396 CVE-2022-23036..42", "a page is given away while the backend still maps it"),
    row("XSA-403 CVE-2022-26365 CVE-2022-33740..42", "the backend reads what was never sent to it"),
    row("XSA-405 CVE-2022-33743", "an error within a chain frees a buffer that is kept"),
    row("XSA-441 CVE-2023-34324", "removing a port waits for the console that waits for the port"),
    row("XSA-457 CVE-2024-27393 CVE-2026-99057", "receive buffers and over-long chains leak"),
    row("XSA-465 CVE-2024-53240 CVE-2022-48914", "a device is removed right after it was resumed"),
    row("XSA-466 CVE-2024-53241", "the hypercall page has a naked return"),
    row("XSA-482 XSA-487", "user space issues any hypercall through a device",
        "the guest has no device that issues hypercalls for user space"),
    row("XSA-485 CVE-2026-31786", "a build id is taken for a string",
        "no code asks Xen for its build id"),
    row("XSA-522 CVE-2026-98375", "the first slot of a packet is shorter than an Ethernet header"),
    row("CVE-2025-37949", "a waiter for xenstore frees the request that the reply is written to"),
    row("CVE-2026-72380", "an id that is read as signed becomes a negative index"),
]

HOST_SOURCES = ("drivers/*/test/**/*.cc", "drivers/*/test/**/*.hpp", "hypercall/test/**/*.cc",
                "arch-xen/test/**/*.cc", "sim/**/*.cc")


def find(name):
    """The row of an advisory by any of its names."""
    return next((known for known in ADVISORIES if name in known.names), None)


def of_host_test(name):
    """The rows that a host test shows, by its name."""
    return [known for known in ADVISORIES if re.search(known.pattern(), name)]


def host_test_names():
    """What the sources of the host tests name tests, suites and instantiations."""
    pattern = re.compile(r"\b(?:TEST(?:_[FP])?|TYPED_TEST|INSTANTIATE_TEST_SUITE_P)\s*\(([^)]*)\)?")
    for glob in HOST_SOURCES:
        for path in sorted(SOURCE.glob(glob)):
            for match in pattern.finditer(path.read_text()):
                yield ".".join(part.strip() for part in match[1].split(",")[:2])


def scenario_marks():
    """The names in @pytest.mark.advisory(...) of the scenarios' files."""
    for path in sorted((SOURCE / "lab/scenarios").glob("test_*.py")):
        for match in re.finditer(r"mark\.advisory\(([^)]*)\)", path.read_text()):
            yield from re.findall(r"[\"']([^\"']+)[\"']", match[1])
