# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""Results are read, counted and shown as they are: a report must not hide a failure."""

import json
import re

import pytest

from lab import report, results, svg

JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="lab.scenarios.test_xl" name="test_good" time="1.5">
 <properties><property name="record" value="good.json"/>
 <property name="advisory" value="XSA-155"/></properties></testcase>
<testcase classname="lab.scenarios.test_xl" name="test_bad" time="2"><failure message="m">why &lt;b&gt;
</failure></testcase>
<testcase classname="lab.scenarios.test_xl" name="test_end" time="2"></testcase>
<testcase classname="lab.scenarios.test_xl" name="test_end" time="2"><error message="leak"/></testcase>
<testcase classname="lab.scenarios.test_xl" name="test_left" time="0"><skipped message="no"/></testcase>
</testsuite></testsuites>"""
CTEST = """<testsuite><testcase name="blk.Xsa376/Bad.Id/1" classname="blk.Xsa376/Bad.Id/1" time="0.1"
 status="run"/><testcase name="net.Xsa3760" classname="net.Xsa3760" time="0" status="fail">
<failure message=""/></testcase></testsuite>"""


@pytest.fixture
def cases(tmp_path):
    (tmp_path / "scenarios.xml").write_text(JUNIT)
    (tmp_path / "host.xml").write_text(CTEST)
    (tmp_path / "log").write_text("===== xen\n(XEN) <one>\n===== dom0\ntwo\n")
    (tmp_path / "good.json").write_text(json.dumps({
        "start": 1, "took": 3, "worker": "gw0", "measured": {"logs": str(tmp_path / "log")},
        "steps": [{"lane": "dom0", "text": "xl <list>", "start": 0, "end": 1, "failed": False}]}))
    return {name: results.read(tmp_path / f"{name}.xml", tmp_path) for name in ("scenarios", "host")}


def test_verdicts(cases, tmp_path):
    assert [(case.name, case.verdict) for case in cases["scenarios"]] == [
        ("test_good", "passed"), ("test_bad", "failed"), ("test_end", "failed"),
        ("test_left", "skipped")]
    assert results.counts(tmp_path / "scenarios.xml") == (1, 2, 1)


def test_why_some_were_skipped(tmp_path):
    text = "".join(f'<testcase name="{n}"><skipped message="{why}"/></testcase>'
                   for n, why in enumerate(["long", "needs a Xen", "needs a Xen", ""]))
    (tmp_path / "it.xml").write_text(f"<testsuite>{text}<testcase name='good'/></testsuite>")
    assert results.skipped_lines([tmp_path / "it.xml", tmp_path / "none.xml"]) == [
        "2 skipped: needs a Xen", "1 skipped: long", "1 skipped: no reason given"]


@pytest.mark.parametrize("attributes,message,verdict", [
    ('status="notrun"', "Unable to find executable", "failed"),
    ('status="notrun"', "Fixture dependency failed", "failed"),
    ('status="notrun"', "SKIP_RETURN_CODE=77", "skipped"),
    ('status="notrun"', "SKIP_REGULAR_EXPRESSION_MATCHED", "skipped"),
    ('status="disabled"', "Disabled", "skipped"),
])
def test_host_test_that_was_not_run(tmp_path, attributes, message, verdict):
    path = tmp_path / "host.xml"
    path.write_text(f'<testsuite><testcase name="a" {attributes}><skipped message="{message}"/>'
                    "</testcase></testsuite>")
    assert [case.verdict for case in results.read(path)] == [verdict]


def test_broken_results_are_a_failure(tmp_path):
    (tmp_path / "broken.xml").write_text(JUNIT[:200])
    assert results.counts(tmp_path / "broken.xml") == (0, 1, 0)


def test_by_advisory(cases):
    rows = {result.row.name: result for result in results.by_advisory(cases["host"], cases["scenarios"])}
    assert rows["XSA-155"][1:] == (0, 1, "passed")
    assert rows["XSA-376"][1:] == (1, 0, "passed")
    assert rows["XSA-396"].verdict == "no test ran"
    assert rows["XSA-485"].verdict == "does not apply"


def test_advisory_with_a_failed_test(cases):
    bad = [case._replace(verdict="failed") for case in cases["host"]]
    rows = {result.row.name: result for result in results.by_advisory(bad, [])}
    assert rows["XSA-376"].verdict == "failed"


def test_report_shows_all_and_needs_nothing_else(cases, tmp_path):
    path = report.write(tmp_path / "report.html", cases, results.by_advisory([], []), {"host": 1.0})
    html = path.read_text()
    for words in ("test_good", "why &lt;b&gt;", "leak", "xl &lt;list&gt;", "(XEN) &lt;one&gt;",
                  "make regress T='test_bad'"):
        assert words in html
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)|@import", html)


def test_long_log_is_cut_and_not_left_out(tmp_path):
    path = tmp_path / "log"
    path.write_text("===== xen\n" + "(XEN) one\n" * 30000 + "===== dom0\ntwo\n")
    xen, dom0 = report.logs_of({"measured": {"logs": str(path)}})
    assert "log of xen, 30000 lines" in xen and len(xen) < report.LOG_BYTES + 1000
    assert "log of dom0" in dom0 and "two" in dom0


def test_report_names_the_fuzz_targets(cases, tmp_path):
    html = report.write(tmp_path / "r.html", {"fuzz": cases["host"]}, [], {}).read_text()
    assert "<h2>Fuzz targets</h2>" in html


def test_report_of_an_interrupted_run(tmp_path):
    """pytest then writes a case without a name."""
    path = tmp_path / "cut.xml"
    path.write_text('<testsuite><testcase time="1"/></testsuite>')
    assert report.scenarios_section(results.read(path))


def test_report_without_git(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert report.write(tmp_path / "r.html", cases, [], {}).exists()


def test_comparison_shows_what_upstream_fails(cases):
    ours = [case._replace(verdict="passed") for case in cases["scenarios"]]
    rows = results.compare(ours, cases["scenarios"][:2])
    lines = list(results.comparison_lines(rows, ("ours", "GUEST=debian")))
    assert re.search(r"test_bad +passed .*failed", "\n".join(lines))
    assert "did not run" in lines[-1]
    assert "failed" in report.comparison_section(("ours", "theirs"), rows)


def test_ticks_are_round():
    assert svg.ticks(10) == [0, 2, 4, 6, 8, 10]
    assert len(svg.ticks(0.07)) <= 8 and len(svg.ticks(1234)) <= 8
