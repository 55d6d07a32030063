# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The table of advisories: names are read as they are written, and every row has a test."""

import re

import pytest

from lab import advisories
from lab.advisories import ADVISORIES

NAMES = list(advisories.host_test_names())
MARKS = list(advisories.scenario_marks())


def test_ranges_are_counted_up():
    row = advisories.row("XSA-396 CVE-2022-23036..42", "")
    assert len(row.names) == 8 and row.names[-1] == "CVE-2022-23042"


def test_token_ends_where_the_number_ends():
    row = advisories.row("XSA-33 CVE-2022-1", "")
    assert re.search(row.pattern(), "Hostile.Xsa33Storm") and re.search(row.pattern(), "A.Cve20221/3")
    assert not re.search(row.pattern(), "Hostile.Xsa331PortIsClosed")


def test_numbers_are_unique():
    names = [name for row in ADVISORIES for name in row.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", [row for row in ADVISORIES if not row.reason],
                         ids=lambda row: row.name)
def test_advisory_has_a_test(row):
    assert any(re.search(row.pattern(), name) for name in NAMES) or set(row.names) & set(MARKS)


@pytest.mark.parametrize("mark", sorted(set(MARKS)))
def test_mark_is_known(mark):
    assert advisories.find(mark)


def test_tokens_are_known():
    tokens = {advisories.token(name) for row in ADVISORIES for name in row.names}
    used = {found for name in NAMES for found in re.findall(r"Xsa\d+|Cve\d+", name)}
    assert used <= tokens
