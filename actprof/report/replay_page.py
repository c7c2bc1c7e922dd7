"""The page of a replayed snapshot: the columns, their course, and the segments and holders at the peak.

One file that opens without a network; it shares its look and its script with the report of a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from actprof.files import write_whole
from actprof.report.segment_map import WIDTH, SegmentMap, draw_segments
from actprof.report.templating import templates
from actprof.snapshots.observe import BEFORE_RECORDING, NO_FRAME
from actprof.units import GIB, format_bytes

if TYPE_CHECKING:
    from actprof.snapshots.outcome import Outcome, SnapshotReplay

_LINES = {"reserved": "#cf6a17", "allocated": "#2f7dc4", "requested": "#15876b"}
_DASHES = {"requested": "dot"}  # it often covers the line of what is allocated
_LIMIT = "#d9662b"


@dataclass(frozen=True, slots=True)
class HolderRow:
    """One line of the table of holders; `share` is of the largest."""

    frame: str
    size: str
    blocks: str
    share: float


@dataclass(frozen=True, slots=True)
class Column:
    """What the page shows of one replay."""

    outcome: Outcome
    figure: str
    moment: str
    map: SegmentMap
    holders: tuple[HolderRow, ...]


def render_replay(replay: SnapshotReplay) -> str:
    """Return the page as HTML text."""
    top = 1.06 * max(_highest(outcome) for outcome in replay.outcomes)
    figures: dict[str, Any] = {}
    columns = []
    for index, outcome in enumerate(replay.outcomes):
        name = f"course-{index}"
        figures[name] = _draw_course(outcome, replay.events, top)
        columns.append(_column(outcome, name))
    page = {
        "replay": replay,
        "columns": columns,
        "rows": _rows(replay),
        "lead": _lead(replay),
        "figures": figures,
        "lines": _LINES,
        "limit_colour": _LIMIT,
        "width": WIDTH,
        "has_limit": any(outcome.available_bytes for outcome in replay.outcomes),
    }
    return templates().get_template("replay.html.j2").render(**page)


def write_replay_page(replay: SnapshotReplay, path: str | Path) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, render_replay(replay).encode())
    return target


# -- words ---------------------------------------------------------------------------------------------


def _lead(replay: SnapshotReplay) -> list[str]:
    recorded = replay.outcomes[0]
    said = f"As recorded, the run reserved {format_bytes(recorded.peak_reserved_bytes)} at its peak"
    if recorded.oom is not None:
        said += " and ran out of memory" + ("" if recorded.oom.ended else ", but went on")
    return [f"{said}.", *(_said(outcome, recorded) for outcome in replay.outcomes[1:])]


def _said(outcome: Outcome, recorded: Outcome) -> str:
    if outcome.oom is not None:
        at = "at its start" if outcome.oom.event < 0 else f"at event {outcome.oom.event:,}"
        return f"Under {outcome.label} it runs out of memory {at}."
    change = outcome.peak_reserved_bytes - recorded.peak_reserved_bytes
    how = "as much" if not change else f"{format_bytes(abs(change))} {'less' if change < 0 else 'more'}"
    beyond = " and gets past where it ran out" if outcome.passed_ooms else ""
    return (
        f"Under {outcome.label} it reserves {format_bytes(outcome.peak_reserved_bytes)}, {how}, with "
        f"{_count(outcome.retries, 'retry', 'retries')}{beyond}."
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _rows(replay: SnapshotReplay) -> list[tuple[str, list[str]]]:
    """Return the table of all columns: one line per number."""
    outcomes = replay.outcomes
    sizes = (
        ("peak allocated", "peak_allocated_bytes"),
        ("peak requested", "peak_requested_bytes"),
        ("peak reserved", "peak_reserved_bytes"),
        ("unused at that peak", "unused_bytes"),
        ("inactive splits", "inactive_split_bytes"),
    )
    counts = (
        ("segments at that peak", "segments"),
        ("segments obtained", "segments_obtained"),
        ("segments returned", "segments_returned"),
        ("cache releases", "cache_releases"),
        ("retries", "retries"),
    )
    return [
        ("could reserve", [_limit(outcome, index) for index, outcome in enumerate(outcomes)]),
        *((title, [format_bytes(getattr(o, name)) for o in outcomes]) for title, name in sizes),
        *((title, [f"{getattr(o, name):,}" for o in outcomes]) for title, name in counts),
        ("out of memory", [_oom(outcome) for outcome in outcomes]),
        ("asked by", ["" if o.oom is None else o.oom.frame for o in outcomes]),
    ]


def _limit(outcome: Outcome, index: int) -> str:
    if index == 0:
        return "as recorded"
    return "no limit" if outcome.available_bytes is None else format_bytes(outcome.available_bytes)


def _oom(outcome: Outcome) -> str:
    if outcome.oom is None:
        return "no"
    at = "at the start" if outcome.oom.event < 0 else f"event {outcome.oom.event:,}"
    return f"{at}, tried {format_bytes(outcome.oom.segment_bytes)}"


# -- pictures ------------------------------------------------------------------------------------------


def _column(outcome: Outcome, figure: str) -> Column:
    peak = outcome.peak
    largest = peak.holders[0].size_bytes if peak.holders else 1
    names = tuple(h.frame for h in peak.holders if h.frame not in {BEFORE_RECORDING, NO_FRAME})
    names += tuple(
        name for name in (BEFORE_RECORDING, NO_FRAME) if any(h.frame == name for h in peak.holders)
    )
    event = "the start" if peak.event < 0 else f"event {peak.event:,}"
    when = "just before it runs out" if outcome.oom is not None and outcome.oom.ended else "the peak"
    return Column(
        outcome=outcome,
        figure=figure,
        moment=f"{when} ({event})",
        map=draw_segments(peak.segments, peak.owner_names, names),
        holders=tuple(
            HolderRow(h.frame, format_bytes(h.size_bytes), f"{h.blocks:,}", h.size_bytes / largest)
            for h in outcome.top_holders
        ),
    )


def _highest(outcome: Outcome) -> int:
    return max(outcome.peak_reserved_bytes, outcome.available_bytes or 0)


def _draw_course(outcome: Outcome, events: int, top: float) -> dict[str, Any]:
    """Return the plotly figure of reserved, allocated and requested GiB over the events."""
    course = outcome.course
    ended = outcome.oom is not None and outcome.oom.ended
    shown = course.first_event <= outcome.events if ended else course.first_event >= 0
    places = course.first_event[shown].tolist()
    figure = go.Figure()
    for name, colour in _LINES.items():
        values = [round(value / GIB, 4) for value in getattr(course, name)[shown].tolist()]
        figure.add_trace(
            go.Scatter(
                x=places, y=values, name=name, mode="lines",
                line={"color": colour, "width": 1.5, "shape": "hv", "dash": _DASHES.get(name, "solid")},
                hovertemplate=f"{name} %{{y:.2f}} GiB<extra></extra>",
            )
        )  # fmt: skip
    if outcome.available_bytes is not None:
        figure.add_hline(y=outcome.available_bytes / GIB, line={"color": _LIMIT, "width": 2, "dash": "dash"})
    if ended:
        figure.add_vline(x=outcome.events, line={"color": _LIMIT, "width": 2})
    figure.update_layout(
        height=260, margin={"l": 46, "r": 12, "t": 8, "b": 40}, showlegend=False, hovermode="x unified"
    )
    figure.update_xaxes(
        fixedrange=True, range=[0, max(events, 1)], title={"text": "event", "standoff": 6}, nticks=6
    )
    figure.update_yaxes(fixedrange=True, range=[0, top / GIB], ticksuffix="")
    data: dict[str, Any] = figure.to_plotly_json()
    data["layout"].pop("template", None)  # the page has its own, in its own colours
    return data
