"""Figures of predicted steps: what the GPU does in them, and a cell's ops below its GPU's roofs.

Samples per second are drawn by `measured_figures.draw_speed`, for real runs and predictions alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from operator import itemgetter
from typing import Any

import plotly.graph_objects as go

from actprof.cell import Cell
from actprof.explanation.sentences import short_op
from actprof.hardware import Gpu
from actprof.policies.precision import autocast_of
from actprof.report.palette import GREY, LIMITS
from actprof.report.plotting import CATEGORIES, POINTED, SEAM, axis_title, lay_out, log_axis
from actprof.results import OpCost, Result
from actprof.step_time.rates import default_rates
from actprof.units import format_seconds
from actprof.words import LIMITS as LIMIT_WORDS
from actprof.words import cell_text, percent

HOST_MARK = {"symbol": "diamond", "size": 8, "color": "#ffffff", "line": {"width": 1.5, "color": "#1a1f26"}}
_MARK = (9.0, 30.0)  # diameters of the cheapest and of the dearest op, in pixels
# Where the names of the dearest ops go, from left to right, so that marks may stand close and at the right
# edge; the last is lower. The others say their names when pointed at.
_SPOTS = (("bottom left", ""), ("top left", ""), ("bottom left", "<br>"))


@dataclass(frozen=True, slots=True)
class Roofs:
    """What a GPU can reach, in FLOP/s and bytes/s: by its data sheet, and as predictions reckon with."""

    flops: float
    bandwidth: float
    reachable_flops: float
    reachable_bandwidth: float

    @property
    def ridge(self) -> float:
        """FLOP per byte from which on arithmetic takes longer than traffic, as reckoned with."""
        return self.reachable_flops / self.reachable_bandwidth


def roofs_of(gpu: Gpu, cell: Cell) -> Roofs | None:
    """Return the roofs of matrix products in the cell's precision; None where the GPU's are not known."""
    if gpu.memory_bandwidth_bytes_per_s is None or gpu.fp32_flops is None:
        return None
    fp32 = gpu.tf32_flops or gpu.fp32_flops  # lerobot allows TF32
    half = {"bf16": gpu.bf16_flops, "fp16": gpu.fp16_flops}
    peak = half.get(autocast_of(cell)) or fp32
    return Roofs(
        flops=peak,
        bandwidth=gpu.memory_bandwidth_bytes_per_s,
        reachable_flops=default_rates().best * peak,
        reachable_bandwidth=default_rates().best_bandwidth * gpu.memory_bandwidth_bytes_per_s,
    )


def draw_shares(line: Sequence[Result]) -> go.Figure:
    """Return, for each batch size, what the GPU does in which share of the step, in stacked bars of 100 %.

    A mark on each is the share in which the host is at work: at the top, it is the host that takes longest.

    Args:
        line: cells that differ in their batch size only, each with its `work`, smallest first.
    """
    sizes = [str(r.cell.batch_size) for r in line]
    figure = go.Figure()
    for name in limits_of(line):
        shares = [r.work.shares.get(name, 0.0) if r.work else 0.0 for r in line]
        spent = [
            f"{percent(share, 1)}, {format_seconds(share * r.step_seconds.median) if r.step_seconds else ''}"
            for share, r in zip(shares, line, strict=True)
        ]
        figure.add_bar(
            x=sizes, y=[round(100 * share, 2) for share in shares], name=escape(share_name(name)), width=0.74,
            customdata=spent,
            marker={"color": LIMITS.get(name, GREY), "line": SEAM},
            hovertemplate="<b>%{fullData.name}</b>, batch %{x}<br>%{customdata} of the step<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=sizes, y=[_host_percent(r) for r in line], mode="markers", name="the host is at work",
        marker=HOST_MARK, cliponaxis=False,
        hovertemplate="<b>%{fullData.name}</b>, batch %{x}<br>%{y:.0f} % of the step<extra></extra>",
    )  # fmt: skip
    lay_out(figure, height=190, left=40, barmode="stack", bargap=0)
    figure.update_xaxes(title=axis_title("batch size"), **CATEGORIES)
    figure.update_yaxes(
        range=[0, 100], tickvals=[0, 50, 100], ticktext=["0", "50 %", "100 %"], ticks="", zeroline=False
    )
    return figure


def _host_percent(result: Result) -> float:
    """Return the share of the step in which the host launches; both ends of it may be rounded up."""
    seconds = result.step_seconds.median if result.step_seconds else 0.0
    return round(min(100 * result.work.host_seconds / seconds, 100.0), 2) if result.work and seconds else 0.0


def limits_of(results: Sequence[Result]) -> tuple[str, ...]:
    """Return what the GPU does in any of the steps, in the order of the palette."""
    found = {name for r in results if r.work for name, share in r.work.shares.items() if share}
    return tuple(name for name in LIMITS if name in found) + tuple(sorted(found - set(LIMITS)))


def share_name(limit: str) -> str:
    """Return what the GPU does in that share of a step."""
    return "waits for the host (kernel launches)" if limit == "launches" else limit_name(limit)


def limit_name(limit: str) -> str:
    """Return what a step waits for in words; a limit that a newer actprof wrote is left as it is."""
    return LIMIT_WORDS.get(limit, limit)


def draw_roofline(result: Result, roofs: Roofs | None) -> go.Figure:
    """Return the FLOP/s of each costly op by its FLOP per byte, beneath the two roofs of the GPU.

    Ops without FLOPs (only products and convolutions are counted) stand at the left, at the height that their
    traffic alone would have there, under the tick `none`.

    Args:
        result: a cell with its `work`.
        roofs: of its GPU; None leaves them out.
    """
    costs = [cost for cost in result.work.costliest if cost.seconds and cost.bytes] if result.work else []
    counted = [cost.flops / cost.bytes for cost in costs if cost.flops]
    low, high = _reach(counted, roofs)
    places = _places(costs, none_at=low)
    heights = [(c.flops or place * c.bytes) / c.seconds for c, place in zip(costs, places, strict=True)]
    edges = (low / 1.9, high)
    figure = go.Figure()
    if roofs is not None:
        _add_roofs(figure, roofs, edges)
    for bound in dict.fromkeys(cost.bound for cost in costs):
        some = [mark for mark in zip(costs, places, heights, strict=True) if mark[0].bound == bound]
        figure.add_trace(_marks(result, costs, some))
    lay_out(figure, height=380, left=62)
    ticks = [10**e for e in range(-2, 6) if low * 1.5 < 10**e <= high]
    figure.update_xaxes(
        title=axis_title("FLOP per byte moved"), tickvals=[low, *ticks],
        ticktext=["none", *(f"{tick:g}" for tick in ticks)], **log_axis(*edges),
    )  # fmt: skip
    tops = [roofs.flops, roofs.reachable_bandwidth * edges[0]] if roofs else heights or [1.0]
    span = (min([*heights, *tops]) / 2, max([*heights, *tops]) * 1.8)
    figure.update_yaxes(title=axis_title("FLOP/s", 2), **log_axis(*span), **_flops_ticks(span))
    return figure


def _reach(counted: Sequence[float], roofs: Roofs | None) -> tuple[float, float]:
    """Return the place of the ops without FLOPs, a decade left of all others, and the right end."""
    known = [*counted, *([roofs.ridge] if roofs else [])] or [1.0]
    return 10 ** math.floor(math.log10(min(known)) - 0.7), max(known) * 5


def _places(costs: Sequence[OpCost], *, none_at: float) -> list[float]:
    """Return FLOP per byte; ops that have none stand beside each other, the dearest in the middle."""
    sides = (none_at * 1.16 ** ((i + 1) // 2 * (1 if i % 2 else -1)) for i in count())
    return [cost.flops / cost.bytes if cost.flops else next(sides) for cost in costs]


def _add_roofs(figure: go.Figure, roofs: Roofs, edges: tuple[float, float]) -> None:
    sheet = (roofs.flops, roofs.bandwidth, "dot", "data sheet")
    reckoned = (roofs.reachable_flops, roofs.reachable_bandwidth, "solid", "reckoned with")
    for flops, bandwidth, dash, name in (sheet, reckoned):
        xs = (edges[0], flops / bandwidth, edges[1])
        figure.add_scatter(
            x=xs, y=[min(flops, bandwidth * x) for x in xs], mode="lines", name=name, hoverinfo="skip",
            line={"color": GREY, "width": 2 if dash == "solid" else 1.3, "dash": dash},
        )  # fmt: skip
    figure.add_annotation(
        x=1, xref="paper", y=math.log10(roofs.flops), xanchor="right", yanchor="bottom", showarrow=False,
        text=f"{_flops_text(roofs.reachable_flops)} of {_flops_text(roofs.flops)}", font={"size": 11},
    )  # fmt: skip
    middle = math.sqrt(edges[0] * roofs.ridge)
    figure.add_annotation(
        x=math.log10(middle), y=math.log10(roofs.reachable_bandwidth * middle), xanchor="left",
        yanchor="top", xshift=8, showarrow=False, font={"size": 11},
        text=f"{roofs.reachable_bandwidth / 1e9:,.0f} of {roofs.bandwidth / 1e9:,.0f} GB/s",
    )  # fmt: skip


def _marks(
    result: Result, costs: Sequence[OpCost], some: Sequence[tuple[OpCost, float, float]]
) -> go.Scatter:
    """Return the marks of some of the costs, each (cost, FLOP per byte, FLOP/s), all with the same bound."""
    bound = some[0][0].bound
    dearest = [cost.op for cost in costs[: len(_SPOTS)] if cost.flops]
    named = [cost.op for cost, *_ in sorted(some, key=itemgetter(1)) if cost.op in dearest]
    spots = dict(zip(named, _SPOTS, strict=False))
    return go.Scatter(
        x=[round(place, 4) for _, place, _ in some], y=[round(height) for *_, height in some],
        mode="markers+text", name=escape(limit_name(bound)),
        text=[spots[c.op][1] + escape(short_op(c.op)) if c.op in spots else "" for c, *_ in some],
        textposition=[spots.get(cost.op, _SPOTS[0])[0] for cost, *_ in some], textfont={"size": 11},
        cliponaxis=False,
        marker={
            "color": LIMITS.get(bound, GREY), "size": [_diameter(cost, costs) for cost, *_ in some],
            "opacity": 0.78, "line": {"width": 1.2, "color": "rgba(255,255,255,.8)"},
        },
        hovertext=[_describe(cost, result) for cost, *_ in some], hovertemplate=POINTED,
    )  # fmt: skip


def _diameter(cost: OpCost, costs: Sequence[OpCost]) -> float:
    """Return a size whose area grows with the seconds, within what can be seen and pointed at."""
    most = max(other.seconds for other in costs)
    return round(max(_MARK[1] * math.sqrt(cost.seconds / most), _MARK[0]), 1)


def _describe(cost: OpCost, result: Result) -> str:
    seconds = result.step_seconds.median if result.step_seconds else 0.0
    share = f", {percent(cost.seconds, seconds)} of the step" if seconds else ""
    rate = _flops_text(cost.flops / cost.seconds) if cost.flops else "no FLOPs counted"
    return (
        f"<b>{escape(cost.op)}</b><br>{escape(cell_text(result.cell))}"
        f"<br>{format_seconds(cost.seconds)} in {cost.launches:,} kernel launches{share}"
        f"<br>{cost.flops / 1e9:,.1f} GFLOP, {cost.bytes / 1e6:,.0f} MB"
        f"<br>{rate}, {cost.bytes / cost.seconds / 1e9:,.0f} GB/s: {escape(limit_name(cost.bound))}"
    )


def _flops_text(rate: float) -> str:
    return f"{rate / 1e12:,.3g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:,.3g} GFLOP/s"


def _flops_ticks(span: tuple[float, float]) -> dict[str, Any]:
    units = {6: "M", 9: "G", 12: "T", 15: "P"}
    powers = [e for e in range(6, 18) if span[0] <= 10**e <= span[1]]
    names = [f"{10 ** (e % 3)} {units[e - e % 3]}" for e in powers]
    return {"tickvals": [10**e for e in powers], "ticktext": names}
