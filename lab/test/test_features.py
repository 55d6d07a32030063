# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The README's tables of features name tests that exist."""

import ast
import re

import pytest

from lab import advisories
from lab.steps import SOURCE

TABLE = re.compile(r"^\| Feature \| Host tests \| Scenarios \|\n\|[-|]+\n((?:\|.*\n)+)", re.M)
ROW = re.compile(r"^\| (.+?) \| (.*?) ?\| (.*?) ?\|$", re.M)
ROWS = [row for table in TABLE.findall((SOURCE / "README.md").read_text()) for row in ROW.findall(table)]
HOST = set(advisories.host_test_names())


def scenarios():
    """FILE and FILE::FUNCTION of every scenario."""
    for path in (SOURCE / "lab/scenarios").glob("test_*.py"):
        yield path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{path.name}::{node.name}"


SCENARIOS = set(scenarios())


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def is_host_test(name):
    return any(name in (full, full.partition(".")[0]) for full in HOST)


def test_there_is_a_table():
    assert len(ROWS) >= 20


@pytest.mark.parametrize("feature, host, lab", ROWS, ids=[row[0] for row in ROWS])
def test_feature_is_shown(feature, host, lab):
    assert names(host) + names(lab)
    assert not [name for name in names(host) if not is_host_test(name)]
    assert not [name for name in names(lab) if name not in SCENARIOS]


def test_names_that_do_not_exist_are_noticed():
    assert not is_host_test("BlkfrontName.Tabl") and is_host_test("BlkfrontName.Table")
    assert is_host_test("BlkfrontName") and "test_disk.py::test_nothing" not in SCENARIOS
