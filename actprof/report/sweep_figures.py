"""Figures of a sweep: heatmaps of the memory needed, the limits, and what the peak is made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from actprof.report.arrange import BatchSeries, Setup, share_of_device
from actprof.report.makeup import Bar
from actprof.report.palette import GREY, ROOM, SHADES, allocator_mark, colour_at, colour_scale, shade, text_on
from actprof.report.plotting import (
    CATEGORIES,
    POINTED,
    SEAM,
    axis_title,
    images_label,
    in_gib,
    lay_out,
    log_axis,
    row_heights,
    rows_axis,
    segments,
)
from actprof.report.sentences import say_why
from actprof.results import Result, Verdict
from actprof.units import GIB
from actprof.words import (
    VERDICT_WORDS,
    allocator_text,
    cameras_text,
    cell_text,
    gib,
    limit_text,
    percent,
    views_text,
)

_MARKS = {
    Verdict.FITS: "", Verdict.TIGHT: "tight", Verdict.OOM: "OOM", Verdict.UNKNOWN: "?",
    Verdict.FAILED: "fail",
}  # fmt: skip
_HOVER_WIDTH = 42  # characters: no wider than a figure on a phone, or it would be cut off
_LEAST_HEIGHT = 258  # of a heat map: plotly leaves a label out that is higher than the figure


def draw_heatmap(setup: Setup, cameras: int, alloc_conf: str) -> go.Figure:
    """Return needed GiB by batch size and resolution, for one camera count and allocator setting."""
    lines = [setup.line(resolution, cameras, alloc_conf) for resolution in setup.resolutions]
    rows = [line for line in lines if line]
    results = [{r.cell.batch_size: r for r in line.results} for line in rows]
    sizes = [size for size in setup.batch_sizes if any(size in row for row in results)]
    grid = [[row.get(size) for size in sizes] for row in results]
    columns, names = [str(size) for size in sizes], [images_label(cameras, line.resolution) for line in rows]
    figure = go.Figure(
        go.Heatmap(
            x=columns, y=names, z=[[None if r is None else round(shade(r), 4) for r in row] for row in grid],
            zmin=SHADES[0], zmax=SHADES[1], colorscale=colour_scale(), showscale=False, xgap=2, ygap=2,
            hovertext=[["" if r is None else describe(r) for r in row] for row in grid],
            hovertemplate=POINTED, hoverongaps=False,
        )
    )  # fmt: skip
    figure.add_trace(_cell_texts(grid, columns, names))
    label = {"align": "left", "font": {"size": 11}}
    lay_out(figure, height=max(58 + 40 * len(rows), _LEAST_HEIGHT), left=62, top=4, hoverlabel=label)
    figure.update_xaxes(title=axis_title("batch size"), **CATEGORIES)
    figure.update_yaxes(autorange="reversed", **CATEGORIES)
    return figure


def _band(result: Result) -> str:
    low, high = result.peak_reserved_band_bytes or (0, 0)
    return f"<br>repeated runs reserve {gib(low)} to {gib(high)} GiB" if low < high else ""


def describe(result: Result) -> str:
    """Return all numbers of a cell as lines of plotly's HTML, for hovering."""
    cell, gpu = result.cell, result.gpu
    share = share_of_device(result)
    head = f"<b>{_wrap(cell_text(cell))}</b><br>{_wrap(allocator_text(cell.alloc_conf))}"
    verdict = f"<br><b>{VERDICT_WORDS.get(result.verdict, escape(result.verdict))}</b><br>"
    numbers = ""
    if share is not None:
        used = f" + {gib(cell.used_by_others_bytes)} of others" if cell.used_by_others_bytes else ""
        process, reserved = gib(result.peak_process_bytes), gib(result.peak_reserved_bytes)
        numbers = (
            f"<br>{_wrap(f'process {process}{used} of {gib(gpu.capacity_bytes)} GiB ({percent(share, 1)})')}"
            f"<br>reserved {reserved}, allocated {gib(result.peak_allocated_bytes)} GiB{_band(result)}"
            f"<br>headroom {gib(result.headroom_bytes)} GiB, cache flushes {result.retries}"
            f"<br>largest batch {limit_text(result.max_batch_size)}"
            + (f", tokens {result.encoder_tokens}" if result.encoder_tokens else "")
        )
    return head + verdict + _wrap(say_why(result)) + numbers


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
    lines = [[setup.line(*row, conf) for conf in setup.alloc_confs] for row in rows]
    known = [[line for line in some if line and line.limit is not None] for some in lines]
    limits = [[_place(line) for line in some] for some in known]
    ends = ((min(some), max(some), y) for some, y in zip(limits, heights, strict=True) if len(some) > 1)
    figure = go.Figure()
    figure.add_scatter(**segments(ends), mode="lines", line={"color": GREY, "width": 2}, hoverinfo="skip")
    for conf in setup.alloc_confs:
        marks = [
            (line, some, height)
            for some, height in zip(known, heights, strict=True)
            for line in some
            if line.alloc_conf == conf
        ]
        figure.add_trace(_limit_marks(conf, marks, allocator_mark(alloc_confs.index(conf))))
    lay_out(figure, height=70 + 24 * len(rows) + 12 * len(setup.resolutions), left=128)
    figure.update_xaxes(
        title=axis_title("largest batch size that runs", 8),
        **_batch_axis([x for some in limits for x in some]),
    )
    figure.update_yaxes(**rows_axis(heights, _row_names(rows)))
    return figure


