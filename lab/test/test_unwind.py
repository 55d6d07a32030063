# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Linux's tables of callers, as readelf understands what becomes of them."""

import re
import struct
import subprocess

import pytest

from lab import unwind

CODE = 0xffffffff81000000
TABLE = 0xffffffff81eda9b4  # behind the code: distances are negative
CALL, ALL, INTERRUPT = 0, 1, 2
SP, BP, R10, BP_INDIRECT, SP_INDIRECT = 5, 4, 6, 8, 9


def entry(sp_base, sp_offset, bp_offset=0, kind=CALL, end=0):
    bp_base = unwind.PREV_SP if bp_offset else unwind.UNDEFINED
    return unwind.ENTRY.pack(sp_offset, bp_offset, sp_base | bp_base << 4 | kind << 8 | end << 10)


def shown(tmp_path, rows, how="frames-interp"):
    """What readelf prints of [(distance from the start, entry)]."""
    places = b"".join(struct.pack("<i", CODE + distance - TABLE - 4 * index)
                      for index, (distance, _) in enumerate(rows))
    (tmp_path / "frames").write_bytes(unwind.debug_frame(places, TABLE, b"".join(row for _, row in rows)))
    subprocess.run(["gcc", "-x", "c", "-c", "/dev/null", "-o", tmp_path / "plain"], check=True)
    subprocess.run(["objcopy", "--add-section", f".debug_frame={tmp_path / 'frames'}", tmp_path / "plain",
                    tmp_path / "object"], check=True)
    result = subprocess.run(["readelf", f"--debug-dump={how}", tmp_path / "object"], check=True,
                            capture_output=True, text=True)
    assert not result.stderr
    return result.stdout


@pytest.mark.parametrize("row, wanted", [
    (entry(SP, 24), "rsp+24 s c-8"), (entry(BP, 16, -16), "rbp+16 c-16 c-8"), (entry(R10, 0), "r10+0 s c-8"),
    (entry(SP, 0, kind=ALL), "rsp+168 c-136 c-16 c-40"), (entry(SP, 8, kind=INTERRUPT), "rsp+48 s c-16 c-40"),
    (entry(SP, 0, 32, kind=ALL), "rsp+168 c-136 c-16 c-40"),
    (entry(SP_INDIRECT, 8), "exp s c-8"), (entry(BP_INDIRECT, -24), "exp s c-8")])
def test_rules(tmp_path, row, wanted):
    out = shown(tmp_path, [(0, entry(SP, 8)), (16, row)])
    columns = [word for word in re.search(rf"^{CODE + 16:x} (.*)$", out, re.M)[1].split() if word != "u"]
    assert " ".join(columns) == wanted, out


def test_where_there_is_no_caller(tmp_path):
    out = shown(tmp_path, [(0, entry(unwind.UNDEFINED, 0, end=1)), (5, entry(15, 0)), (9, entry(SP, -8))], "frames")
    assert len(re.findall(r"DW_CFA_undefined: r16", out)) == 3


@pytest.mark.parametrize("distance", [1, 0x3f, 0x40, 0xff, 0x100, 0xffff, 0x10000, 0x1234567])
def test_distances(tmp_path, distance):
    out = shown(tmp_path, [(0, entry(SP, 8)), (distance, entry(SP, 16)), (distance + 1, entry(SP, 8))])
    assert re.search(rf"^{CODE + distance:x} +rsp\+16 ", out, re.M), out
    assert re.search(rf"pc={CODE:x}\.\.{CODE + distance + 2:x}$", out, re.M), out


def test_indirect_ends(tmp_path):
    out = shown(tmp_path, [(0, entry(SP_INDIRECT, 8)), (4, entry(BP_INDIRECT, -24))], "frames")
    assert "DW_OP_breg7 (rsp): 0; DW_OP_deref; DW_OP_consts: 8; DW_OP_plus" in out
    assert "DW_OP_breg6 (rbp): -24; DW_OP_deref; DW_OP_consts: 0; DW_OP_plus" in out
