"""Predicted step times in sentences: what a step takes, what it waits for, and how far that is to be trusted.

Plain text, not escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actprof.units import format_seconds
from actprof.words import capital, join, percent, rate_text, views_text

if TYPE_CHECKING:
    from actprof.report.arrange import Setup
    from actprof.report.sweep_page import Report
    from actprof.results import Result

USUAL_CAMERAS = 2  # told of and shown first where they are there
MOST_SETUPS = 3  # that have a sentence of their own


def line_of(setup: Setup, cameras: int, resolution: str) -> tuple[Result, ...]:
    """Return the cells of one resolution and camera count, smallest batch first; there may be none."""
    line = setup.line(resolution, cameras, "")
    return line.results if line else ()


def ends_of(setup: Setup) -> tuple[Result, ...]:
    """Return the cells to tell of: largest and smallest images, two cameras, the largest batch of both."""
    cameras = USUAL_CAMERAS if USUAL_CAMERAS in setup.cameras else setup.cameras[0]
    lines = [line for name in setup.resolutions if (line := line_of(setup, cameras, name))]
    ends = lines if len(lines) == 1 else [lines[0], lines[-1]]
    shared = set.intersection(*({r.cell.batch_size for r in line} for line in ends))
    size = max(shared, default=0)
    return tuple(next((r for r in line if r.cell.batch_size == size), line[-1]) for line in ends)


def say_setup(setup: Setup, ends: Sequence[Result]) -> str:
    """Return what a step of the setup's two ends takes and waits for; see `ends_of`."""
    named = f"{setup.name}: " if setup.name else ""
    first, *others = ends
    cell = first.cell
    said = (
        f"{named}with {views_text(cell.cameras, cell.resolution)} a step of batch {cell.batch_size} takes "
        f"about {_say_step(first)}"
    )
    for other in others:
        size = other.cell.batch_size
        batch = "it takes" if size == cell.batch_size else f"one of batch {size} takes"
        said += f"; at {other.cell.resolution} {batch} about {_say_step(other)}"
    return f"{said if named else capital(said)}."


def _say_step(result: Result) -> str:
    seconds, rate, work = result.step_seconds, result.samples_per_second, result.work
    if seconds is None or rate is None or work is None:
        return "as long as nobody knows"
    share = percent(work.shares.get(result.limited_by, 0.0), 1)
    return (
        f"{format_seconds(seconds.median)}, {rate_text(rate)} samples/s, and waits for {result.limited_by} "
        f"({share} of it)"
    )


def say_band(timed: Sequence[Result]) -> str:
    """Return `70 % to 140 %`: what a real step may take of the predicted time."""
    spreads = [r.step_seconds for r in timed if r.step_seconds and r.step_seconds.median]
    low = min(spread.low / spread.median for spread in spreads)
    high = max(spread.high / spread.median for spread in spreads)
    return f"{percent(low, 1)} to {percent(high, 1)}"


def say_caveat(band: str, report: Report, *, has_points: bool) -> str:
    """Return that these are predictions, how far off they may be, and what was measured."""
    gpus = [name for name in dict.fromkeys(r.gpu.name for r in report.results) if name]
    where = f"the {join(gpus)}" if len(gpus) <= MOST_SETUPS else "these GPUs"
    real = (
        f"The real runs here that were timed on {where} are drawn as rings."
        if has_points
        else f"No step time of {where} was measured by actprof here."
    )
    return (
        "These are predictions from data sheets and rules of thumb: a real step may take "
        f"{band} of the time. "
        f"{real}"
    )
