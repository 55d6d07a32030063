# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The report of a run: one HTML file that needs no other, and no network."""

import os
import pathlib
import subprocess
import time
from html import escape

from lab import svg
from lab.steps import SOURCE, replay

LOG_BYTES = 200_000
STYLE = """
:root { color-scheme: light }
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2733; background: #f6f7f9; margin: 0 auto;
       max-width: 1000px; padding: 24px }
h1 { font-size: 22px; margin: 0 0 4px } h2 { font-size: 17px; margin: 32px 0 8px }
.facts { color: #55606d; margin-bottom: 16px }
.tiles { display: flex; gap: 10px; flex-wrap: wrap }
.tile { background: #fff; border: 1px solid #dde2e8; border-radius: 6px; padding: 8px 16px }
.tile b { display: block; font-size: 22px }
details, .box { background: #fff; border: 1px solid #dde2e8; border-radius: 6px; margin: 4px 0;
                padding: 6px 12px; overflow-x: auto }
details details { border: 0; border-top: 1px solid #eceff3; border-radius: 0; padding: 4px 0 }
summary { cursor: pointer } summary .time { float: right; color: #55606d }
.verdict { display: inline-block; min-width: 58px; text-align: center; border-radius: 4px;
           padding: 0 6px; margin-right: 8px; font-size: 12px; background: #e4e8ed; color: #55606d }
.verdict.passed { background: #ddf3e4; color: #17693a }
.verdict.failed { background: #fbdfdc; color: #a3271b }
.tag { font-size: 11px; color: #55606d; border: 1px solid #dde2e8; border-radius: 4px;
       padding: 0 4px; margin-left: 6px }
pre { font: 12px/1.4 ui-monospace, monospace; background: #f6f7f9; padding: 8px; overflow: auto;
      max-height: 420px; white-space: pre-wrap; margin: 4px 0 }
pre.bad { background: #fdf1f0 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: 3px 8px; border-bottom: 1px solid #eceff3; vertical-align: top }
th { color: #55606d; font-weight: 600 } td.n { text-align: right; white-space: nowrap }
td.code { font: 12px ui-monospace, monospace; word-break: break-all }
svg { max-width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #55606d }
svg .grid { stroke: #e4e8ed }
#tools { position: sticky; top: 0; background: #f6f7f9; padding: 8px 0; display: flex; gap: 8px }
#tools input { flex: 1 } #tools input, #tools button { font: inherit; padding: 4px 10px;
  border: 1px solid #c6ccd4; border-radius: 6px; background: #fff }
#tools button.on { background: #1d2733; color: #fff }
"""
SCRIPT = """
let shown = "all";
const find = document.getElementById("find");
function apply() {
  const words = find.value.toLowerCase().split(/\\s+/);
  for (const item of document.querySelectorAll(".case"))
    item.hidden = !((shown === "all" || item.dataset.verdict === shown) &&
                    words.every(word => item.dataset.words.includes(word)));
}
find.addEventListener("input", apply);
for (const button of document.querySelectorAll("#tools button"))
  button.addEventListener("click", () => {
    shown = button.dataset.show;
    for (const other of document.querySelectorAll("#tools button"))
      other.classList.toggle("on", other === button);
    apply();
  });
"""
TITLES = {"host": "Host tests", "fuzz": "Fuzz targets", "lab": "The lab's own tests"}


def badge(verdict):
    return f'<span class="verdict {escape(verdict.split()[0])}">{escape(verdict)}</span>'


def table(head, rows):
    """rows hold HTML; numbers are set to the right."""
    lines = ["<tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"]
    for row in rows:
        cells = [f'<td class="n">{cell}</td>' if isinstance(cell, (int, float)) else
                 f"<td>{cell}</td>" for cell in row]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def read_log(name):
    try:
        return pathlib.Path(name).read_text(errors="replace")
    except OSError:
        return ""


def logs_of(record):
    """A scenario's logs; of a very long one the end, where its failure is."""
    parts = read_log(record.get("measured", {}).get("logs", "")).split("===== ")[1:]
    for part in parts:
        name, _, text = part.partition("\n")
        if text.strip():
            lines = text.count("\n")
            if len(text) > LOG_BYTES:
                text = "[the beginning is left out]\n" + text[-LOG_BYTES:]
            yield (f"<details><summary>log of {escape(name)}, {lines} lines</summary>"
                   f"<pre>{escape(text.strip())}</pre></details>")


def steps_of(record):
    steps = record.get("steps", [])
    if not steps:
        return ""
    rows = [(round(step["start"], 2), round(step["end"] - step["start"], 2), escape(step["lane"]),
             f'<code>{escape(step["text"])}</code>' +
             (" " + badge("failed") if step["failed"] else ""))
            for step in steps]
    return svg.timeline(steps, record["took"]) + \
        f"<details><summary>{len(steps)} steps</summary>" + \
        table(["at, s", "took, s", "where", "what"], rows) + "</details>"


def scenario(case):
    words = f"{case.group} {case.name} {' '.join(case.advisories)}".lower()
    tags = "".join(f'<span class="tag">{escape(name)}</span>' for name in case.advisories[:2])
    parts = [f'<details class="case" data-verdict="{case.verdict}" data-words="{escape(words)}"'
             f'{" open" if case.verdict == "failed" else ""}>'
             f'<summary>{badge(case.verdict)}{escape(case.group)}::<b>{escape(case.name)}</b>{tags}'
             f'<span class="time">{case.seconds:.1f} s</span></summary>']
    if case.text:
        parts.append(f'<pre class="{"bad" if case.verdict == "failed" else ""}">'
                     f"{escape(case.text[-8000:])}</pre>")
    if case.verdict == "failed":
        parts.append(f"<p>To run it again: <code>{escape(replay(case.name), quote=False)}</code></p>")
    return "".join([*parts, steps_of(case.record), *logs_of(case.record), "</details>"])


