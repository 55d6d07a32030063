# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What is around a scenario, on a machine that is made up: what it has to turn into a failure."""

import re
import subprocess
import sys

import pytest

from lab.steps import SOURCE

CONFTEST = """
import time
import pytest
from lab.scenarios.conftest import *
from lab.scenarios import conftest
from lab.steps import LabError

conftest.CHECK_LIMIT = conftest.FIXTURE_LIMIT = 0.5

def sleep():
    end = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.01)

class World:
    logs, leaks = {}, []
    def new_logs(self): return dict(World.logs)
    def new_leaks(self): return World.leaks
    def keep(self, name, texts): return "kept"
    def measure(self): return {}
    def reset(self): print("the machine was thrown away")

class Broken(World):
    def new_logs(self): raise KeyError("xen")

class Hanging(World):
    def new_logs(self): sleep()

@pytest.fixture(scope="session")
def session_world():
    return KIND()

@pytest.fixture
def slow():
    sleep()
"""


def run(tmp_path, test, kind="World", options=()):
    (tmp_path / "conftest.py").write_text(CONFTEST.replace("KIND", kind))
    imports = "import os, signal, pytest\nfrom conftest import World\n"
    (tmp_path / "test_it.py").write_text(imports + test)
    return subprocess.run([sys.executable, "-m", "pytest", "-c", SOURCE / "lab/scenarios/pytest.ini",
                           "-s", f"--rootdir={tmp_path}", tmp_path, *options], cwd=SOURCE, text=True,
                          capture_output=True, check=False, timeout=60).stdout


def test_scenario_that_is_good(tmp_path):
    out = run(tmp_path, "def test_it(world): pass")
    assert "1 passed" in out and "thrown away" not in out


@pytest.mark.parametrize("test,kind,words", [
    ("def test_it(world): World.leaks = ['one port']", "World", "not given back:\none port"),
    ("def test_it(world): World.logs = {'xen': 'Oops'}", "World", "in the logs .kept.:\nxen: Oops"),
    ("def test_it(world): assert 0", "World", "assert 0"),
    ("def test_it(world): pass", "Broken", "could not be looked at after the scenario: KeyError"),
    ("def test_it(world): pass", "Hanging", "could not be looked at after the scenario: OutOfTime"),
])
def test_scenario_that_fails(tmp_path, test, kind, words):
    out = run(tmp_path, test, kind)
    assert re.search(words, out) and re.search(r"\d (error|failed)", out), out
    assert out.count("thrown away") == 1 and "make regress T='test_it'" in out


def test_fixture_that_hangs(tmp_path):
    out = run(tmp_path, "def test_it(slow): pass")
    assert "1 error" in out and "time limit has passed" in out


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signal_leaves_time_to_clean_up(tmp_path, name):
    out = run(tmp_path, f"""
@pytest.fixture
def machine():
    yield
    os.kill(os.getpid(), signal.{name})
    print("cleaned up")

def test_it(machine): os.kill(os.getpid(), signal.{name})
""")
    assert "cleaned up" in out and "KeyboardInterrupt" in out, out


def test_mark_slow_is_the_limit(tmp_path):
    test = "@pytest.mark.limit(301)\ndef test_a(): pass\ndef test_b(): pass"
    assert "1 passed, 1 deselected" in run(tmp_path, test, options=["-k", "slow"])


@pytest.mark.parametrize("given, capabilities, words", [
    ("", None, "1 skipped"), ("other", "pv hvm hap", "1 skipped"), ("shadow", "pv hvm hap shadow", "1 passed")])
def test_xen_without_shadow_paging(tmp_path, monkeypatch, given, capabilities, words):
    """No machine is started for a scenario that Debian's Xen cannot run."""
    monkeypatch.setenv("XEN", given)
    out = run(tmp_path, f"""
from lab.dom0 import Result

class Dom0:
    def run(self, command, check): return Result(0, "free_cpus : 0\\nvirt_caps              : {capabilities}\\n")

@pytest.fixture
def dom0():
    assert {capabilities!r}, "a machine was started"
    return Dom0()

@pytest.mark.usefixtures("shadow_paging")
def test_it(world, dom0): pass
""", options=["-rs"])
    assert words in out and ("make xen, then XEN=build/xen/shadow" in out) == ("skipped" in words), out
