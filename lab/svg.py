# SPDX-License-Identifier: MIT OR GPL-2.0-only
"""The drawings of the report, as SVG within HTML: a scenario's timeline, plots over the suite."""

from html import escape

WIDTH = 920
LEFT = 110
ROW = 18
COLOURS = {"dom0": "#4c78a8", "check": "#9aa5b1", "console": "#c9b037"}
OTHERS = ["#2a9d8f", "#8a63b8", "#d97b38", "#6b8e23"]
FAILED = "#c0392b"


def drawing(height, parts):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
            + "".join(parts) + "</svg>")


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(words))}</text>'


def ticks(limit, wanted=6):
    """Round numbers from 0 up to the limit."""
    size = 10.0 ** -3
    while limit / size > wanted:
        for factor in (2, 2.5, 2):
            size *= factor
            if limit / size <= wanted:
                break
    return [number * size for number in range(int(limit / size) + 1)]


def seconds_axis(took, height):
    scale = (WIDTH - LEFT - 20) / took
    for at in ticks(took):
        x = LEFT + at * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 16}"/>'
        yield text(x, height - 3, f"{at:g} s", "middle")


def timeline(steps, took):
    """A row for dom0 and for each guest, a bar for each step; the words are the bar's title."""
    if not steps:
        return ""
    took = max(took, 0.1)
    lanes = list(dict.fromkeys(step["lane"] for step in steps))
    others = iter(OTHERS * 9)
    colours = {lane: COLOURS.get(lane) or next(others) for lane in lanes}
    height = len(lanes) * ROW + 20
    parts = list(seconds_axis(took, height))
    scale = (WIDTH - LEFT - 20) / took
    for row, lane in enumerate(lanes):
        parts.append(text(LEFT - 8, row * ROW + 13, lane, "end"))
        for step in (step for step in steps if step["lane"] == lane):
            colour = FAILED if step["failed"] else colours[lane]
            width = max((step["end"] - step["start"]) * scale, 1)
            parts.append(f'<rect x="{LEFT + step["start"] * scale:.1f}" y="{row * ROW + 3}" rx="2" '
                         f'width="{width:.1f}" height="{ROW - 6}" fill="{colour}" opacity=".8">'
                         f'<title>{step["end"] - step["start"]:.2f} s: {escape(step["text"])}</title>'
                         "</rect>")
    return drawing(height, parts)


def plot(title, points, unit):
    """A line over the scenarios in the order in which they ran; points are (name, value)."""
    if len(points) < 2:
        return ""
    height, top = 130, 22
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or 1
    step = (WIDTH - LEFT - 20) / (len(points) - 1)
    at = [(LEFT + index * step, height - 14 - (value - low) / span * (height - top - 20))
          for index, (_, value) in enumerate(points)]
    parts = [text(LEFT, 14, title)]
    for value in (low, high):
        y = height - 14 - (value - low) / span * (height - top - 20)
        parts += [f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}"/>',
                  text(LEFT - 8, y + 4, f"{value:g} {unit}", "end")]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#4c78a8" stroke-width="1.5"/>')
    for (x, y), (name, value) in zip(at, points):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#4c78a8">'
                     f"<title>{escape(name)}: {value:g} {unit}</title></circle>")
    return drawing(height, parts)


def bars(title, rows):
    """Horizontal bars; rows are (name, seconds, failed)."""
    if not rows:
        return ""
    height = len(rows) * ROW + 40
    left = 330
    scale = (WIDTH - left - 80) / (max(seconds for _, seconds, _ in rows) or 1)
    parts = [text(left, 14, title)]
    for index, (name, seconds, failed) in enumerate(rows):
        y = index * ROW + 24
        parts += [text(left - 8, y + 12, name if len(name) < 52 else name[:50] + "…", "end"),
                  f'<rect x="{left}" y="{y + 2}" width="{max(seconds * scale, 1):.1f}" rx="2" '
                  f'height="{ROW - 6}" fill="{FAILED if failed else "#4c78a8"}" opacity=".8"/>',
                  text(left + seconds * scale + 6, y + 12, f"{seconds:.1f} s")]
    return drawing(height, parts)
