"""Where a predicted step goes, as tables of bars and a figure: kinds, components, phases, changes.

Plain text, not escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from actprof.advice.faster import Faster
from actprof.prediction.limits import limited_text, rates_text
from actprof.prediction.step_parts import component_parts, kind_parts
from actprof.report.page import Plots
from actprof.report.palette import LIMITS
from actprof.report.parts import NOTHING, Entry, Row, Table, columns, rows
from actprof.report.plotting import CATEGORIES, axis_title, lay_out
from actprof.results import Result, StepWork
from actprof.units import format_seconds
from actprof.words import percent

_MOST_KINDS = 12
_HOST, _GPU = LIMITS["launches"], LIMITS["arithmetic"]


def present_step(result: Result, changes: Sequence[Faster], figures: Plots) -> dict[str, Any] | None:
    """Return what the template shows of where a step goes; None when its speed is not known."""
    seconds, work = result.step_seconds, result.work
    if seconds is None or work is None or not work.kinds:
        return None
    label = "Seconds of host and GPU by phase of a step"
    phases = figures.add(draw_phases(work), "Host and GPU by phase", label, "phases") if work.phases else None
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    return {
        "said": f"A step takes {format_seconds(seconds.median)} ({band}), limited by {limited_text(result)}.",
        "kinds": table_kinds(work),
        "components": _table_components(work),
        "phases": phases,
        "key": [("the host launches", _HOST), ("the GPU is busy", _GPU)],
        "changes": table_changes(result, changes) if changes else None,
    }


def draw_phases(work: StepWork) -> go.Figure:
    """Return the milliseconds of host and GPU in each phase, as pairs of level bars."""
    names = list(work.phases)
    figure = go.Figure()
    for name, side, colour in (("the host launches", 0, _HOST), ("the GPU is busy", 1, _GPU)):
        seconds = [work.phases[phase][side] for phase in names]
        figure.add_bar(
            y=names, x=[round(1000 * it, 3) for it in seconds], orientation="h", name=name,
            marker={"color": colour}, text=[format_seconds(it) for it in seconds], textposition="outside",
            cliponaxis=False, hovertemplate="%{y}: <b>%{fullData.name}</b> %{text}<extra></extra>",
        )  # fmt: skip
    lay_out(figure, height=64 + 52 * len(names), left=66, barmode="group", bargap=0.28, bargroupgap=0.06)
    most = max((it for pair in work.phases.values() for it in pair), default=0.0)
    figure.update_xaxes(title=axis_title("milliseconds"), range=[0, 1180 * most or 1])
    figure.update_yaxes(**CATEGORIES, autorange="reversed")
    figure.update_layout(bargap=0.28)
    return figure


def table_kinds(work: StepWork, caption: str = "") -> Table:
    """Return the GPU's time by kind of kernel, with the number of its launches."""
    parts = kind_parts(work, _MOST_KINDS)
    lines = [(cost.kind, f"{cost.kernels:,}", cost.seconds) for cost in parts]
    heads = (*columns("Kind of kernel", numbers=("Launches", "ms", "Share")), ("Bar", "hidden"))
    return _bars("The GPU's time by kind of kernel", heads, lines, work.device_seconds, caption)


def _table_components(work: StepWork) -> Table:
    lines = [(name, seconds) for name, seconds in component_parts(work).items()]
    heads = (*columns("Component", numbers=("ms", "Share")), ("Bar", "hidden"))
    return _bars("The GPU's time by component", heads, lines, work.device_seconds)


def _bars(
    label: str,
    heads: tuple[tuple[str, str], ...],
    lines: Sequence[tuple[Any, ...]],
    whole: float,
    caption: str = "",
) -> Table:
    """Return a table whose lines end with their seconds: as such, as a share of `whole`, and as a bar."""
    most = max((line[-1] for line in lines), default=0.0) or 1.0
    shown = tuple(
        Row((*texts, f"{1000 * it:,.2f}", percent(it, whole), Entry("", "track", bar=float(it / most))))
        for *texts, it in lines
    )
    return Table(label, heads, shown, css="bars", caption=caption, named=True)


def table_changes(result: Result, changes: Sequence[Faster]) -> Table:
    """Return what other hosts, ways of launching and remedies would bring, beside the step as it is."""
    rate = result.samples_per_second or 0.0
    lines: list[tuple[Entry | str, ...]] = [("as it is", rates_text((rate, rate)), NOTHING, "")]
    lines += [
        (
            change.title, rates_text(change.rates), _ratio(change),
            Entry(change.flags, "long") if change.flags else change.note,
        )
        for change in changes
    ]  # fmt: skip
    heads = (*columns("Change", numbers=("Samples/s", "Times as many")), *columns("How"))
    return Table("What other machines and changes would bring", heads, rows(lines), css="helps", named=True)


def _ratio(change: Faster) -> str:
    if not change.matters:
        return "the same"
    low, high = (f"{ratio:.2f}" for ratio in change.ratios)
    return low if low == high else f"{low} to {high}"
