"""The page of a replayed snapshot: the columns, their course, and the segments and holders at the peak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from actprof.report.page import Plots, render
from actprof.report.palette import MEMORY, RAN_OUT, REQUESTED, ROOM
from actprof.report.parts import Entry, Panel, Table, View, columns, rows, with_first
from actprof.report.plotting import axis_title, lay_out
from actprof.report.segment_map import WIDTH, SegmentMap, draw_segments
from actprof.snapshots.memory_over_time import BEFORE_RECORDING, NO_FRAME
from actprof.snapshots.replay_recording import Outcome, SnapshotReplay
from actprof.units import GIB, MIB, format_bytes

_LINES = {"reserved": MEMORY["reserved"], "allocated": MEMORY["allocated"], "requested": REQUESTED}
_DASHES = {"requested": "dot"}  # it often covers the line of what is allocated
_ABOVE = 1.14  # of the highest value: room for what is written there


def render_replay(replay: SnapshotReplay) -> str:
    """Return the page as HTML text."""
    figures = Plots()
    outcomes = replay.outcomes
    scale = _Scale(max(max(o.peak_reserved_bytes, o.available_bytes or 0) for o in outcomes), replay.events)
    key = [(name, colour, "line dashed" if name in _DASHES else "line") for name, colour in _LINES.items()]
    if any(outcome.available_bytes for outcome in outcomes):
        key.append(("what the process can reserve", ROOM, "line dashed"))
    return render(
        "replay",
        figures,
        replay=replay,
        lead=_lead(replay),
        numbers=_table_numbers(replay),
        unit=scale.unit,
        courses=[_course(outcome, scale, figures) for outcome in outcomes],
        lines_key=key,
        maps=with_first([View(outcome.label) for outcome in outcomes]),
        pictures=[(outcome, _moment(outcome), _map(outcome)) for outcome in outcomes],
        holders=with_first([View(outcome.label, table=_table_holders(outcome)) for outcome in outcomes]),
        width=WIDTH,
    )


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
        f"{outcome.retries:,} {'retry' if outcome.retries == 1 else 'retries'}{beyond}."
    )


def _table_numbers(replay: SnapshotReplay) -> Table:
    """Return the table of all columns: one line per number."""
    outcomes = replay.outcomes
    sizes = {
        "peak allocated": "peak_allocated_bytes", "peak requested": "peak_requested_bytes",
        "peak reserved": "peak_reserved_bytes", "unused at that peak": "unused_bytes",
        "inactive splits": "inactive_split_bytes",
    }  # fmt: skip
    counts = {
        "segments at that peak": "segments", "segments obtained": "segments_obtained",
        "segments returned": "segments_returned", "cache releases": "cache_releases", "retries": "retries",
    }  # fmt: skip
    lines: list[tuple[Entry | str, ...]] = [
        ("could reserve", "as recorded", *map(_limit, outcomes[1:])),
        *((title, *(format_bytes(getattr(o, name)) for o in outcomes)) for title, name in sizes.items()),
        *((title, *(f"{getattr(o, name):,}" for o in outcomes)) for title, name in counts.items()),
        ("out of memory", *map(_oom, outcomes)),
        ("asked by", *("" if o.oom is None else o.oom.frame for o in outcomes)),
    ]
    heads = (("Number", "hidden"), *columns(numbers=[outcome.label for outcome in outcomes]))
    return Table("All columns", heads, rows(lines), css="columns", named=True)


def _limit(outcome: Outcome) -> str:
    return "no limit" if outcome.available_bytes is None else format_bytes(outcome.available_bytes)


def _oom(outcome: Outcome) -> Entry | str:
    if outcome.oom is None:
        return "no"
    at = "at the start" if outcome.oom.event < 0 else f"event {outcome.oom.event:,}"
    return Entry(f"{at}, tried {format_bytes(outcome.oom.segment_bytes)}", "n ran-out")


# -- pictures ------------------------------------------------------------------------------------------


def _moment(outcome: Outcome) -> str:
    event = "the start" if outcome.peak.event < 0 else f"event {outcome.peak.event:,}"
    when = "just before it runs out" if outcome.oom is not None and outcome.oom.ended else "the peak"
    return f"{when} ({event})"


def _map(outcome: Outcome) -> SegmentMap:
    peak = outcome.peak
    unnamed = (BEFORE_RECORDING, NO_FRAME)  # they come last
    frames = [holder.frame for holder in peak.holders]
    names = sorted(frames, key=lambda frame: unnamed.index(frame) + 1 if frame in unnamed else 0)
    return draw_segments(peak.segments, peak.owner_names, tuple(names))


def _table_holders(outcome: Outcome) -> Table:
    holders = outcome.top_holders
    largest = holders[0].size_bytes if holders else 1
    sizes = [Entry(format_bytes(h.size_bytes), bar=h.size_bytes / largest) for h in holders]
    lines = [(h.frame, size, f"{h.blocks:,}") for h, size in zip(holders, sizes, strict=True)]
    heads = columns("Frame", numbers=("Size", "Blocks"))
    return Table(f"Holders of {outcome.label}", heads, rows(lines), css="holders", named=True)


@dataclass(frozen=True, slots=True)
class _Scale:
    """What the axes of all columns share, so that they compare: the highest bytes and the last event."""

    top_bytes: int
    events: int

    @property
    def unit_bytes(self) -> int:
        return GIB if self.top_bytes >= GIB else MIB

    @property
    def unit(self) -> str:
        return "GiB" if self.unit_bytes == GIB else "MiB"

    def of(self, sizes: Iterable[int]) -> list[float]:
        """Return bytes in the unit, as fine as a figure shows them."""
        return [round(size / self.unit_bytes, 4) for size in sizes]


def _course(outcome: Outcome, scale: _Scale, figures: Plots) -> Panel:
    peaks = (outcome.peak_reserved_bytes, outcome.peak_allocated_bytes, outcome.peak_requested_bytes)
    reserved, allocated, requested = map(format_bytes, peaks)
    label = (
        f"Reserved, allocated and requested memory of {outcome.label}: at most {reserved}, {allocated} and "
        f"{requested}"
    )
    return figures.add(_draw_course(outcome, scale), outcome.label, label)


def _draw_course(outcome: Outcome, scale: _Scale) -> go.Figure:
    """Return reserved, allocated and requested memory over the events."""
    course = outcome.course
    ended = outcome.oom is not None and outcome.oom.ended
    shown = course.first_event <= outcome.events if ended else course.first_event >= 0
    places = course.first_event[shown].tolist()
    figure = go.Figure()
    for name, colour in _LINES.items():
        figure.add_scatter(
            x=places, y=scale.of(getattr(course, name)[shown].tolist()), name=name, mode="lines",
            line={"color": colour, "width": 1.75, "shape": "hv", "dash": _DASHES.get(name, "solid")},
            hovertemplate=f"{name} %{{y:,.2f}} {scale.unit}<extra></extra>",
        )  # fmt: skip
    if outcome.available_bytes is not None:
        limit = scale.of([outcome.available_bytes])[0]
        text = format_bytes(outcome.available_bytes)
        figure.add_hline(
            y=limit, line={"color": ROOM, "width": 2, "dash": "dash"}, annotation_text=text,
            annotation_position="top left", annotation_font_size=11,
        )  # fmt: skip
    if ended:
        late = outcome.events > scale.events / 2
        figure.add_vline(
            x=outcome.events, line={"color": RAN_OUT, "width": 2}, annotation_text=" runs out ",
            annotation_position="bottom left" if late else "bottom right", annotation_font_size=11,
        )  # fmt: skip
    lay_out(figure, height=280, left=52, top=8, bottom=40, hovermode="x unified")
    figure.update_xaxes(range=[0, max(scale.events, 1)], title=axis_title("event"), nticks=6, tickformat=",d")
    top = _ABOVE * scale.top_bytes / scale.unit_bytes or 1.0
    figure.update_yaxes(range=[0, top], title=axis_title(scale.unit, 4), nticks=6, zeroline=False)
    return figure
