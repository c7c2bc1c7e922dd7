"""The section of predicted step times: sentences, figures and tables, as the template wants them.

Allocator settings change nothing about a step's seconds, so cells that differ in theirs alone are one here,
and it is there if any of them runs. Plain text, not escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from actprof.errors import UsageError
from actprof.hardware import Catalogue, builtin_catalogue
from actprof.prediction.limits import what_helps
from actprof.report.arrange import Setup, arrange, largest_image_first
from actprof.report.measured_figures import draw_speed
from actprof.report.measured_sentences import pair_up
from actprof.report.palette import GREY, LIMITS, allocator_mark
from actprof.report.parts import NOTHING, Entry, Key, Panel, Table, View, columns, rows, with_first
from actprof.report.speed_figures import Roofs, draw_roofline, draw_shares, limits_of, roofs_of
from actprof.report.speed_sentences import (
    MOST_SETUPS,
    USUAL_CAMERAS,
    ends_of,
    line_of,
    say_band,
    say_caveat,
    say_setup,
)
from actprof.results import PREDICTED, Result
from actprof.words import cameras_text, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from actprof.report.sweep_page import Report


_NO_ROOFS = "The data sheet of this GPU is not in the catalogue, so there are no roofs."
OP_NUMBERS = ("Launches", "ms", "Of the step", "GFLOP", "MB", "FLOP/byte")


@dataclass(frozen=True, slots=True)
class SpeedSection:
    """What the template shows.

    Attributes:
        said: sentences on what a step takes and waits for.
        helps: (what the step waits for, what would help against it).
        caveat: how far predictions are to be trusted.
        band: `70 % to 140 %`, what a real step may take of the predicted time.
        speeds, shares: one view per setup and camera count; of shares, a panel per resolution.
        speed_key, limit_key: of these figures.
        has_points: whether real runs are drawn beside predictions.
        ops: one view per setup, camera count and resolution, with its table.
    """

    said: tuple[str, ...]
    helps: tuple[tuple[str, str], ...]
    caveat: str
    band: str
    speeds: tuple[View, ...]
    shares: tuple[View, ...]
    speed_key: Key
    limit_key: Key
    has_points: bool
    ops: tuple[View, ...]


def present_speed(report: Report, add: Callable[[go.Figure], str]) -> SpeedSection | None:
    """Return the section of the report's predicted step times, or None where there are none.

    Args:
        report: what the page is made of.
        add: puts a figure on the page and returns its id.
    """
    timed = _timed(report)
    setups = timed_setups(report)
    if not setups:
        return None
    points = _points(report)
    names = largest_image_first(r.cell for r in timed)
    views = [(setup, cameras) for setup in setups for cameras in setup.cameras]
    shown = _first(views)
    told = [ends_of(setup) for setup in setups[:MOST_SETUPS]]
    waits = {r.limited_by: r for ends in reversed(told) for r in reversed(ends)}
    band = say_band(timed)
    return SpeedSection(
        said=tuple(say_setup(setup, ends) for setup, ends in zip(setups, told, strict=False)),
        helps=tuple((name, "; ".join(helps)) for name, r in waits.items() if (helps := what_helps(name, r))),
        caveat=say_caveat(band, report, has_points=bool(points)),
        band=band,
        speeds=tuple(_speed_view(*view, names, points, add, first=view == shown) for view in views),
        shares=tuple(_share_view(*view, add, first=view == shown) for view in views),
        speed_key=[
            *((name, *allocator_mark(i)) for i, name in enumerate(names)),
            *([("measured", "", "ring")] if points else []),
        ],
        limit_key=[(name, LIMITS.get(name, LIMITS["launches"])) for name in limits_of(timed)],
        has_points=bool(points),
        ops=with_first([*_op_views(views, shown, report.catalogue or builtin_catalogue(), add)]),
    )


def timed_setups(report: Report) -> Sequence[Setup]:
    """Return the setups of the report's predicted step times, allocator settings aside."""
    return arrange(_once(_timed(report)))


def _timed(report: Report) -> list[Result]:
    return [r for r in report.results if r.source == PREDICTED and r.runs and r.work and r.step_seconds]


