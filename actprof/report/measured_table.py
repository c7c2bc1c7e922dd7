"""The table of predicted and measured figures as records of plain text (jinja2 escapes it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.report.measured_sentences import device_name
from actprof.report.sweep_tables import asked_for
from actprof.units import format_bytes, format_seconds
from actprof.words import allocator_text, difference_text, gib, limit_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from actprof.ledger.comparison import Pair
    from actprof.measurement import Measurement, Spread
    from actprof.report.arrange import Setup
    from actprof.results import Result

NONE = "\u2013"

# (heading, columns below it); the cell's own columns and the two verdicts come before them.
_NUMBERS = (
    ("Allocated, GiB", ("predicted", "measured", "difference")),
    ("Reserved, GiB", ("predicted", "measured", "difference", "spike")),
    ("Largest batch", ("predicted", "measured")),
    ("One step, s", ("predicted", "low", "median", "high", "difference")),
    ("Median phase, s", ("forward", "backward", "optimizer")),
    ("Speed", ("samples/s",)),
)


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One real run.

    Attributes:
        cell: setup (where there are several), resolution, cameras, batch size, allocator setting.
        verdicts: predicted (None without a prediction) and measured.
        numbers: groups in the order of `number_columns`.
        details: (name, text) of what unfolds below.
        stderr: last lines of a failed worker.
        command: what repeats the run.
    """

    cell: tuple[str, ...]
    verdicts: tuple[str | None, str]
    numbers: tuple[tuple[str, ...], ...]
    details: tuple[tuple[str, str], ...]
    stderr: str
    command: str


def cell_columns(setups: Sequence[Setup]) -> tuple[str, ...]:
    """Return the headers of the cell's own columns; `Setup` only where there are several."""
    return (*(["Setup"] if len(setups) > 1 else []), "Resolution", "Cameras", "Batch", "Allocator")


