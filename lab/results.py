# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Reads results: JUnit XML of ctest and pytest, and the scenarios' own records beside it."""

import collections
import json
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

from lab.advisories import ADVISORIES, of_host_test


class Case(NamedTuple):
    """One test that has run."""
    group: str      # the file of a scenario, the program of a host test
    name: str
    verdict: str    # passed, failed or skipped
    seconds: float
    text: str       # why it failed or was skipped
    advisories: tuple = ()
    host_tests: int = 0
    record: dict = {}


def verdict_of(element):
    """A test can have failed in two ways, and its end can fail after it has passed."""
    bad = [part for kind in ("failure", "error") for part in element.findall(kind)]
    skipped = element.find("skipped")
    if bad:
        return "failed", "\n".join(part.text or part.get("message", "") for part in bad)
    why = skipped.get("message", "") if skipped is not None else ""
    # ctest says so of a test whose program is missing, too.
    if element.get("status") == "notrun" and not why.startswith("SKIP_"):
        return "failed", why or "it was not run"
    if skipped is not None or element.get("status") == "disabled":
        return "skipped", why
    return "passed", ""


def read_record(folder, name):
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {}


def read(path, records=None):
    """The cases of a JUnit XML file, None if it is missing or broken."""
    try:
        elements = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None
    cases = {}
    for element in elements:
        properties = [(part.get("name"), part.get("value")) for part in element.iter("property")]
        named = dict(properties)
        verdict, text = verdict_of(element)
        group = (element.get("classname") or "").rpartition(".")[2]
        case = Case(group, element.get("name") or "", verdict, float(element.get("time") or 0), text,
                    tuple(value for name, value in properties if name == "advisory"),
                    int(named.get("host_tests", 0)),
                    read_record(records, named["record"]) if records and "record" in named else {})
        # A scenario whose end failed too is there twice, and counts once.
        before = cases.get((group, case.name))
        if before:
            case = case._replace(text=f"{before.text}\n{case.text}".strip(), verdict=max(
                before.verdict, case.verdict, key=["passed", "skipped", "failed"].index))
        cases[group, case.name] = case
    return list(cases.values())


def read_with_records(path):
    return read(path, path.parent / "records") or []


def counts(path):
    """(passed, failed, skipped) of a JUnit XML file; one that is missing or broken has failed."""
    cases = read(path)
    if cases is None:
        return 0, 1, 0
    verdicts = [case.verdict for case in cases]
    return tuple(verdicts.count(kind) for kind in ("passed", "failed", "skipped"))


def skipped_lines(paths):
    """How many were skipped for each reason, most first."""
    reasons = collections.Counter(case.text.partition("\n")[0] or "no reason given" for path in paths
                                  for case in read(path) or [] if case.verdict == "skipped")
    return [f"{number} skipped: {reason}" for reason, number in reasons.most_common()]


class AdvisoryResult(NamedTuple):
    row: object
    host: int
    lab: int
    verdict: str


def by_advisory(host, scenarios):
    """What was seen of each advisory, from the cases of host tests and of scenarios."""
    result = []
    for row in ADVISORIES:
        cases = [case for case in host if row in of_host_test(f"{case.group}.{case.name}")]
        again = [case for case in scenarios if case.group == "test_hostile"
                 and case.name.endswith(f"[{row.name}]")]
        lab = [case for case in scenarios if set(case.advisories) & set(row.names)
               and case not in again and case.verdict != "skipped"]
        number = len(cases) or sum(case.host_tests for case in again)
        verdicts = {case.verdict for case in [*cases, *again, *lab]} - {"skipped"}
        if number or lab:
            verdict = "failed" if "failed" in verdicts else "passed"
        else:
            verdict = "does not apply" if row.reason else "no test ran"
        result.append(AdvisoryResult(row, number, len(lab), verdict))
    return result


def advisory_lines(results):
    """The listing at the end of a run."""
    for result in results:
        tests = f"{result.host} host, {result.lab} lab"
        line = f"  {result.row.name:15} {tests:16} {result.verdict:15} {result.row.title}"
        yield line + (f" ({result.row.reason})" if result.verdict == "does not apply" else "")


def compare(ours, theirs):
    """(group, name, our case or None, their case or None) of two runs of the same scenarios."""
    first, second = ({(case.group, case.name): case for case in cases} for cases in (ours, theirs))
    return [(*key, first.get(key), second.get(key)) for key in {**first, **second}]


def comparison_lines(rows, names):
    width = max([len(f"{group}::{name}") for group, name, _, _ in rows] + [8])
    yield f"  {'scenario':{width}}  {names[0]:16}  {names[1]}"
    for group, name, *cases in rows:
        words = [f"{case.verdict} {case.seconds:6.1f} s" if case else "did not run" for case in cases]
        yield f"  {group + '::' + name:{width}}  {words[0]:16}  {words[1]}"
