# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Where Xen's source comes from, and what is made of it."""

import functools
import pathlib

import pytest

from lab import images, steps, xen
from lab.steps import LabError

TARGETS = [("Debian", "http://mirror/debian", "bookworm", "main"),
           ("Debian", "http://mirror/debian", "bookworm", "main"),
           ("Debian", "http://mirror/security", "bookworm-security", "main"),
           ("Debian Backports", "http://mirror/debian", "bookworm-backports", "main"),
           ("Docker", "https://elsewhere/linux", "bookworm", "stable")]
PACKAGE = "Package: xen-hypervisor-4.17-amd64\nVersion: 4.17.7-2\n"
SOURCES = "".join(f"Package: xen\nVersion: {version}\n\n" for version in ("4.20.0-1", "4.17.5-1", "4.17.7-2"))


def targets(*command):
    """What apt-get prints of these."""
    line = command[command.index("--format") + 1]
    names = ["$(ORIGIN)", "$(SITE)", "$(RELEASE)", "$(COMPONENT)"]
    return "".join(functools.reduce(lambda text, pair: text.replace(*pair), zip(names, target), line) + "\n"
                   for target in TARGETS)


def test_entries_are_those_of_debians_archives(monkeypatch):
    monkeypatch.setattr(xen.images, "command_output", targets)
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


def test_archive_that_does_not_answer(monkeypatch, tmp_path):
    """apt-get update alone would end as if all were well."""
    (tmp_path / "conf").write_text('Acquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "conf"))
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(xen, "APT", tmp_path / "apt")
    monkeypatch.setattr(xen, "source_entries", lambda: ["deb-src http://127.0.0.1:9/none bookworm main"])
    with pytest.raises(LabError, match="asking for Debian's source packages failed"):
        xen.fetch(tmp_path / "source")


def test_command_that_fails_is_one_line():
    with pytest.raises(LabError, match="^sh failed: E: nothing there$"):
        images.command_output("sh", "-c", "echo W: no list >&2; echo E: nothing there >&2; exit 100")


@pytest.mark.parametrize("known", [xen.VARIANTS["debug"], xen.SHADOW], ids=["all", "one-is-unknown"])
def test_variant_is_debians_with_more(monkeypatch, tmp_path, known):
    """An option that this Xen does not know is not left out in silence, and nothing is left behind."""
    (tmp_path / "source/package/boot").mkdir(parents=True)
    (tmp_path / "source/package/boot/xen.config").write_text("CONFIG_PV=y\n# CONFIG_SHADOW_PAGING is not set\n")
    monkeypatch.setattr(xen, "SOURCE", tmp_path / "source")

    def run(name, what, command):
        work = pathlib.Path(next(word for word in command if str(word).startswith("O="))[2:])
        if command[-1] == "build":
            (work / "xen").write_text((work / ".config").read_text())
            return
        lines = (work / ".config").read_text().splitlines()
        assert lines[:2] == ["CONFIG_PV=y", "# CONFIG_SHADOW_PAGING is not set"]
        (work / ".config").write_text("\n".join(line for line in lines if line in ["CONFIG_PV=y", *known]))

    monkeypatch.setattr(xen, "run_logged", run)
    out = tmp_path / "debug"
    if known == xen.SHADOW:
        with pytest.raises(LabError, match="no CONFIG_DEBUG=y"):
            xen.compile_variant("debug")(out)
    else:
        xen.compile_variant("debug")(out)
        assert out.read_text().split() == ["CONFIG_PV=y", *known]
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "debug"}
