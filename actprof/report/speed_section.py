"""The section of predicted step times: sentences, figures and tables, as the template wants them.

Allocator settings change nothing about a step's seconds, so cells that differ in theirs alone are one here,
and it is there if any of them runs. Plain text, not escaped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.policies import policy_title
from actprof.prediction.limits import limited_text, what_helps
from actprof.report.arrange import Setup, arrange, largest_image_first
from actprof.report.measured_figures import draw_speed
from actprof.report.measured_sentences import pair_up
from actprof.report.page import Plots
from actprof.report.palette import GREY, LIMITS, allocator_mark
from actprof.report.parts import NOTHING, Entry, Table, View, columns, dotted, rows, with_first
from actprof.report.speed_figures import (
    Roofs,
    draw_roofline,
    draw_shares,
    limit_name,
    limits_of,
    roofs_of,
    share_name,
)
from actprof.report.step_section import table_kinds
from actprof.results import PREDICTED, Result
from actprof.units import format_seconds
from actprof.words import cameras_text, capital, images_text, join, percent, rate_text, views_text

MOST_SETUPS = 3  # that have a sentence of their own
OP_NUMBERS = ("Launches", "ms", "Of the step", "GFLOP", "MB", "FLOP/byte")
_USUAL_CAMERAS = 2  # told of and shown first where they are there
_NO_ROOFS = "The data sheet of this GPU is not in the catalogue, so there are no roofs."


def present_speed(
    results: Sequence[Result], measured: Sequence[Result], figures: Plots
) -> dict[str, Any] | None:
    """Return what the template shows of the results' predicted step times, or None where there are none.

    Of its names, `helps` has (what the step waits for, what would help against it) and `band` is what a real
    step may take of the predicted time. There is a view of `speeds` and of `shares` per setup and camera
    count, and one of `ops` per resolution as well.
    """
    setups = timed_setups(results)
    if not setups:
        return None
    timed = [result for setup in setups for result in setup.results]
    points = _points(results, measured)
    names = largest_image_first(r.cell for r in timed)
    views = [(setup, cameras) for setup in setups for cameras in setup.cameras]
    told = [ends_of(setup) for setup in setups[:MOST_SETUPS]]
    band = _say_band(timed)
    rings = [("measured", "", "ring")] if points else []
    return {
        "said": [_say_setup(setup, *ends) for setup, ends in zip(setups, told, strict=False)],
        "helps": _helps([r for ends in told for r in ends]),
        "caveat": _say_caveat(band, results, has_points=bool(points)),
        "band": band,
        "has_points": bool(points),
        "speeds": with_first([_speed_view(*view, names, points, figures) for view in views]),
        "speed_key": [*((images_text(1, name), *allocator_mark(i)) for i, name in enumerate(names)), *rings],
        "shares": with_first([_share_view(*view, figures) for view in views]),
        "limit_key": [(share_name(name), LIMITS.get(name, GREY)) for name in limits_of(timed)],
        "ops": with_first([*_op_views(views, figures)]),
    }


def _helps(told: Sequence[Result]) -> list[tuple[str, str]]:
    """Return (what limits a step, what would help against it), policies apart where that differs."""
    first = {(r.limited_by, r.cell.policy): r for r in reversed(told)}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (limit, policy), r in reversed(first.items()):
        if helps := what_helps(limit, r):
            found[limit, "; ".join(helps)].append(policy_title(policy))
    texts = Counter(limit for limit, _ in found)
    return [
        (limit_name(limit) + (f" ({join(policies)})" if texts[limit] > 1 else ""), text)
        for (limit, text), policies in found.items()
    ]


def timed_setups(results: Sequence[Result]) -> Sequence[Setup]:
    """Return the setups of the results' predicted step times, allocator settings aside."""
    found: dict[str, Result] = {}
    for r in results:
        if r.source == PREDICTED and r.runs and r.work and r.step_seconds:
            cell = replace(r.cell, alloc_conf="")
            found.setdefault(cell.identity(), replace(r, cell=cell))
    return arrange(found.values())


def _line_of(setup: Setup, cameras: int, resolution: str) -> tuple[Result, ...]:
    """Return the cells of one resolution and camera count, smallest batch first; there may be none."""
    line = setup.line(resolution, cameras, "")
    return line.results if line else ()


