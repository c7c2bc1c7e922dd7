"""Plotly figures: heatmaps of the memory needed, the limits, and what the peak is made of.

Each function returns a `plotly.graph_objects.Figure` without colours of the page: text, grid and background
come from a template that the page puts in, so that they follow the light or dark scheme. Names are escaped,
for plotly reads a subset of HTML.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from actprof.report.arrange import Line, room_bytes, share_of_device
from actprof.report.palette import SHADES, allocator_mark, colour_at, colour_scale, shade, text_on
from actprof.results import Verdict
from actprof.units import GIB
from actprof.words import (
    VERDICT_WORDS,
    allocator_text,
    cameras_text,
    cell_text,
    gib,
    limit_text,
    percent,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actprof.report.arrange import Setup
    from actprof.report.makeup import Bar
    from actprof.results import Result

_MARKS = {
    Verdict.FITS: "",
    Verdict.TIGHT: "tight",
    Verdict.OOM: "OOM",
    Verdict.UNKNOWN: "?",
    Verdict.FAILED: "fail",
}
_STILL = {"fixedrange": True}  # no zoom: a finger on the figure scrolls the page
_HOVER_WIDTH = 56
_SEAM = {"width": 1, "color": "rgba(255,255,255,.45)"}  # between the parts of a bar


def draw_heatmap(setup: Setup, cameras: int, alloc_conf: str) -> go.Figure:
    """Return needed GiB by batch size and resolution, for one camera count and allocator setting."""
    lines = [setup.line(resolution, cameras, alloc_conf) for resolution in setup.resolutions]
    rows = [line for line in lines if line]
    results = [{r.cell.batch_size: r for r in line.results} for line in rows]
    sizes = [size for size in setup.batch_sizes if any(size in row for row in results)]
    grid = [[row.get(size) for size in sizes] for row in results]
    columns, names = [str(size) for size in sizes], [escape(line.resolution) for line in rows]
    figure = go.Figure(
        go.Heatmap(
            x=columns, y=names, z=[[None if r is None else round(shade(r), 4) for r in row] for row in grid],
            zmin=SHADES[0], zmax=SHADES[1], colorscale=colour_scale(), showscale=False, xgap=2, ygap=2,
            hovertext=[["" if r is None else describe(r) for r in row] for row in grid],
            hovertemplate="%{hovertext}<extra></extra>", hoverongaps=False,
        )
    )  # fmt: skip
    figure.add_trace(_cell_texts(grid, columns, names))
    lay_out(figure, height=58 + 40 * len(rows), left=62)
    figure.update_layout(margin={"t": 4})  # no label stands above
    figure.update_xaxes(
        type="category", title={"text": "batch size", "standoff": 6}, showgrid=False, ticks=""
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def _band(result: Result) -> str:
    low, high = result.peak_reserved_band_bytes or (0, 0)
    return f" ({gib(low)} to {gib(high)} in repeated runs)" if low < high else ""


def describe(result: Result) -> str:
    """Return all numbers of a cell as lines of plotly's HTML, for hovering."""
    cell, gpu = result.cell, result.gpu
    share = share_of_device(result)
    head = f"<b>{escape(cell_text(cell))}</b><br>{escape(allocator_text(cell.alloc_conf))}"
    verdict = f"<br><b>{VERDICT_WORDS.get(result.verdict, escape(result.verdict))}</b>: "
    numbers = ""
    if share is not None:
        used = f" + {gib(cell.used_by_others_bytes)} of others" if cell.used_by_others_bytes else ""
        process, reserved = gib(result.peak_process_bytes), gib(result.peak_reserved_bytes)
        numbers = (
            f"<br>process {process}{used} of {gib(gpu.capacity_bytes)} GiB ({percent(share, 1)})"
            f"<br>reserved {reserved}{_band(result)}, allocated {gib(result.peak_allocated_bytes)} GiB"
            f"<br>headroom {gib(result.headroom_bytes)} GiB, cache flushes {result.retries}"
            f"<br>largest batch {limit_text(result.max_batch_size)}, tokens {result.encoder_tokens}"
        )
    return head + verdict + _wrap(result.reason) + numbers


