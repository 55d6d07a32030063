# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The lab's own tests: what judges the scenarios must itself be able to fail."""

import pytest

from lab import images, leaks, results, steps, tap
from lab.dom0 import Result
from lab.logs import LogWatch, find_complaints, what_is_new

BAD_LINES = [
    "[   12.3] WARNING: CPU: 0 PID: 1 at arch/x86/xen/core/mmu.cc:12 set_pte+0x1/0x2",
    "[   12.3] BUG: unable to handle page fault for address: ffff888000000000",
    "[   12.3] kernel BUG at mm/slub.c:1!",
    "[   12.3] Oops: 0002 [#1] SMP",
    "[   12.3] rcu: INFO: rcu_sched self-detected stall on CPU",
    "[   12.3] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
    "[   12.3] INFO: task kworker blocked for more than 120 seconds.",
    "[   12.3] blk_update_request: I/O error, dev xvda1, sector 2",
    "[   12.3] EXT4-fs error (device xvda1): ext4_lookup",
    "[   12.3] test[12]: segfault at 0 ip 0 sp 0 error 4",
    "(XEN) mm.c:3025:d1v0 Error -22 while pinning mfn 1234",
    "(XEN) domain_crash called from entry.S",
    "(XEN) d1v0 Unhandled page fault fault/trap [#14, ec=0000]",
    "(XEN) grant_table.c:803:d0v0 Bad flags (0) or dom (0); expected d0",
]
GOOD_LINES = [
    "[    0.1] Linux version 6.1.0", "(XEN) Xen version 4.17", "xendemo login: ",
    "[    0.2] x86/mm: Checked W+X mappings: passed, no W+X pages found.",
    "[    0.2] EXT4-fs (xvda1): re-mounted. Quota mode: none.",
    "(XEN) [0x237]      0 0x12ebad 0x00000001          0 0x12ebad 0x19",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_log_check_sees(line):
    assert find_complaints(f"good\n{line}\ngood") == [line]


@pytest.mark.parametrize("line", GOOD_LINES)
def test_log_check_accepts(line):
    assert not find_complaints(line)


def test_log_check_allows_what_a_scenario_expects():
    assert not find_complaints("[ 1.0] Kernel panic - not syncing", ["Kernel panic"])
    assert find_complaints("[ 1.0] Kernel panic - not syncing\nOops: 1", ["Kernel panic"]) == \
        ["Oops: 1"]


def test_log_is_read_once():
    assert what_is_new("", "one\n") == "one\n"
    assert what_is_new("one\n", "one\ntwo\n") == "two\n"
    lines = [f"line {number}\n" for number in range(1000)]
    assert what_is_new("".join(lines[:900]), "".join(lines[100:])) == "".join(lines[900:])
    assert what_is_new("another boot", "one\n") == "one\n"


class FakeDom0:
    """Answers with logs, of which the guest's ends without a newline."""

    guest = "login: "

    def run(self, command, check):
        mark = leaks.SEPARATOR
        return Result(0, f"xen\n{mark}xen\ndom0\n{mark}dom0\n{mark}domains\n{self.guest}\n{mark}guest-x.log\n")


def test_log_that_ends_within_a_line_is_read_once():
    dom0 = FakeDom0()
    watch = LogWatch(dom0)
    dom0.guest += "root\nOops"
    assert watch.read() == {"xen": "", "dom0": "", "guest-x.log": "root\nOops"}


@pytest.mark.parametrize("text,good", [
    ("1..2\nok 1 - a\nok 2 - b\n", True),
    ("(XEN) x\n(d0) 1..1\n(d0) ok 1 - a\n", True),
    ("1..2\nok 1 - a\nok 2 - b # SKIP no dom0\n", True),
    ("1..2\nok 1 - a\n", False),
    ("ok 1 - a\n", False),
    ("1..1\nnot ok 1 - a\n", False),
    ("1..1\nok 1 - a\nBail out! lost\n", False),
    ("1..1\nok 1 - a # skip\n", False),
    ("", False),
])
def test_tap(text, good):
    assert (tap.parse(text).problem() is None) == good


def test_tap_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tap, "RESULTS", tmp_path)
    tap.keep("one", "(XEN) boot\n(d0) 1..1\r\n(d0) # note\n(d0) ok 1 - a\nother\n")
    assert (tmp_path / "tap/one.tap").read_text() == "1..1\n# note\nok 1 - a\n"


def test_step_runs_once_and_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(steps, "LOGS", tmp_path / "logs")
    out, calls = tmp_path / "out", []

    def make(path):
        calls.append(path)
        path.write_text("made")
        if len(calls) == 1:
            raise OSError("full")

    with pytest.raises(OSError):
        steps.step("one", ["input"], [out], make)
    assert not out.exists() and not list(tmp_path.glob("out*"))
    assert steps.step("one", ["input"], [out], make)
    assert not steps.step("one", ["input"], [out], make)
    assert steps.step("one", ["other input"], [out], make)
    assert len(calls) == 3


def test_failed_command_names_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    with pytest.raises(steps.LabError, match="bad.log"):
        steps.run_logged("bad", "doing", ["sh", "-c", "echo why; exit 3"])
    assert "why" in (tmp_path / "bad.log").read_text()


def test_counts_of_a_missing_result_are_a_failure(tmp_path):
    assert results.counts(tmp_path / "none.xml") == (0, 1, 0)


def test_initramfs_archive_is_aligned_and_ends():
    archive = images.Cpio()
    archive.add("init", 0o100755, b"#!/bin/sh\n")
    data = archive.finish()
    assert data.startswith(b"070701") and b"TRAILER!!!" in data and len(data) % 4 == 0
