"""Draw every run of the accuracy ledger, predicted against measured: docs/accuracy.svg.

    python benchmarks/accuracy_picture.py [FILE]

Both axes are logarithmic, the line is where both are equal; the grey of text and lines reads on a light and
on a dark page alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import log10
from pathlib import Path

from actprof.ledger.accuracy import summarise
from actprof.ledger.keep import read_rows
from actprof.ledger.row import AccuracyRow
from actprof.units import GIB

ROOT = Path(__file__).resolve().parents[1]
GREY = "#77808a"
COLOURS = {"measured": "#2f7dc4", "published": "#cf6a17"}
WIDTH, HEIGHT, PANEL, LEFT, TOP = 960, 380, 250, 46, 64
STYLE = f'font-family="system-ui, sans-serif" font-size="15" fill="{GREY}"'
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def main() -> None:
    """Write the picture."""
    file = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs/accuracy.svg"
    rows = read_rows(ROOT / "reports/accuracy")
    found = summarise(rows)
    panels = (
        ("allocated", "GiB", "allocated_bytes", GIB, (0.25, 40.0), found.allocated),
        ("reserved", "GiB", "reserved_bytes", GIB, (0.25, 40.0), found.reserved),
        ("a step", "seconds", "step_seconds", 1.0, (0.01, 2.0), found.step),
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {STYLE}>',
        "<title>Predicted against measured memory and seconds of the runs in the accuracy ledger</title>",
    ]
    for number, (title, unit, field, scale, ends, errors) in enumerate(panels):
        points = [point for row in rows for point in _point(row, field, scale)]
        told = f"{len(points)} runs, {errors.median_percent:.2g} % off in the median"
        parts += [f'<g transform="translate({LEFT + number * (PANEL + 65)} {TOP})">']
        parts += [f'<text y="-34" font-size="19" font-weight="600">{title}, {unit}</text>']
        parts += [f'<text y="-12">{told}</text>', *_axes(ends), *_marks(points, ends), "</g>"]
    parts += [_legend(), "</svg>"]
    file.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"wrote {file}")


def _point(row: AccuracyRow, field: str, scale: float) -> Iterator[tuple[str, float, float]]:
    """Yield where a row stands: its origin, what was measured, what was predicted."""
    measured, predicted = getattr(row.measured, field), getattr(row.predicted, field)
    if measured and predicted:
        yield row.origin, measured / scale, predicted / scale


def _axes(ends: tuple[float, float]) -> Iterator[str]:
    yield f'<rect width="{PANEL}" height="{PANEL}" fill="none" stroke="{GREY}" stroke-opacity=".6"/>'
    yield f'<path d="M0 {PANEL}L{PANEL} 0" stroke="{GREY}"/>'
    for tick in TICKS:
        if ends[0] <= tick <= ends[1]:
            place = _place(tick, ends)
            yield (
                f'<path d="M{place:.1f} 0v{PANEL}M0 {PANEL - place:.1f}h{PANEL}" '
                f'stroke="{GREY}" stroke-opacity=".2"/>'
            )
            yield f'<text x="{place:.1f}" y="{PANEL + 19}" text-anchor="middle">{tick:g}</text>'
            yield f'<text x="-6" y="{PANEL - place + 5:.1f}" text-anchor="end">{tick:g}</text>'


def _marks(points: list[tuple[str, float, float]], ends: tuple[float, float]) -> Iterator[str]:
    for origin, measured, predicted in sorted(points):
        x, y = _place(measured, ends), PANEL - _place(predicted, ends)
        paint = f'fill="{COLOURS[origin]}" fill-opacity=".5" stroke="{COLOURS[origin]}"'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" {paint}/>'


def _place(value: float, ends: tuple[float, float]) -> float:
    low, high = (log10(end) for end in ends)
    return (log10(value) - low) / (high - low) * PANEL


def _legend() -> str:
    x, y, words = LEFT, TOP + PANEL + 50, "across: measured, up: predicted; the line is where both are equal."
    for origin, text in (("measured", "measured on one H100"), ("published", "published by others")):
        words += f'<tspan dx="16" fill="{COLOURS[origin]}">●</tspan><tspan dx="5">{text}</tspan>'
    return f'<text x="{x}" y="{y}">{words}</text>'


if __name__ == "__main__":
    main()