def draw_limits(setup: Setup, alloc_confs: Sequence[str]) -> go.Figure:
    """Return the largest batch size of each resolution and camera count, one mark per allocator setting.

    Args:
        setup: whose limits to draw.
        alloc_confs: all settings of the page; the place in it decides a setting's colour and symbol.
    """
    rows = [
        (resolution, cameras)
        for resolution in setup.resolutions
        for cameras in setup.cameras
        if any(setup.line(resolution, cameras, conf) for conf in setup.alloc_confs)
    ]
    heights = row_heights([resolution for resolution, _ in rows])
    figure = go.Figure()
    _join_marks(figure, setup, rows, heights)
    for conf in setup.alloc_confs:
        lines = [(setup.line(*row, conf), height) for row, height in zip(rows, heights, strict=True)]
        known = [(line, height) for line, height in lines if line and line.limit is not None]
        figure.add_trace(_limit_marks(setup, conf, known, allocator_mark(alloc_confs.index(conf))))
    lay_out(figure, height=70 + 24 * len(rows) + 12 * len(setup.resolutions), left=128)
    figure.update_xaxes(title={"text": "largest batch size that runs", "standoff": 8}, **_batch_axis(setup))
    figure.update_yaxes(
        tickvals=heights, ticktext=_row_names(rows), autorange=False, zeroline=False, ticks="",
        range=[max(heights, default=0) + 0.8, -0.8],
    )  # fmt: skip
    return figure


def draw_makeup(bars: Sequence[Bar], parts: Sequence[tuple[str, str]], *, room: bool) -> go.Figure:
    """Return stacked bars, one per cell.

    Args:
        bars: what each cell's memory is made of, in GiB-able bytes, from top to bottom.
        parts: (name, colour) of the parts, in the order of stacking.
        room: whether to mark what the GPU has for PyTorch.
    """
    heights = row_heights([bar.group for bar in bars])
    figure = go.Figure()
    for name, colour in parts:
        sizes = [bar.parts.get(name, 0) for bar in bars]
        text = [f"{gib(s)} GiB, {percent(s, bar.total_bytes)}" for s, bar in zip(sizes, bars, strict=True)]
        figure.add_bar(
            y=heights, x=[round(size / GIB, 4) for size in sizes], name=escape(name), orientation="h",
            marker={"color": colour, "line": _SEAM}, width=0.72, customdata=text,
            hovertext=[escape(bar.title) for bar in bars],
            hovertemplate="<b>%{fullData.name}</b><br>%{hovertext}<br>%{customdata}<extra></extra>",
        )  # fmt: skip
    if room:
        _mark_room(figure, bars)
    lay_out(figure, height=84 + 26 * len(bars) + 10 * len({bar.group for bar in bars}), left=128)
    figure.update_layout(barmode="stack", bargap=0)
    figure.update_xaxes(title={"text": "GiB", "standoff": 8}, rangemode="tozero")
    figure.update_yaxes(
        tickvals=heights, ticktext=[_bar_name(bar) for bar in bars], showgrid=False, ticks="", zeroline=False,
        range=[max(heights, default=0) + 0.7, -0.9],
    )  # fmt: skip
    return figure


