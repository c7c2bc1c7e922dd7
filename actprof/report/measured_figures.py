"""Figures of real runs: predicted and measured peaks side by side, and samples per second."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from actprof.ledger.comparison import Pair
from actprof.report.measured_sentences import cell_name
from actprof.report.palette import GREY, MEMORY, allocator_mark
from actprof.report.plotting import (
    POINTED,
    axis_title,
    images_label,
    in_gib,
    lay_out,
    row_heights,
    rows_axis,
    segments,
)
from actprof.results import PREDICTED, Result, Verdict
from actprof.units import GIB, format_seconds
from actprof.words import VERDICT_WORDS, difference_text, gib, images_text


def draw_peaks(pairs: Sequence[Pair], *, top_bytes: int) -> go.Figure:
    """Return one row per real run: predicted peaks as rings, measured ones as dots, joined by a line.

    Args:
        pairs: from top to bottom.
        top_bytes: where the axis ends, so that figures beside each other compare.
    """
    groups = [f"{p.cell.resolution} {p.cell.cameras}" for p in pairs]
    heights = row_heights(groups)
    figure = go.Figure()
    for kind, colour in MEMORY.items():
        peaks = [(*pair.peaks(kind), height) for pair, height in zip(pairs, heights, strict=True)]
        joins = segments((said / GIB, was / GIB, height) for said, was, height in peaks if said and was)
        figure.add_scatter(**joins, mode="lines", line={"color": GREY, "width": 2}, hoverinfo="skip")
        figure.add_trace(_marks(pairs, heights, kind, colour, measured=False))
        figure.add_trace(_marks(pairs, heights, kind, colour, measured=True))
    lay_out(figure, height=66 + 24 * len(pairs) + 11 * len(set(groups)), left=138)
    figure.update_xaxes(title=axis_title("GiB"), range=[0, round(1.06 * top_bytes / GIB, 3)])
    figure.update_yaxes(**rows_axis(heights, [_row_name(p) for p in pairs]))
    return figure


def draw_speed(
    runs: Sequence[Result], resolutions: Sequence[str], *, top: float, points: Sequence[Result] = ()
) -> go.Figure:
    """Return samples per second by batch size, one line per resolution; bars span the slowest to the fastest.

    Args:
        runs: those that have timings; predicted ones have no bars, for a band as wide hides the others.
        resolutions: all of the page; the place in it decides a line's colour and symbol.
        top: samples per second where the axis ends.
        points: real runs to set beside predicted lines, as rings with their bars.
    """
    figure = go.Figure()
    for index, resolution in enumerate(resolutions):
        line = sorted((r for r in runs if r.cell.resolution == resolution), key=lambda r: r.cell.batch_size)
        if line:
            figure.add_trace(_speed_line(resolution, line, allocator_mark(index)))
        if real := [r for r in points if r.cell.resolution == resolution]:
            rings = _speed_line(resolution, real, (allocator_mark(index)[0], "circle-open"))
            figure.add_trace(rings.update(mode="markers", marker={"size": 12, "line": {"width": 2}}))
    lay_out(figure, height=250, left=52)
    sizes = sorted({r.cell.batch_size for r in (*runs, *points)})
    figure.update_xaxes(
        type="log", title=axis_title("batch size"), tickvals=sizes,
        ticktext=[str(size) for size in sizes], ticks="", zeroline=False,
    )  # fmt: skip
    figure.update_yaxes(title=axis_title("samples per second", 4), range=[0, round(1.1 * top, 3)])
    return figure


def _row_name(pair: Pair) -> str:
    cell, label = pair.cell, images_label(pair.cell.cameras, pair.cell.resolution)
    mark = {Verdict.OOM: " <b>OOM</b>", Verdict.FAILED: " <b>failed</b>"}.get(pair.run.verdict, "")
    return f"{label} \u00b7 {cell.cameras} \u00b7 {cell.batch_size}{mark}"


def _marks(
    pairs: Sequence[Pair], heights: Sequence[float], kind: str, colour: str, *, measured: bool
) -> go.Scatter:
    rows = [
        (size, height, _describe(pair, kind))
        for pair, height in zip(pairs, heights, strict=True)
        if (size := pair.peaks(kind)[measured])
    ]
    mark = {"symbol": "circle", "size": 7} if measured else {"symbol": "circle-open", "size": 12}
    return go.Scatter(
        x=in_gib(size for size, _, _ in rows), y=[height for _, height, _ in rows],
        mode="markers", name=f"{kind}, {'measured' if measured else 'predicted'}", cliponaxis=False,
        marker={**mark, "color": colour, "line": {"width": 0 if measured else 2, "color": colour}},
        hovertext=[text for _, _, text in rows], hovertemplate=POINTED,
    )  # fmt: skip


def _describe(pair: Pair, kind: str) -> str:
    peaks, part = pair.peaks(kind), pair.difference_bytes(kind)
    named = {"predicted": pair.prediction, "measured": pair.run}
    words = [
        f"{source}: {VERDICT_WORDS.get(result.verdict, escape(result.verdict))}"
        for source, result in named.items()
        if result
    ]
    sizes = [f"{source} {gib(size)} GiB" for source, size in zip(named, peaks, strict=True) if size]
    difference = "" if part is None else f" ({difference_text(part, peaks[1])})"
    head = f"<b>{escape(cell_name(pair.cell))}</b><br>{', '.join(words)}"
    return f"{head}<br><b>{kind}</b> {', '.join(sizes)}{difference}"


def _speed_line(resolution: str, line: Sequence[Result], mark: tuple[str, str]) -> go.Scatter:
    speeds = [round(r.samples_per_second or 0.0, 3) for r in line]
    source = line[0].source
    return go.Scatter(
        x=[r.cell.batch_size for r in line], y=speeds, name=escape(images_text(1, resolution)),
        mode="lines+markers",
        line={"color": mark[0], "width": 2}, marker={"color": mark[0], "symbol": mark[1], "size": 8},
        error_y={
            "type": "data", "visible": source != PREDICTED, "symmetric": False,
            "color": mark[0], "thickness": 1.2, "width": 3,
            "array": [_speed_at(r, low=True) - v for r, v in zip(line, speeds, strict=True)],
            "arrayminus": [v - _speed_at(r, low=False) for r, v in zip(line, speeds, strict=True)],
        },
        customdata=[_say_step(r) for r in line],
        hovertemplate="<b>%{fullData.name}</b>, batch %{x}, " + escape(source)
        + "<br>%{y:.1f} samples per second<br>%{customdata}<extra></extra>",
    )  # fmt: skip


def _say_step(result: Result) -> str:
    spread = result.step_seconds
    if spread is None:
        return ""
    ends = f"{format_seconds(spread.low)} to {format_seconds(spread.high)}"
    return f"{format_seconds(spread.median)} per step ({ends})"


def _speed_at(result: Result, *, low: bool) -> float:
    """Return the samples per second of the fastest step (`low` seconds) or of the slowest."""
    spread = result.step_seconds
    seconds = (spread.low if low else spread.high) if spread else 0.0
    return round(result.cell.global_samples / seconds if seconds else result.samples_per_second or 0.0, 3)
