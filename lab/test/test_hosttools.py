# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""What the host's tools do to the source tree."""

from lab import hosttools


def test_check_leaves_the_kept_inputs_alone(tmp_path, monkeypatch):
    """libFuzzer writes what it finds into the first folder that it is given."""
    folders = []

    class Target:
        name, kept = "one", "kept"

        def run(self, *options):
            folders.extend(option for option in options if not option.startswith("-"))
            return "one: done"

    monkeypatch.setattr(hosttools, "FUZZ", tmp_path)
    monkeypatch.setattr(hosttools, "targets", lambda: [Target()])
    hosttools.check_fuzz(tmp_path / "fuzz.xml")
    assert folders[0] != "kept" and folders[1:] == ["kept"]
