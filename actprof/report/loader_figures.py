"""Figures of the loader page: the parts of one sample by way of loading, and samples a second by workers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from actprof.loading.rows import STAGES, WARM, LoaderResult, LoaderRow, Source
from actprof.loading.sentences import STAGE_WORDS, milliseconds
from actprof.report.palette import allocator_mark
from actprof.report.plotting import POINTED, axis_title, lay_out

STAGE_COLOURS = {
    "rows": "#9a62c7", "open": "#7a828c", "seek": "#a3acb7", "decode": "#2f7dc4", "convert": "#15876b",
    "transform": "#b8791d", "collate": "#cf6a17", "rest": "#c4568f",
}  # fmt: skip
_TALL = 20  # times the shortest bar from which on a bar is drawn apart
_BAR_HEIGHT = 58
_LABELS = 34  # pixels for the axis below


def rows_with_stages(result: LoaderResult) -> list[LoaderRow]:
    """Return the rows whose samples were taken apart, of the smallest batch size."""
    return [row for row in result.rows if row.stages and row.batch_size == result.batch_sizes[0]]


def within_scale(rows: Sequence[LoaderRow]) -> list[LoaderRow]:
    """Return the rows that can share an axis: a bar of twenty times the shortest would hide all others."""
    shortest = min((sum(row.stages.values()) for row in rows), default=0.0)
    return [row for row in rows if sum(row.stages.values()) <= _TALL * shortest]


def stages_of(rows: Sequence[LoaderRow]) -> tuple[str, ...]:
    """Return the parts that at least one row has, in their order."""
    return tuple(name for name in STAGES if any(name in row.stages for row in rows))


def draw_stages(rows: Sequence[LoaderRow]) -> go.Figure:
    """Return stacked bars: milliseconds of one sample by part, one bar per way of loading."""
    figure = go.Figure()
    for stage in stages_of(rows):
        values = [row.stages.get(stage, 0.0) for row in rows]
        figure.add_bar(
            x=[round(1000 * value, 4) for value in values], y=list(range(len(rows))), orientation="h",
            name=stage, marker={"color": STAGE_COLOURS[stage]}, width=0.4, offset=0.02,
            hovertext=[f"{STAGE_WORDS[stage]}<br>{milliseconds(value)} ms" for value in values],
            hovertemplate=POINTED,
        )  # fmt: skip
    for index, row in enumerate(rows):
        figure.add_annotation(
            x=0, y=index, xref="x", yref="y", text=escape(str(row.source)), showarrow=False, xanchor="left",
            yanchor="middle", yshift=12, font={"size": 12},
        )  # fmt: skip
    height = _BAR_HEIGHT * len(rows) + _LABELS + 12
    lay_out(figure, height=height, left=8, top=4, bottom=_LABELS + 8, barmode="stack")
    figure.update_xaxes(title=axis_title("ms for one sample"), nticks=6)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, range=[len(rows) - 0.5, -0.6])
    return figure


def sources_by_workers(result: LoaderResult) -> dict[Source, tuple[str, str]]:
    """Return colour and symbol of each source that was measured with more than one number of workers."""
    counts = {
        source: {row.workers for row in result.rows if row.source == source and row.batch_seconds}
        for source in result.sources
    }
    several = [source for source, found in counts.items() if len(found) > 1]
    return {source: allocator_mark(index) for index, source in enumerate(several)}


def draw_workers(result: LoaderResult) -> go.Figure:
    """Return lines: samples per second by DataLoader workers, for the smallest batch size."""
    figure = go.Figure()
    warm = [row for row in result.rows if row.cache == WARM and row.batch_seconds]
    known = [row for row in warm if row.batch_size == result.batch_sizes[0]]
    for source, (colour, symbol) in sources_by_workers(result).items():
        rows = sorted((row for row in known if row.source == source), key=lambda row: row.workers)
        figure.add_scatter(
            x=[row.workers for row in rows], y=[round(row.samples_per_second or 0.0, 3) for row in rows],
            mode="lines+markers", name=escape(str(source)), line={"color": colour, "width": 2},
            marker={"color": colour, "size": 9, "symbol": symbol},
            hovertemplate=f"{escape(str(source))}<br>%{{x}} workers: %{{y:.3g}} samples/s<extra></extra>",
        )  # fmt: skip
    lay_out(figure, height=320, left=52, top=8)
    counts = sorted({row.workers for row in result.rows})
    figure.update_xaxes(title=axis_title("DataLoader workers"), tickvals=counts)
    figure.update_yaxes(rangemode="tozero", title=axis_title("samples per second", 4))
    return figure
