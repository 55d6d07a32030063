# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Few rows in which every value of a setting meets every value of every other one."""

import itertools
import random


def pairs_of(row):
    return set(itertools.combinations(row.items(), 2))


def pairwise(settings, fits=lambda row: True, tries=40):
    """Rows, as dictionaries, of {name: values}; the same ones each time. fits() excludes rows that
    cannot be, and with them the pairs that only they have."""
    source = random.Random(1)
    everything = [row for values in itertools.product(*settings.values())
                  if fits(row := dict(zip(settings, values)))]
    left = set().union(*map(pairs_of, everything))
    rows = []
    while left:
        # One pair that is missing, in the row of a few random ones that has the most of them.
        pair = min(left, key=repr)
        having = [row for row in everything if pair in pairs_of(row)]
        best = max(source.sample(having, min(tries, len(having))),
                   key=lambda row: len(pairs_of(row) & left))
        rows.append(best)
        left -= pairs_of(best)
    return rows
