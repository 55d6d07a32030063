# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Where Xen's source comes from."""

import pytest

from lab import xen
from lab.steps import LabError

TARGETS = """Debian http://mirror/debian bookworm main
Debian http://mirror/debian bookworm main
Debian http://mirror/security bookworm-security main
Docker https://elsewhere/linux bookworm stable
"""
PACKAGE = "Package: xen-hypervisor-4.17-amd64\nVersion: 4.17.7-2\n"
SOURCES = "".join(f"Package: xen\nVersion: {version}\n\n" for version in ("4.20.0-1", "4.17.5-1", "4.17.7-2"))


def test_entries_are_those_of_debians_archives(monkeypatch):
    monkeypatch.setattr(xen.images, "command_output", lambda *command: TARGETS)
    entries = xen.source_entries()
    assert [entry.rpartition("http")[2] for entry in entries] == \
        ["://mirror/debian bookworm main", "://mirror/security bookworm-security main"]
    assert all(entry.startswith("deb-src ") for entry in entries)


@pytest.mark.parametrize("there, tried", [
    ({"4.17.7-2"}, ["4.17.7-2"]), ({"4.17.5-1", "4.20.0-1"}, ["4.17.7-2", "4.17.5-1"]),
    ({"4.20.0-1"}, ["4.17.7-2", "4.17.5-1"])], ids=["same", "other", "none"])
def test_source_is_of_the_same_release(monkeypatch, tmp_path, there, tried):
    asked = []

    def run(name, what, command, **options):
        asked.append(command[-1].removeprefix("xen="))
        if asked[-1] not in there:
            raise LabError(f"no {asked[-1]}")

    monkeypatch.setattr(xen.images, "command_output",
                        lambda *command: SOURCES if "showsrc" in command else PACKAGE)
    monkeypatch.setattr(xen, "run_logged", run)
    if there & set(tried):
        xen.download(tmp_path)
    else:
        with pytest.raises(LabError, match="4.17.5-1"):
            xen.download(tmp_path)
    assert asked == tried