def _once(results: Sequence[Result]) -> Iterator[Result]:
    """Yield cells that differ in their allocator setting alone once, without it."""
    seen = set()
    for result in results:
        cell = replace(result.cell, alloc_conf="")
        if (key := cell.identity()) not in seen:
            seen.add(key)
            yield replace(result, cell=cell)


def _points(report: Report) -> dict[str, list[Result]]:
    """Return the real runs on a predicted GPU itself, by the identity of the cell without its allocator."""
    found: dict[str, list[Result]] = {}
    for _, pairs in pair_up(report.results, report.measured):
        for pair in pairs:
            if pair.step_percent is not None:
                key = replace(pair.cell, alloc_conf="").identity()
                found.setdefault(key, []).append(pair.run)
    return found


def _first(views: Sequence[tuple[Setup, int]]) -> tuple[Setup, int]:
    return next((view for view in views if view[1] == USUAL_CAMERAS), views[0])


def _name(setup: Setup, cameras: int, *more: str) -> str:
    return " \u00b7 ".join(part for part in (setup.name, cameras_text(cameras), *more) if part)


def _speed_view(
    setup: Setup,
    cameras: int,
    names: Sequence[str],
    points: dict[str, list[Result]],
    add: Callable[[go.Figure], str],
    *,
    first: bool,
) -> View:
    runs = [r for r in setup.results if r.cell.cameras == cameras]
    real = [run for r in runs for run in points.get(r.cell.identity(), ())]
    every = [*setup.results, *(run for some in points.values() for run in some)]
    top = max(r.samples_per_second or 0.0 for r in every)
    name = _name(setup, cameras)
    label = f"Predicted samples per second by batch size, {name}"
    figure = add(draw_speed(runs, names, top=top, points=real))
    return View(name, (Panel(figure, "", label),), first=first)


def _share_view(setup: Setup, cameras: int, add: Callable[[go.Figure], str], *, first: bool) -> View:
    name = _name(setup, cameras)
    panels = tuple(
        Panel(
            add(draw_shares(line)), resolution, f"What a step waits for by batch size, {name}, {resolution}"
        )
        for resolution in setup.resolutions
        if (line := line_of(setup, cameras, resolution))
    )
    return View(name, panels, first=first)


def _op_views(
    views: Sequence[tuple[Setup, int]],
    shown: tuple[Setup, int],
    catalogue: Catalogue,
    add: Callable[[go.Figure], str],
) -> Iterator[View]:
    """Yield a view per line: of the batch size that the sentences tell of, or the largest that runs."""
    for setup, cameras in views:
        size = ends_of(setup)[0].cell.batch_size
        for resolution in setup.resolutions:
            line = line_of(setup, cameras, resolution)
            if not line:
                continue
            result = next((r for r in line if r.cell.batch_size == size), line[-1])
            roofs = _roofs(result, catalogue)
            name = _name(setup, cameras, resolution, f"batch {result.cell.batch_size}")
            panel = Panel(add(draw_roofline(result, roofs)), "", f"Roofline of the costliest ops, {name}")
            yield View(
                name, (panel,), first=(setup, cameras) == shown, table=_table_ops(result, name),
                note="" if roofs else _NO_ROOFS,
            )  # fmt: skip


def _roofs(result: Result, catalogue: Catalogue) -> Roofs | None:
    try:
        return roofs_of(catalogue.find(result.gpu.name), result.cell)
    except UsageError:  # one that the scenario brought along
        return None


def _table_ops(result: Result, name: str) -> Table:
    whole = result.step_seconds.median if result.step_seconds else 0.0
    lines = [
        (
            cost.op, f"{cost.launches:,}", f"{1000 * cost.seconds:,.2f}", percent(cost.seconds, whole),
            f"{cost.flops / 1e9:,.1f}" if cost.flops else NOTHING, f"{cost.bytes / 1e6:,.0f}",
            f"{cost.flops / cost.bytes:.3g}" if cost.flops and cost.bytes else NOTHING,
            Entry(cost.bound, colour=LIMITS.get(cost.bound, GREY)),
        )
        for cost in (result.work.costliest if result.work else ())
    ]  # fmt: skip
    heads = columns("Op", numbers=OP_NUMBERS) + columns("Bound by")
    label = f"The most expensive ops, {name}"
    return Table(label, heads, rows(lines), css="ops", box="fit", caption=name, named=True)