def _cell_texts(grid: list[list[Result | None]], columns: list[str], names: list[str]) -> go.Scatter:
    # Plotly's own cell text is dark grey on any light cell; ours is the colour that reads best.
    cells = [
        (r, x, y) for row, y in zip(grid, names, strict=True) for r, x in zip(row, columns, strict=True) if r
    ]
    return go.Scatter(
        x=[x for _, x, _ in cells], y=[y for _, _, y in cells], mode="text",
        text=[cell_label(result) for result, _, _ in cells],
        textfont={"size": 11, "color": [text_on(colour_at(shade(result))) for result, _, _ in cells]},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def cell_label(result: Result) -> str:
    """Return what stands in a cell of the heatmap: the GiB that the process needs, and the verdict's mark."""
    mark = _MARKS.get(result.verdict, "?")
    if share_of_device(result) is None:
        return f"<b>{mark or '?'}</b>"
    number = gib(result.peak_process_bytes, digits=1)
    return f"{number}<br><b>{mark}</b>" if mark else number


def _wrap(text: str) -> str:
    lines = [""]
    for word in escape(text).split():
        if len(lines[-1]) + len(word) > _HOVER_WIDTH:
            lines.append("")
        lines[-1] += f"{word} "
    return "<br>".join(line.rstrip() for line in lines)


def lay_out(figure: go.Figure, *, height: int, left: int) -> None:
    """Give a figure its size, and make it stand still; labels wider than `left`, in a wide font, get room."""
    figure.update_layout(
        height=height, margin={"l": left, "r": 12, "t": 18, "b": 44}, showlegend=False, dragmode=False,
        hovermode="closest", hoverlabel={"align": "left"},
    )  # fmt: skip
    figure.update_xaxes(**_STILL)
    figure.update_yaxes(**_STILL, ticklabelstandoff=5, automargin="left")


def row_heights(groups: Sequence[str]) -> list[float]:
    """Return a position per row, with a gap wherever the group changes."""
    heights: list[float] = []
    for index, group in enumerate(groups):
        gap = 0.45 if index and group != groups[index - 1] else 0.0
        heights.append((heights[-1] + 1 if heights else 0.0) + gap)
    return heights


def _row_names(rows: Sequence[tuple[str, int]]) -> list[str]:
    firsts = {resolution: i for i, (resolution, _) in reversed(list(enumerate(rows)))}
    return [
        f"<b>{escape(resolution)}</b>  {cameras_text(cameras)}"
        if firsts[resolution] == i
        else cameras_text(cameras)
        for i, (resolution, cameras) in enumerate(rows)
    ]


def _place(limit: int) -> float:
    return limit or 0.5  # a logarithmic axis has no zero; its tick says "none"


def _join_marks(
    figure: go.Figure, setup: Setup, rows: Sequence[tuple[str, int]], heights: Sequence[float]
) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    for row, height in zip(rows, heights, strict=True):
        limits = [line.limit for conf in setup.alloc_confs if (line := setup.line(*row, conf))]
        known = [_place(limit) for limit in limits if limit is not None]
        if len(known) > 1:
            x += [min(known), max(known), None]
            y += [height, height, None]
    figure.add_scatter(x=x, y=y, mode="lines", line={"color": "#8f98a3", "width": 2}, hoverinfo="skip")


def _limit_marks(
    setup: Setup, conf: str, known: Sequence[tuple[Line, float]], mark: tuple[str, str]
) -> go.Scatter:
    return go.Scatter(
        x=[_place(line.limit or 0) for line, _ in known], y=[height for _, height in known],
        name=escape(allocator_text(conf)), mode="markers+text",
        marker={"color": mark[0], "symbol": mark[1], "size": 10},
        text=[_limit_label(setup, line) for line, _ in known],
        textposition=["middle left" if _is_least(setup, line) else "middle right" for line, _ in known],
        textfont={"size": 11}, cliponaxis=False,
        hovertext=[f"{escape(line.resolution)}, {cameras_text(line.cameras)}" for line, _ in known],
        customdata=[limit_text(line.limit) for line, _ in known],
        hovertemplate="%{hovertext}<br>%{fullData.name}<br>largest batch <b>%{customdata}</b><extra></extra>",
    )  # fmt: skip


def _limits_beside(setup: Setup, line: Line) -> list[int]:
    lines = [setup.line(line.resolution, line.cameras, conf) for conf in setup.alloc_confs]
    return [other.limit for other in lines if other and other.limit is not None]


def _is_least(setup: Setup, line: Line) -> bool:
    limits = _limits_beside(setup, line)
    return line.limit == min(limits) and min(limits) < max(limits)


def _limit_label(setup: Setup, line: Line) -> str:
    """Return the number beside a mark: at both ends of the row, once where the marks coincide."""
    limits = _limits_beside(setup, line)
    first = next(
        other for conf in setup.alloc_confs if (other := setup.line(line.resolution, line.cameras, conf))
        and other.limit == line.limit
    )  # fmt: skip
    at_end = line.limit in (min(limits), max(limits)) and first is line
    return f" {limit_text(line.limit)} ".replace(" (not even batch 1)", "") if at_end else ""


def _batch_axis(setup: Setup) -> dict[str, Any]:
    limits = [_place(line.limit) for line in setup.lines if line.limit is not None] or [1]
    powers = [2**i for i in range(13) if min(limits) / 2 <= 2**i <= max(limits) * 2]
    ticks = ([0.5] if min(limits) < 1 else []) + powers
    names = ["none" if tick < 1 else str(tick) for tick in ticks]
    low, high = min(limits) / 1.5, max(limits) * 1.5
    return {"type": "log", "tickvals": ticks, "ticktext": names, "range": [_log10(low), _log10(high)]}


def _log10(value: float) -> float:
    return round(math.log10(value), 4)


def _bar_name(bar: Bar) -> str:
    mark = " <b>OOM</b>" if bar.result.verdict == Verdict.OOM else ""
    return f"{escape(bar.label)}{mark}"


def _mark_room(figure: go.Figure, bars: Sequence[Bar]) -> None:
    rooms = {room_bytes(bar.result) for bar in bars}
    if len(rooms) != 1 or not (room := rooms.pop()):
        return
    figure.add_vline(x=room / GIB, line={"dash": "dash", "width": 1.5, "color": "#cf6a17"})
    figure.add_annotation(
        x=room / GIB, xref="x", y=1, yref="paper", yanchor="bottom", xanchor="right", showarrow=False,
        text=f"{gib(room)} GiB", font={"size": 11},
    )  # fmt: skip