def draw_makeup(bars: Sequence[Bar], parts: Sequence[tuple[str, str]], *, room: bool) -> go.Figure:
    """Return stacked bars, one per cell.

    Args:
        bars: what each cell's memory is made of, in GiB-able bytes, from top to bottom.
        parts: (name, colour) of the parts, in the order of stacking.
        room: whether to mark what the GPU has for PyTorch.
    """
    groups = [bar.result.cell.resolution for bar in bars]
    heights = row_heights(groups)
    figure = go.Figure()
    for name, colour in parts:
        sizes = [bar.parts.get(name, 0) for bar in bars]
        text = [f"{gib(s)} GiB, {percent(s, bar.total_bytes)}" for s, bar in zip(sizes, bars, strict=True)]
        figure.add_bar(
            y=heights, x=in_gib(sizes), name=escape(name), orientation="h",
            marker={"color": colour, "line": SEAM}, width=0.72, customdata=text,
            hovertext=[escape(bar.title) for bar in bars],
            hovertemplate="<b>%{fullData.name}</b><br>%{hovertext}<br>%{customdata}<extra></extra>",
        )  # fmt: skip
    if room:
        _mark_room(figure, bars)
    height = 84 + 26 * len(bars) + 10 * len(set(groups))
    lay_out(figure, height=height, left=128, barmode="stack", bargap=0)
    figure.update_xaxes(title=axis_title("GiB", 8), rangemode="tozero")
    figure.update_yaxes(**rows_axis(heights, [_bar_name(bar) for bar in bars]), showgrid=False)
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
    return "<br>".join(escape(line) for line in wrap(text, _HOVER_WIDTH, break_on_hyphens=False))


def _row_names(rows: Sequence[tuple[str, int]]) -> list[str]:
    """Return the cameras of each row, the first of a resolution with that before them."""
    first, most = dict(reversed(rows)), dict(rows)  # fewest cameras come first
    heads = [
        f"<b>{images_label(most[name], name)}</b>  " if first[name] == cameras else ""
        for name, cameras in rows
    ]
    return [head + cameras_text(cameras) for head, (_, cameras) in zip(heads, rows, strict=True)]


def _place(line: BatchSeries) -> float:
    return line.limit or 0.5  # a logarithmic axis has no zero; its tick says "none"


def _limit_marks(
    conf: str, marks: Sequence[tuple[BatchSeries, list[BatchSeries], float]], look: tuple[str, str]
) -> go.Scatter:
    lines = [line for line, _, _ in marks]
    labels = [_limit_label(line, beside) for line, beside, _ in marks]
    return go.Scatter(
        x=[_place(line) for line in lines], y=[height for _, _, height in marks],
        name=escape(allocator_text(conf)), mode="markers+text",
        marker={"color": look[0], "symbol": look[1], "size": 10},
        text=[text for text, _ in labels], textposition=[side for _, side in labels],
        textfont={"size": 11}, cliponaxis=False,
        hovertext=[escape(views_text(line.cameras, line.resolution)) for line in lines],
        customdata=[limit_text(line.limit) for line in lines],
        hovertemplate="%{hovertext}<br>%{fullData.name}<br>largest batch <b>%{customdata}</b><extra></extra>",
    )  # fmt: skip


def _limit_label(line: BatchSeries, beside: Sequence[BatchSeries]) -> tuple[str, str]:
    """Return the number beside a mark, and its side: at both ends of the row, once where marks coincide."""
    limits = [other.limit or 0 for other in beside]
    first = next(other for other in beside if other.limit == line.limit)
    at_end = line.limit in (min(limits), max(limits)) and first is line
    text = f" {limit_text(line.limit)} ".replace(" (not even batch 1)", "") if at_end else ""
    return text, "middle left" if line.limit == min(limits) < max(limits) else "middle right"


def _batch_axis(limits: Sequence[float]) -> dict[str, Any]:
    low, high = min(limits, default=1), max(limits, default=1)
    ticks = ([0.5] if low < 1 else []) + [2**i for i in range(13) if low / 2 <= 2**i <= high * 2]
    names = ["none" if tick < 1 else str(tick) for tick in ticks]
    return {"tickvals": ticks, "ticktext": names, **log_axis(low / 1.5, high * 1.5)}


def _bar_name(bar: Bar) -> str:
    cell = bar.result.cell
    mark = " <b>OOM</b>" if bar.result.verdict == Verdict.OOM else ""
    return f"{images_label(cell.cameras, cell.resolution)} \u00b7 {cell.batch_size}{mark}"


def _mark_room(figure: go.Figure, bars: Sequence[Bar]) -> None:
    rooms = {bar.result.available_bytes for bar in bars}
    if len(rooms) != 1 or not (room := rooms.pop()):
        return
    figure.add_vline(x=room / GIB, line={"dash": "dash", "width": 1.5, "color": ROOM})
    figure.add_annotation(
        x=room / GIB, xref="x", y=1, yref="paper", yanchor="bottom", xanchor="right", showarrow=False,
        text=f"{gib(room)} GiB", font={"size": 11},
    )  # fmt: skip
