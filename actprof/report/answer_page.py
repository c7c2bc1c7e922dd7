"""The answer about one run as a page of 600 pixels: a picture to share, without scripts."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.advice.answer import (
    HEADLINES,
    advice_line,
    band_text,
    beyond_text,
    figure,
    step_hours,
    subject,
    time_line,
    why_text,
)
from actprof.advice.suggest import Remedy
from actprof.prediction.several_gpus import sharding_text
from actprof.report.arrange import share_of_device
from actprof.report.makeup import colour_parts, list_components, merge_small, split_by_kind
from actprof.report.page import Plots, render
from actprof.report.palette import MEMORY, PROCESS
from actprof.report.parts import Tile
from actprof.results import PREDICTED, Result
from actprof.units import format_bytes, format_seconds
from actprof.words import LIMITS, capital, limit_text, percent, rate_text

_MEANINGS = {
    "allocated": "what tensors take",
    "reserved": "what PyTorch took for them",
    "process": "with the CUDA context, as nvidia-smi shows it",
}
_BEYOND = "with the CUDA context: what it takes without limit"  # of a process that no card can show


@dataclass(frozen=True, slots=True)
class Bar:
    """One of the numbers of a run against the card: name, what it is, its text, part of the scale, colour."""

    name: str
    meaning: str
    text: str
    part: float
    colour: str


def render_answer(result: Result, *, remedy: Remedy | None = None, steps: int | None = None) -> str:
    """Return the page as HTML text.

    Args:
        result: predicted, or measured.
        remedy: the best thing to do, as `actprof.advice.first_aid.first_aid` finds it.
        steps: of which the time is told; 10,000 samples if left out.
    """
    capacity = result.gpu.capacity_bytes
    scale = max(capacity, result.peak_process_bytes, 1) * 1.02
    holders = merge_small(split_by_kind([result]))
    held = holders[0] if holders else None
    parts = colour_parts(holders, list_components([result]))
    return render(
        "answer",
        Plots(),
        result=result,
        subject=subject(result),
        headline=HEADLINES[result.verdict],
        lines=[
            _advice(result, remedy),
            time_line(result, step_hours(result, steps)),
            _why(result),
        ],
        bars=[] if share_of_device(result) is None else _bars(result, scale),
        notes=_notes(result),
        capacity_part=capacity / scale,
        capacity=format_bytes(capacity),
        tiles=_tiles(result),
        held=held,
        parts=[
            (name, colour, held.parts[name], percent(held.parts[name], held.total_bytes))
            for name, colour in parts
        ]
        if held
        else [],
        is_predicted=result.source == PREDICTED,
    )


def _advice(result: Result, remedy: Remedy | None) -> str:
    return advice_line(result, remedy) if result.source == PREDICTED else ""


def _why(result: Result) -> str:
    """Return what is behind the verdict, with the op at which it runs out."""
    op = result.oom.op if result.oom else ""
    return " ".join(filter(None, (why_text(result), op and f"The op is {op}.")))


def _notes(result: Result) -> list[str]:
    """Return what the bars do not say of themselves: without which limit, and what repeated runs take."""
    is_beyond = result.peak_process_bytes > result.gpu.capacity_bytes
    limitless = result.source == PREDICTED and is_beyond and not beyond_text(result)
    without = "The bars are what it takes on a device without limit." if limitless else ""
    band = band_text(result)
    shards = sharding_text(result)
    return list(filter(None, (without, band and f"{capital(band)}.", shards and f"FSDP: {shards}.")))


def _bars(result: Result, scale: float) -> list[Bar]:
    sizes = {
        "allocated": result.peak_allocated_bytes, "reserved": result.peak_reserved_bytes,
        "process": result.peak_process_bytes,
    }  # fmt: skip
    colours = {**MEMORY, "process": PROCESS}
    beyond = {"process": _BEYOND} if result.peak_process_bytes > result.gpu.capacity_bytes else {}
    return [
        Bar(name, {**_MEANINGS, **beyond}[name], format_bytes(size), size / scale, colours[name])
        for name, size in sizes.items()
        if size
    ]


def _tiles(result: Result) -> list[Tile]:
    """Return largest batch size, step and rate, as far as they are known."""
    seconds, rate, tiles = result.step_seconds, result.samples_per_second, []
    several = result.cell.world_size > 1
    together = f"on {result.cell.world_size} GPUs together, " if several else ""
    if result.max_batch_size is not None:
        limit = limit_text(result.max_batch_size).partition(" (")[0]
        each = " per GPU" if several else ""
        tiles.append(Tile(f"Largest batch size{each}", limit, (f"this run has {result.cell.batch_size}",)))
    if seconds is None or rate is None:
        return tiles
    why = LIMITS.get(result.limited_by, "")
    verb, fitted = ("takes", "") if result.runs else ("would take, if it fitted", ", if it fitted")
    return [
        *tiles,
        Tile(f"A step {verb}", format_seconds(seconds.median), (f"limited by {why}",) if why else ()),
        Tile(f"Samples/s{fitted}", rate_text(rate), (f"{together}{figure(3600 * rate)} an hour",)),
    ]
