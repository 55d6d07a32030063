# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The oracle of the integrity scenarios notices every way in which a volume can be wrong."""

import re
import subprocess

import pytest

from lab import programs

SEED, MIB, JOBS, SECTOR = "11", 4, 2, 512
AREA = (MIB << 11) // JOBS * SECTOR
LAST = AREA - SECTOR  # the last sector of the first area is never written


@pytest.fixture(scope="module")
def oracle():
    return programs.build("oracle")


class Volume:
    def __init__(self, oracle, path):
        self.oracle, self.path = oracle, path
        path.write_bytes(bytes(MIB << 20))

    def run(self, command, *more):
        result = subprocess.run([self.oracle, command, self.path, SEED, str(MIB), str(JOBS), *more],
                                capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    def check(self, flushed, fault=None):
        rc, out = self.run("check", *(f"{job}={number}" for job, number in flushed.items()))
        assert (rc == 1 and fault in out) if fault else (rc == 0 and "intact" in out), out

    def sector(self, at):
        return self.path.read_bytes()[at:at + SECTOR]

    def put(self, at, data):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(data)


@pytest.fixture
def volume(oracle, tmp_path):
    volume = Volume(oracle, tmp_path / "volume")
    assert volume.run("fill") == (0, "")
    return volume


@pytest.fixture
def written(volume):
    """A volume that was filled and written, what it was before, and what was flushed."""
    before = volume.path.read_bytes()
    rc, out = volume.run("write", "0")
    assert rc == 0 and out.endswith("volume written\n"), out
    flushed = dict(re.findall(r"^volume flushed (\d+) (\d+)$", out, re.M))
    assert sorted(flushed) == ["0", "1"]
    return volume, before, flushed


def changed(volume, before):
    """A sector of the first job's that was written."""
    now = volume.path.read_bytes()
    return next(at for at in range(0, AREA, SECTOR) if now[at:at + SECTOR] != before[at:at + SECTOR])


def test_what_was_flushed_is_intact(written):
    volume, _, flushed = written
    volume.check(flushed)
    volume.check({})


def test_volume_that_was_only_filled_is_intact(volume):
    volume.check({})


def test_flipped_bit(written):
    volume, before, flushed = written
    at = changed(volume, before)
    volume.put(at + 100, bytes([volume.sector(at)[100] ^ 1]))
    volume.check(flushed, "nobody wrote this")


def test_lost_write(written):
    volume, before, flushed = written
    at = changed(volume, before)
    volume.put(at, before[at:at + SECTOR])
    volume.check(flushed, f"sector {at // SECTOR}: lost")


def test_lost_volume(written):
    """All of it is as it was before: a cache that was thrown away."""
    volume, before, flushed = written
    volume.put(0, before)
    volume.check({})
    volume.check(flushed, "lost")


def test_write_that_went_elsewhere(written):
    volume, before, flushed = written
    volume.put(LAST, volume.sector(changed(volume, before)))
    volume.check(flushed, f"sector {LAST // SECTOR}: nobody wrote this")


def test_volume_of_another_seed(volume, oracle):
    other = Volume(oracle, volume.path.with_name("other"))
    subprocess.run([oracle, "fill", other.path, "12", str(MIB), str(JOBS)], check=True)
    other.check({}, "nobody wrote this")


def test_write_beyond_the_end(written):
    volume, _, flushed = written
    with open(volume.path, "ab") as file:
        file.write(bytes(4096))
    volume.check(flushed)
    volume.put((MIB << 20) + 700, b"x")
    volume.check(flushed, "1 sectors beyond")


def test_volume_that_shrank(written):
    volume, _, flushed = written
    with open(volume.path, "r+b") as file:
        file.truncate(MIB << 19)
    volume.check(flushed, "too short")


@pytest.mark.parametrize("words", [["check", "v"], ["write", "v", "1", "x", "2", "1"],
                                   ["fill", "v", "1", "1", "16"], ["check", "v", "1", "4", "2", "9=1"]])
def test_bad_input_is_refused(oracle, words):
    result = subprocess.run([oracle, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and len(result.stdout.splitlines()) == 1
