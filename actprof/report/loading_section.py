"""The section of measured data loading in the report of a sweep: rates, ratios, and what keeps its steps fed.

`actprof loader --out FOLDER` puts the figures into the folder's store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.loading.sentences import say_cold, say_result
from actprof.report.loader_page import change_tiles, say_feeds, table_rates
from actprof.report.parts import Table, Tile
from actprof.report.speed_section import timed_setups
from actprof.report.speed_sentences import MOST_SETUPS, ends_of
from actprof.units import format_seconds
from actprof.words import views_text

if TYPE_CHECKING:
    from actprof.loading.feed import Feed
    from actprof.loading.rows import LoaderResult
    from actprof.report.sweep_page import Report
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
        rates: a row for each way of loading.
        cold: sentences on loading without the page cache.
        fed: the steps that the report tells of, where images of their size were loaded.
        notes: what a reader must know to believe the rows.
    """

    lead: str
    tiles: tuple[Tile, ...]
    rates: Table
    cold: tuple[str, ...]
    fed: tuple[Fed, ...]
    notes: tuple[str, ...]


def present_loading(report: Report) -> LoadingSection | None:
    """Return the section of the report's measured loading, or None where nothing was measured."""
    loading = report.loading
    if loading is None:
        return None
    ends = [end for setup in timed_setups(report)[:MOST_SETUPS] for end in ends_of(setup)]
    return LoadingSection(
        lead=say_result(loading),
        tiles=change_tiles(loading),
        rates=table_rates(loading, of_processor=False),
        cold=tuple(say_cold(loading)),
        fed=tuple(fed for end in ends if (fed := _fed(loading, end))),
        notes=loading.notes,
    )


def _fed(loading: LoaderResult, result: Result) -> Fed | None:
    cell, seconds = result.cell, result.step_seconds
    rows = [row for row in loading.rows if row.source.given_size == cell.resolution]
    if not rows or seconds is None or {facts.cameras for facts in loading.datasets} != {cell.cameras}:
        return None
    step = (
        f"A step of batch {cell.batch_size} with {views_text(cell.cameras, cell.resolution)} on "
        f"{result.gpu.name}, predicted to take {format_seconds(seconds.median)}"
    )
    feeds = say_feeds(loading, rows, seconds.median, cell.batch_size)
    return Fed(step, feeds) if feeds else None
