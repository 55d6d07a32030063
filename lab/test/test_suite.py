# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The suite's own conclusions: it must not call a run good that was not, nor leave one uncleaned."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lab import ssh, suite
from lab.qemu import xen_image
from lab.steps import LabError, SOURCE, replay

GOOD = '<testsuite><testcase classname="a" name="b" time="1"/></testsuite>'
BAD = GOOD.replace("/></", "><failure message='no'/></testcase></")


@pytest.fixture(autouse=True)
def nothing_broken(monkeypatch):
    monkeypatch.setattr(suite, "BROKEN", [])
    for name in ("T", "GUEST", "GUEST_INITRD", "XEN", "TARGET", "DISKS"):
        monkeypatch.delenv(name, raising=False)


def runs(monkeypatch, tmp_path, *texts):
    """Scenarios that are not run, with these results; returns what they were to be run with."""
    left, calls = list(texts), []

    def scenarios(*arguments, **environment):
        calls.append((*arguments, environment))
        path = tmp_path / f"{len(calls)}.xml"
        path.write_text(left.pop(0))
        return path

    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    monkeypatch.setattr(suite, "scenarios", scenarios)
    return calls


def test_compare_with_a_kernel_that_is_not_there(monkeypatch, tmp_path):
    calls = runs(monkeypatch, tmp_path)
    monkeypatch.setenv("GUEST", "/typo")
    with pytest.raises(LabError, match="guest kernel /typo"):
        suite.compare(0)
    assert not calls


@pytest.mark.parametrize("theirs", [BAD, "", GOOD[:20]])
def test_compare_with_a_kernel_that_passes_nothing(monkeypatch, tmp_path, theirs):
    runs(monkeypatch, tmp_path, theirs, GOOD)
    monkeypatch.setenv("GUEST", str(SOURCE / "README.md"))
    with pytest.raises(LabError, match="nothing to compare with"):
        suite.compare(0)


@pytest.mark.parametrize("soak, number, expected", [
    ("", None, (4, "loadfile")), ("", 3, (1, "loadfile")), ("", 9, (4, "loadfile")),
    ("1", None, (4, "load")), ("1", 2, (2, "load")), ("1", 9, (4, "load"))])
def test_workers_share_scenarios(monkeypatch, soak, number, expected):
    monkeypatch.setenv("SOAK", soak)
    assert suite.distribution(4, number and ["name"] * number) == expected


@pytest.mark.parametrize("ours", [GOOD, BAD])
def test_compare_counts_ours_alone(monkeypatch, tmp_path, ours):
    calls = runs(monkeypatch, tmp_path, GOOD + "<!-- -->", ours)
    monkeypatch.setenv("GUEST", str(SOURCE / "README.md"))
    assert suite.compare(0) == (ours == GOOD)
    assert calls[0][1] == "compared" and "GUEST" not in os.environ


@pytest.mark.parametrize("program,good", [("", True), ("raise SystemExit(3)", False)])
def test_run_that_fails_without_a_failed_test(monkeypatch, tmp_path, program, good):
    monkeypatch.setattr(suite, "PYTEST", [sys.executable, "-c", program])
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    (tmp_path / "lab.xml").write_text(GOOD)
    suite.run_pytest([], tmp_path / "lab.xml")
    assert suite.close([tmp_path / "lab.xml"], 0) == good


def test_interrupted_scenarios_clean_up(tmp_path):
    """A second signal, as a terminal sends it, does not disturb that."""
    (tmp_path / "test_it.py").write_text("""
import pathlib, time, pytest
from lab.steps import end_in_good_order
end_in_good_order()
HERE = pathlib.Path(__file__).parent

@pytest.fixture
def host():
    (HERE / "dirty").touch()
    yield
    time.sleep(1)
    (HERE / "dirty").unlink()

def test_it(host): time.sleep(30)
""")
    program = "import sys; from lab import steps, suite; steps.end_in_good_order(); " \
              "suite.run_pytest(sys.argv[1:2], sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path, tmp_path / "x.xml"],
                               cwd=SOURCE, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (tmp_path / "dirty").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "dirty").exists()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30)
    assert not (tmp_path / "dirty").exists()


def test_command_that_repeats_a_scenario_keeps_the_choices(monkeypatch):
    monkeypatch.setenv("GUEST", "/my kernel")
    monkeypatch.setenv("TARGET", "ssh://root@host")
    assert replay("test_it[1]") == \
        "make regress T='test_it[1]' GUEST='/my kernel' TARGET=ssh://root@host"


def test_damaged_hypervisor_is_refused(tmp_path):
    path = tmp_path / "xen.gz"
    path.write_bytes(b"\x1f\x8b\x08damaged")
    with pytest.raises(LabError, match="cannot be unpacked"):
        xen_image(path)


def test_volume_that_is_no_device(monkeypatch):
    monkeypatch.setenv("DISKS", "/dev/one,/dev/two")
    with pytest.raises(LabError, match="no phy:"):
        ssh.SshHost("unit", "ssh://host")
