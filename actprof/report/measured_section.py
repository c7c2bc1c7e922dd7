"""The section of real runs: sentences, figures and table, as the template wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.ledger.comparison import Pair
from actprof.report.measured_figures import draw_peaks, draw_speed
from actprof.report.measured_sentences import device_name, pair_up, say_alarms, say_measured
from actprof.report.measured_table import MeasuredRow, cell_columns, list_pairs, number_columns
from actprof.report.palette import MEMORY, allocator_mark
from actprof.report.parts import Panel
from actprof.words import allocator_text, cameras_text, plural

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from actprof.report.arrange import Setup
    from actprof.report.sweep_page import Report
    from actprof.results import Result

MOST_ROWS = 16  # of one figure of peaks; the table has all


@dataclass(frozen=True, slots=True)
class MeasuredSection:
    """What the template shows.

    Attributes:
        heading: of the section, and its name among the contents.
        has_predictions: whether any run stands beside a prediction.
        said: sentences; `alarms` are those that nobody may overlook.
        peaks, speeds: figures; `peaks_left_out` counts runs that the first have no row for.
        memory_key, speed_key: (name, colour) and (name, colour, symbol).
        columns, groups, rows: the table.
        capped: whether a run's allocator was held to the size of another card.
        timed_on: `cuda` or `cpu`, where there are seconds; both, one or none.
    """

    heading: str
    has_predictions: bool
    said: tuple[str, ...]
    alarms: tuple[str, ...]
    peaks: tuple[Panel, ...]
    peaks_left_out: int
    speeds: tuple[Panel, ...]
    memory_key: tuple[tuple[str, str, str], ...]
    speed_key: tuple[tuple[str, str, str], ...]
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[MeasuredRow, ...]
    capped: bool
    timed_on: frozenset[str]


def present_measured(report: Report, add: Callable[[go.Figure], str]) -> MeasuredSection | None:
    """Return the section of the report's measured results, or None where there are none.

    Args:
        report: what the page is made of.
        add: puts a figure on the page and returns its id.
    """
    groups = pair_up(report.results, report.measured)
    pairs = [pair for _, some in groups for pair in some]
    if not pairs:
        return None
    timed = [p.run for p in pairs if p.run.samples_per_second]
    resolutions = list(dict.fromkeys(r.cell.resolution for r in timed))
    paired = any(p.prediction for p in pairs)
    peaks, left_out = _peaks(groups, add)
    return MeasuredSection(
        heading="Predicted and measured" if paired else "Measured",
        has_predictions=paired,
        said=say_measured(pairs, len(report.results)),
        alarms=say_alarms(pairs),
        peaks=peaks,
        peaks_left_out=left_out,
        speeds=_speeds(groups, resolutions, add),
        memory_key=tuple((name, colour, "circle") for name, colour in MEMORY.items()),
        speed_key=tuple((name, *allocator_mark(i)) for i, name in enumerate(resolutions)),
        columns=cell_columns([setup for setup, _ in groups]),
        groups=number_columns(paired=paired),
        rows=tuple(list_pairs(groups, named=len(groups) > 1, paired=paired)),
        capped=any(p.run.measurement and p.run.measurement.cap_bytes for p in pairs),
        timed_on=frozenset(r.device.type if r.device else "cuda" for r in timed),
    )


def _peaks(
    groups: Sequence[tuple[Setup, list[Pair]]], add: Callable[[go.Figure], str]
) -> tuple[tuple[Panel, ...], int]:
    """Return a figure per setup and allocator setting, and how many runs they have no row for."""
    shown = {}
    left_out = 0
    for setup, pairs in groups:
        for conf in setup.alloc_confs:
            found = [p for p in pairs if p.cell.alloc_conf == conf and _has_peaks(p)]
            left_out += max(len(found) - MOST_ROWS, 0)
            if found:
                shown[_title(setup.name, allocator_text(conf))] = _furthest(found)
    top = max((max(p.peaks("reserved")) for pairs in shown.values() for p in pairs), default=0)
    panels = []
    for title, pairs in shown.items():
        label = f"Predicted and measured peaks, {title}: {len(pairs)} {plural(len(pairs), 'run')}"
        panels.append(Panel(add(draw_peaks(pairs, top_bytes=top)), title, label))
    return tuple(panels), left_out


def _has_peaks(pair: Pair) -> bool:
    return not pair.on_cpu and max(pair.peaks("reserved")) > 0


def _furthest(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs, or of too many those that differ most, in the order in which they came."""
    if len(pairs) <= MOST_ROWS:
        return pairs
    worst = sorted(range(len(pairs)), key=lambda i: -_distance(pairs[i]))[:MOST_ROWS]
    return [pairs[i] for i in sorted(worst)]


def _distance(pair: Pair) -> float:
    if pair.same_verdict is False:
        return float("inf")
    return sum(abs(pair.difference_bytes(number) or 0) for number in MEMORY)


def _speeds(
    groups: Sequence[tuple[Setup, list[Pair]]],
    resolutions: Sequence[str],
    add: Callable[[go.Figure], str],
) -> tuple[Panel, ...]:
    """Return a figure per setup, device, camera count and allocator setting, a line per resolution."""
    found: dict[str, list[Result]] = {}
    tops: dict[str, float] = {}
    runs = [(setup, p.run) for setup, some in groups for p in some if p.run.samples_per_second]
    several = len({device_name(run) for _, run in runs}) > 1
    for setup, run in runs:
        device = device_name(run)
        where = device.removeprefix("the ") if several else ""
        title = _title(setup.name, where, cameras_text(run.cell.cameras), allocator_text(run.cell.alloc_conf))
        found.setdefault(title, []).append(run)
        tops[device] = max(tops.get(device, 0.0), run.samples_per_second or 0.0)
    return tuple(
        Panel(
            add(draw_speed(some, resolutions, top=tops[device_name(some[0])])),
            title,
            f"Samples per second by batch size, {title}",
        )
        for title, some in found.items()
    )


def _title(*parts: str) -> str:
    return " \u00b7 ".join(part for part in parts if part)