def scenarios_section(cases):
    buttons = "".join(f'<button data-show="{kind}"{" class=on" if kind == "all" else ""}>{kind} '
                      f"{len(cases) if kind == 'all' else [c.verdict for c in cases].count(kind)}"
                      "</button>" for kind in ("all", "failed", "skipped", "passed"))
    return ('<h2>Scenarios</h2><div id="tools">' + buttons +
            '<input id="find" type="search" placeholder="find by name, file or advisory"></div>' +
            "".join(map(scenario, cases)) + f"<script>{SCRIPT}</script>")


def unit_section(title, cases):
    failed = [case for case in cases if case.verdict == "failed"]
    slow = sorted(cases, key=lambda case: -case.seconds)[:5]
    rows = [(badge(case.verdict), escape(case.name), round(case.seconds, 2)) for case in slow]
    return (f"<h2>{title}</h2><p>{len(cases) - len(failed)} of {len(cases)} without a failure.</p>" +
            "".join(f'<details open><summary>{badge("failed")}{escape(case.name)}</summary>'
                    f'<pre class="bad">{escape(case.text[-6000:])}</pre></details>'
                    for case in failed) +
            "<details><summary>the slowest</summary>" + table(["", "test", "s"], rows) + "</details>")


def plots_section(cases):
    ran = sorted((case for case in cases if case.record), key=lambda case: case.record["start"])
    parts = []
    for worker in sorted({case.record.get("worker", "") for case in ran}):
        mine = [case for case in ran if case.record.get("worker") == worker
                and "free" in case.record.get("measured", {})]
        for key, title, unit, scale in (("free", "memory that Xen has free", "MiB", 1 / 256),
                                        ("grants", "mapped grants", "", 1),
                                        ("ports", "event ports in use", "", 1)):
            points = [(case.name, case.record["measured"][key] * scale) for case in mine]
            parts.append(svg.plot(f"{worker}: {title}, after each scenario", points, unit))
    longest = sorted(cases, key=lambda case: -case.seconds)[:20]
    parts.append(svg.bars("the longest scenarios", [
        (f"{case.group}::{case.name}", case.seconds, case.verdict == "failed") for case in longest]))
    return '<h2>Over the suite</h2><div class="box">' + "".join(parts) + "</div>"


def advisories_section(results):
    rows = [(badge(result.verdict), escape(result.row.name), escape(result.row.title) +
             (f"<br><i>{escape(result.row.reason)}</i>"
              if result.verdict == "does not apply" else ""),
             result.host, result.lab) for result in results]
    return ('<h2>By advisory</h2><div class="box">' +
            table(["", "advisory", "what goes wrong", "host tests", "scenarios"], rows) + "</div>")


def comparison_section(names, rows):
    def cell(case):
        if case is None:
            return "did not run"
        parts = [f"<pre>{escape(case.text[-3000:])}</pre>"] if case.verdict == "failed" else []
        parts += [steps_of(case.record), *logs_of(case.record)]
        more = f"<details><summary>more</summary>{''.join(parts)}</details>" if any(parts) else ""
        return f"{badge(case.verdict)}{case.seconds:.1f} s{more}"
    lines = [(f"{escape(group)}::{escape(name)}", *map(cell, cases)) for group, name, *cases in rows]
    return ('<h2>The same scenarios on two kernels</h2><div class="box">' +
            table(["scenario", *map(escape, names)], lines) + "</div>")


def facts(stages):
    try:
        commit = subprocess.run(["git", "log", "-1", "--format=%h %s"], cwd=SOURCE,
                                capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    given = [f"{name}={os.environ[name]}" for name in ("T", "TARGET", "GUEST", "XEN")
             if os.environ.get(name)]
    return escape("; ".join(filter(None, [
        time.strftime("%Y-%m-%d %H:%M"), commit, " ".join(given),
        ", ".join(f"{name} {seconds:.0f} s" for name, seconds in stages.items())])))


def write(path, cases, advisories, stages, comparison=None):
    """cases: the cases of each results file by its name."""
    every = [case for group in cases.values() for case in group]
    tiles = [(len([case for case in every if case.verdict == kind]), kind)
             for kind in ("passed", "failed", "skipped")]
    parts = ["<!doctype html><html lang=en><head><meta charset=utf-8><title>Proxenos: results</title>"
             f"<style>{STYLE}</style></head><body><h1>Proxenos: results of a run</h1>"
             f'<div class="facts">{facts(stages)}</div><div class="tiles">',
             *[f'<div class="tile"><b>{number}</b>{kind}</div>' for number, kind in tiles], "</div>"]
    if comparison:
        parts.append(comparison_section(*comparison))
    if any(result.host or result.lab for result in advisories):
        parts.append(advisories_section(advisories))
    if cases.get("scenarios"):
        parts += [plots_section(cases["scenarios"]), scenarios_section(cases["scenarios"])]
    parts += [unit_section(title, cases[name]) for name, title in TITLES.items() if cases.get(name)]
    path.write_text("".join([*parts, "</body></html>\n"]), errors="replace")
    return path
