"""The section of measured data loading in the report of a sweep: rates, ratios, and what keeps its steps fed.

`actprof loader --out FOLDER` puts the figures into the folder's store. Plain text, not escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.loading.feed import Feed, workers_needed
from actprof.loading.sentences import advise, say_cold, say_result, workers_text
from actprof.report.loader_page import Line, Tile, change_tiles, rate_lines
from actprof.report.speed_section import timed_setups
from actprof.report.speed_sentences import MOST_SETUPS, ends_of
from actprof.units import format_seconds
from actprof.words import views_text

if TYPE_CHECKING:
    from actprof.loading.rows import LoaderResult
    from actprof.report.model import Report
    from actprof.results import Result


@dataclass(frozen=True, slots=True)
class Fed:
    """One predicted step, and for each way of loading images of its size whether it keeps up."""

    step: str
    feeds: tuple[tuple[Feed, str], ...]


@dataclass(frozen=True, slots=True)
class LoadingSection:
    """What the template shows.

    Attributes:
        lead: the sentence that matters most.
        tiles: what each change brings.
        counts: the numbers of workers, as headings.
        lines: a row for each way of loading.
        cold: sentences on loading without the page cache.
        fed: the steps that the report tells of, where images of their size were loaded.
        notes: what a reader must know to believe the rows.
    """

    lead: str
    tiles: tuple[Tile, ...]
    counts: tuple[str, ...]
    lines: tuple[Line, ...]
    cold: tuple[str, ...]
    fed: tuple[Fed, ...]
    notes: tuple[str, ...]


def present_loading(report: Report) -> LoadingSection | None:
    """Return the section of the report's measured loading, or None where nothing was measured."""
    loading = report.loading
    if loading is None:
        return None
    ends = [end for setup in timed_setups(report)[:MOST_SETUPS] for end in ends_of(setup)]
    fed = (_fed(loading, end) for end in ends)
    return LoadingSection(
        lead=say_result(loading),
        tiles=tuple(change_tiles(loading)),
        counts=tuple(workers_text(count) for count in sorted({row.workers for row in loading.rows})),
        lines=tuple(rate_lines(loading)),
        cold=tuple(say_cold(loading)),
        fed=tuple(item for item in fed if item is not None),
        notes=loading.notes,
    )


def _fed(loading: LoaderResult, result: Result) -> Fed | None:
    cell, seconds = result.cell, result.step_seconds
    cameras = {facts.cameras for facts in loading.datasets}
    rows = [row for row in loading.rows if row.source.given_size == cell.resolution]
    if not rows or seconds is None or cameras != {cell.cameras}:
        return None
    feeds = workers_needed(rows, seconds.median, loading.cores, batch_size=cell.batch_size)
    if not feeds:
        return None
    views = views_text(cell.cameras, cell.resolution)
    step = (
        f"A step of batch {cell.batch_size} with {views} on {result.gpu.name}, "
        f"predicted to take {format_seconds(seconds.median)}"
    )
    return Fed(step, tuple((feed, advise(feed, loading.cores)) for feed in feeds))