def number_columns(*, paired: bool) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (heading, columns below it); without predictions there is nothing to differ from."""
    return tuple((heading, tuple(_kept(names, names, paired=paired))) for heading, names in _NUMBERS)


def list_pairs(
    groups: Iterable[tuple[Setup, Iterable[Pair]]], *, named: bool, paired: bool
) -> list[MeasuredRow]:
    """Return one row per real run.

    Args:
        groups: of `pair_up`.
        named: whether rows say their setup first.
        paired: whether any run has a prediction; the columns are those of `number_columns`.
    """
    return [
        _row(setup.name if named else None, pair, paired=paired) for setup, pairs in groups for pair in pairs
    ]


def _kept(values: Iterable[str], names: Iterable[str], *, paired: bool) -> Iterator[str]:
    for value, name in zip(values, names, strict=True):
        if paired or name not in ("predicted", "difference"):
            yield value


def _row(setup: str | None, pair: Pair, *, paired: bool) -> MeasuredRow:
    run, predicted = pair.run, pair.prediction
    cell = run.cell
    numbers = zip((*_memory(pair), *_times(pair)), _NUMBERS, strict=True)
    return MeasuredRow(
        cell=(
            *([] if setup is None else [setup]),
            cell.resolution, str(cell.cameras), str(cell.batch_size), allocator_text(cell.alloc_conf),
        ),
        verdicts=(predicted.verdict if predicted else None, run.verdict),
        numbers=tuple(tuple(_kept(texts, names, paired=paired)) for texts, (_, names) in numbers),
        details=tuple(_details(pair)),
        stderr="\n".join(run.measurement.stderr) if run.measurement else "",
        command=run.measurement.command if run.measurement else "",
    )  # fmt: skip


def _memory(pair: Pair) -> tuple[tuple[str, ...], ...]:
    run = pair.run
    spike = gib(run.measurement.spike_reserved_bytes) if run.runs and run.measurement else NONE
    allocated, reserved = (
        (*map(_size, pair.peaks(number)), _difference(pair.difference_percent(number)))
        for number in ("allocated", "reserved")
    )
    return allocated, (*reserved, spike), (_limit(pair.prediction), _limit(run))


def _times(pair: Pair) -> tuple[tuple[str, ...], ...]:
    run = pair.run
    step, inside = run.step_seconds, run.measurement
    steps = (step.low, step.median, step.high) if step else (None,) * 3
    said = pair.prediction.step_seconds if pair.prediction else None
    spreads = (
        (inside.forward_seconds, inside.backward_seconds, inside.optimizer_seconds) if inside else (None,) * 3
    )
    speed = run.samples_per_second
    return (
        (
            _seconds(said.median if said else None),
            *(_seconds(value) for value in steps),
            _difference(pair.step_percent),
        ),
        tuple(_seconds(spread.median if spread else None) for spread in spreads),
        (NONE if speed is None else f"{speed:.1f}",),
    )


def _size(count: int) -> str:
    return gib(count) if count else NONE


def _difference(percent: float | None) -> str:
    return NONE if percent is None else difference_text(percent, 100)


def _limit(result: Result | None) -> str:
    known = result is not None and result.max_batch_size is not None
    return limit_text(result.max_batch_size).partition(" (")[0] if known and result else NONE


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _details(pair: Pair) -> list[tuple[str, str]]:
    run, predicted = pair.run, pair.prediction
    rows = [("Measured", run.reason), ("Predicted", predicted.reason if predicted else "")]
    rows += _where("Ran out", run) + (_where("Said to run out", predicted) if predicted else [])
    rows.append(("Device", device_name(run).removeprefix("the ")))
    if run.measurement is not None:
        rows += _circumstances(run.measurement)
    return [(name, text) for name, text in rows if text]


def _where(name: str, result: Result) -> list[tuple[str, str]]:
    oom = result.oom
    if oom is None:
        return []
    module = f" in {oom.module}" if oom.module else ""
    held = f"{format_bytes(oom.allocated_bytes)} allocated, {format_bytes(oom.reserved_bytes)} reserved"
    return [(name, f"step {oom.step}, {oom.phase} phase{module}, asking for {asked_for(oom)}, with {held}")]


def _circumstances(run: Measurement) -> list[tuple[str, str]]:
    live = f"{format_bytes(run.live_tensor_bytes)} at most" if run.live_tensor_bytes else ""
    resident = f"{format_bytes(run.resident_bytes)} at most" if run.resident_bytes else ""
    counted = f"{run.steps}, after {run.warmup_steps} to warm up" if run.steps else ""
    cap = f"held to {format_bytes(run.cap_bytes)}" if run.cap_bytes is not None else ""
    flushed = f"{run.allocator_retries} cache flushes in the whole run" if run.allocator_retries else ""
    return [
        ("Allocator", ", ".join(text for text in (cap, flushed) if text)),
        ("Steps timed", counted),
        ("Fetching a batch", _spread(run.data_seconds)),
        ("Live tensors", live),
        ("Resident memory", resident),
        ("Card", _card(run)),
        ("Measured on", run.date),
    ]


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    low, high = format_seconds(spread.low), format_seconds(spread.high)
    return f"{format_seconds(spread.median)} ({low} to {high}) per step, not in the figures above"


def _card(run: Measurement) -> str:
    card = run.card
    if card is None:
        return ""
    parts = [f"process at most {format_bytes(card.process_bytes)}" if card.process_bytes else ""]
    parts.append(f"whole card at most {format_bytes(card.card_bytes)}" if card.card_bytes else "")
    parts.append(f"others {format_bytes(card.others_bytes)}" if card.others_bytes else "")
    low, high = card.sm_clock_mhz
    parts.append(f"{low:,} to {high:,} MHz" if high else "")
    parts.append(f"{card.temperature_c} \u00b0C" if card.temperature_c else "")
    parts.append(f"throttled: {', '.join(card.throttle_reasons)}" if card.throttle_reasons else "")
    return ", ".join(part for part in parts if part)
