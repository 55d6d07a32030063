# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What make boot says of how it ended."""

import types

import pytest

from lab import cli
from lab.dom0 import Process
from lab.steps import LabError

LOG_IN = b"[    0.0] Command line: panic=0\r\nxendemo login: "
PANIC = b"\r\n[   29.1] Kernel panic - not syncing: System is deadlocked on memory\r\n[   29.1] CPU: 0\r\n"


class Console(Process):
    write = close_input = kill = pump = None


class FakeLab:
    dom0 = None
    stopped = False

    def __init__(self, *_):
        FakeLab.stopped = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stop(self):
        FakeLab.stopped = True
        return True


class FakeGuest:
    """Says something while it is there, and something when it is shut down; in the end there is no domain."""

    said, last_words, domain = LOG_IN, b"", 1
    sink = None

    def __init__(self, *_):
        self.console = Console()

    def create(self):
        self.console.output += self.said

    def domid(self):
        return self.domain

    def shut_down(self):
        self.console.output += self.last_words


@pytest.fixture
def boot(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "LOGS", tmp_path)
    monkeypatch.setattr(cli, "Lab", FakeLab)
    monkeypatch.setattr(cli, "Guest", FakeGuest)
    monkeypatch.setattr(cli, "chosen_kernel", lambda: types.SimpleNamespace(install=lambda _: None, settings=dict))
    monkeypatch.setattr(cli, "drive", lambda guest, interactive: None)
    return cli.boot


def test_good_end(boot, capsys):
    boot()
    assert "shut down cleanly" in capsys.readouterr().out


@pytest.mark.parametrize("said, last_words, domain", [(LOG_IN, PANIC, 1), (LOG_IN + PANIC, b"", None)],
                         ids=["in its shutdown", "before"])
def test_panic(boot, capsys, monkeypatch, said, last_words, domain):
    """With on_crash="destroy" it looks from outside like any other end."""
    for name, value in (("said", said), ("last_words", last_words), ("domain", domain)):
        monkeypatch.setattr(FakeGuest, name, value)
    with pytest.raises(LabError, match="not syncing: System is deadlocked on memory$"):
        boot()
    assert FakeLab.stopped and "cleanly" not in capsys.readouterr().out
