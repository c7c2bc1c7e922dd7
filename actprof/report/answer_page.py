"""The answer about one run as a page of 600 pixels: a picture to share, without scripts."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.advice.answer import HEADLINES, advice_line, beyond_text, figure, step_hours, subject, time_line
from actprof.advice.suggest import Remedy
from actprof.report.arrange import share_of_device
from actprof.report.makeup import colour_parts, list_components, merge_small, split_by_kind
from actprof.report.page import Plots, render
from actprof.report.palette import MEMORY, PROCESS
from actprof.report.parts import NOTHING, Tile
from actprof.results import PREDICTED, Result
from actprof.units import format_bytes, format_seconds
from actprof.words import LIMITS, limit_text, percent, rate_text

_MEANINGS = {
    "allocated": "what tensors take",
    "reserved": "what PyTorch took for them",
    "process": "with the CUDA context, as nvidia-smi shows it",
}


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
        lines=[_advice(result, remedy), time_line(result, step_hours(result, steps)), beyond_text(result)],
        bars=[] if share_of_device(result) is None else _bars(result, scale),
        beyond=max(result.peak_process_bytes - capacity, 0),
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


def _bars(result: Result, scale: float) -> list[Bar]:
    sizes = {
        "allocated": result.peak_allocated_bytes, "reserved": result.peak_reserved_bytes,
        "process": result.peak_process_bytes,
    }  # fmt: skip
    colours = {**MEMORY, "process": PROCESS}
    return [
        Bar(name, _MEANINGS[name], format_bytes(size), size / scale, colours[name])
        for name, size in sizes.items()
        if size
    ]


def _tiles(result: Result) -> tuple[Tile, ...]:
    seconds, rate = result.step_seconds, result.samples_per_second
    limit = limit_text(result.max_batch_size).partition(" (")[0]
    step = rates = NOTHING
    if seconds is not None and rate is not None:
        step, rates = format_seconds(seconds.median), rate_text(rate)
    why = LIMITS.get(result.limited_by, "")
    verb = "would take, if it fitted" if not result.runs else "takes"
    return (
        Tile("Largest batch size", limit, (f"this run has {result.cell.batch_size}",)),
        Tile(f"A step {verb}", step, (f"limited by {why}",) if why else ()),
        Tile("Samples/s", rates, (f"{figure(3600 * rate)} an hour",) if rate else ()),
    )