def _points(results: Sequence[Result], measured: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the real runs on a predicted GPU itself, by the identity of the cell without its allocator."""
    found: dict[str, list[Result]] = defaultdict(list)
    for _, pairs in pair_up(results, measured):
        for pair in pairs:
            if pair.step_percent is not None:
                found[replace(pair.cell, alloc_conf="").identity()].append(pair.run)
    return found


def _name(setup: Setup, cameras: int, *more: str) -> str:
    return dotted(setup.name, cameras_text(cameras), *more)


def _speed_view(
    setup: Setup, cameras: int, names: Sequence[str], points: dict[str, list[Result]], figures: Plots
) -> View:
    runs = [r for r in setup.results if r.cell.cameras == cameras]
    real = [run for r in runs for run in points.get(r.cell.identity(), ())]
    every = [*setup.results, *(run for some in points.values() for run in some)]
    top = max(r.samples_per_second or 0.0 for r in every)
    name = _name(setup, cameras)
    figure = draw_speed(runs, names, top=top, points=real)
    panel = figures.add(figure, "", f"Predicted samples per second by batch size, {name}")
    return View(name, (panel,), first=cameras == _USUAL_CAMERAS)


def _share_view(setup: Setup, cameras: int, figures: Plots) -> View:
    name = _name(setup, cameras)
    label = f"What the GPU does during a step by batch size, {name}"
    panels = tuple(
        figures.add(draw_shares(line), images_text(cameras, resolution), f"{label}, {resolution}")
        for resolution in setup.resolutions
        if (line := _line_of(setup, cameras, resolution))
    )
    return View(name, panels, first=cameras == _USUAL_CAMERAS)


def _op_views(views: Sequence[tuple[Setup, int]], figures: Plots) -> Iterator[View]:
    """Yield a view per line: of the batch size that the sentences tell of, or the largest that runs."""
    for setup, cameras in views:
        size = ends_of(setup)[0].cell.batch_size
        for resolution in setup.resolutions:
            line = _line_of(setup, cameras, resolution)
            if not line:
                continue
            result = next((r for r in line if r.cell.batch_size == size), line[-1])
            roofs = _roofs(result)
            name = _name(setup, cameras, images_text(1, resolution), f"batch {result.cell.batch_size}")
            panel = figures.add(draw_roofline(result, roofs), "", f"Roofline of the costliest ops, {name}")
            table, note = _table_ops(result, name), "" if roofs else _NO_ROOFS
            kinds = table_kinds(result.work, name) if result.work and result.work.kinds else None
            yield View(name, (panel,), first=cameras == _USUAL_CAMERAS, table=table, note=note, second=kinds)


def _roofs(result: Result) -> Roofs | None:
    try:
        return roofs_of(find_gpu(result.gpu.name), result.cell)
    except UsageError:  # one that the scenario brought along
        return None


def _table_ops(result: Result, name: str) -> Table:
    whole = result.step_seconds.median if result.step_seconds else 0.0
    lines = [
        (
            cost.op, f"{cost.launches:,}", f"{1000 * cost.seconds:,.2f}", percent(cost.seconds, whole),
            f"{cost.flops / 1e9:,.1f}" if cost.flops else NOTHING, f"{cost.bytes / 1e6:,.0f}",
            f"{cost.flops / cost.bytes:.3g}" if cost.flops and cost.bytes else NOTHING,
            Entry(limit_name(cost.bound), colour=LIMITS.get(cost.bound, GREY)),
        )
        for cost in (result.work.costliest if result.work else ())
    ]  # fmt: skip
    heads = columns("Op", numbers=OP_NUMBERS) + columns("Bound by")
    label = f"The most expensive ops, {name}"
    return Table(label, heads, rows(lines), css="ops", box="fit", caption=name, named=True)


# -- sentences ------------------------------------------------------------------------------------------


def ends_of(setup: Setup) -> tuple[Result, ...]:
    """Return the cells to tell of: largest and smallest images, two cameras, the largest batch of both."""
    cameras = _USUAL_CAMERAS if _USUAL_CAMERAS in setup.cameras else setup.cameras[0]
    lines = [line for name in setup.resolutions if (line := _line_of(setup, cameras, name))]
    ends = lines if len(lines) == 1 else [lines[0], lines[-1]]
    shared = set.intersection(*({r.cell.batch_size for r in line} for line in ends))
    size = max(shared, default=0)
    return tuple(next((r for r in line if r.cell.batch_size == size), line[-1]) for line in ends)


def _say_setup(setup: Setup, first: Result, *others: Result) -> str:
    """Return what a step of the setup's two ends takes and what limits it; see `ends_of`."""
    named = f"{setup.name}: " if setup.name else ""
    cell = first.cell
    said = (
        f"{named}with {views_text(cell.cameras, cell.resolution)} a step of batch {cell.batch_size} takes "
        f"about {_say_step(first)}"
    )
    for other in others:
        size = other.cell.batch_size
        batch = "it takes" if size == cell.batch_size else f"one of batch {size} takes"
        said += f"; at {images_text(1, other.cell.resolution)} {batch} about {_say_step(other)}"
    return f"{said if named else capital(said)}."


def _say_step(result: Result) -> str:
    seconds, rate, work = result.step_seconds, result.samples_per_second, result.work
    if seconds is None or rate is None or work is None:
        return "as long as nobody knows"
    said = f"{format_seconds(seconds.median)}, {rate_text(rate)} samples/s"
    return f"{said}, limited by {limited_text(result)}"


def _say_band(timed: Sequence[Result]) -> str:
    """Return `70 % to 140 %`: what a real step may take of the predicted time."""
    spreads = [r.step_seconds for r in timed if r.step_seconds and r.step_seconds.median]
    low = min(spread.low / spread.median for spread in spreads)
    high = max(spread.high / spread.median for spread in spreads)
    return f"{percent(low, 1)} to {percent(high, 1)}"


def _say_caveat(band: str, results: Sequence[Result], *, has_points: bool) -> str:
    """Return that these are predictions, how far off they may be, and what was measured."""
    gpus = [name for name in dict.fromkeys(r.gpu.name for r in results) if name]
    where = f"the {join(gpus)}" if len(gpus) <= MOST_SETUPS else "these GPUs"
    real = (
        f"The real runs here that were timed on {where} are drawn as rings."
        if has_points
        else f"This report has no timed run on {where}."
    )
    hosts = [name for name in dict.fromkeys(r.work.host for r in results if r.work) if name]
    launching = f"; launching is taken to cost the host as much as on: {join(hosts)}" if hosts else ""
    return (
        "These are predictions, kernel by kernel, from profiles and data sheets: a real step may take "
        f"{band} of the time{launching}. {real}"
    )
