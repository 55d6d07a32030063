# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Chosen rows have every pair that is possible, and are few."""

import itertools

from lab.pairwise import pairs_of, pairwise

SETTINGS = {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4], "c": "xy", "d": [True, False]}


def test_every_pair_is_there():
    rows = pairwise(SETTINGS)
    every = [dict(zip(SETTINGS, values)) for values in itertools.product(*SETTINGS.values())]
    assert set().union(*map(pairs_of, rows)) == set().union(*map(pairs_of, every))
    assert 20 <= len(rows) <= 26 and len(every) == 80


def test_rows_that_do_not_fit_are_left_out():
    rows = pairwise(SETTINGS, lambda row: row["a"] != 3 or row["c"] == "x")
    assert rows and not [row for row in rows if row["a"] == 3 and row["c"] == "y"]
    assert [row for row in rows if row["a"] == 3]


def test_rows_are_the_same_each_time():
    assert pairwise(SETTINGS) == pairwise(SETTINGS)
