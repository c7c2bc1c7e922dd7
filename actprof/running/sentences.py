"""One line about a run: predicted against measured, what limits it, how long it goes on. Plain text."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import suppress

from actprof.loading.feed import DATA
from actprof.measurement import CardUse
from actprof.results import Result
from actprof.running.measured import DEVICE, HOST, PROCESSOR, waiting_share
from actprof.running.summary import RunSummary
from actprof.running.training_log import settled
from actprof.units import format_bytes, format_seconds

_HOUR = 3600.0


def summary_line(summary: RunSummary) -> str:
    """Return the line about a run that goes on, or has ended."""
    return "; ".join(filter(None, _parts(summary)))


def _parts(summary: RunSummary) -> Iterator[str]:
    yield _progress(summary)
    yield _memory(summary)
    yield _seconds(summary)
    yield _limit(summary)
    if summary.hours_left is not None:
        yield f"{_hours(summary.hours_left)} left"


def _progress(summary: RunSummary) -> str:
    of_all = f" of {summary.steps:,}" if summary.steps else ""
    steps = f"step {summary.step:,}{of_all}" if summary.step else "no step was seen"
    if not summary.exit_code:
        return steps
    return f"{_ended(summary.exit_code)} ({steps})"


def _ended(code: int) -> str:
    with suppress(ValueError):
        return f"ended by {signal.Signals(code - 128).name}"
    return f"ended with exit code {code}"


def _memory(summary: RunSummary) -> str:
    """Return allocated and process bytes, each predicted and measured, or why they cannot be compared."""
    said, was = summary.predicted, summary.measured
    if summary.without_cuda:
        would = "" if said is None or not said.peak_allocated_bytes else (
            f" ({format_bytes(said.peak_allocated_bytes)} allocated is predicted for CUDA"
        )  # fmt: skip
        resident = 0 if was is None or was.measurement is None else was.measurement.resident_bytes
        held = f"{', ' if would else ' ('}{format_bytes(resident)} resident here" if resident else ""
        end = ")" if would or held else ""
        return f"memory cannot be compared: {summary.without_cuda}{would}{held}{end}"
    if was is not None and was.oom is not None:
        tried = format_bytes(was.oom.segment_bytes)
        expected = "" if said is None else f"; predicted: {said.verdict}"
        return f"it ran out of memory, asking for {tried}{expected}"
    pairs = [
        _pair("allocated", _size(said, "allocated"), _size(was, "allocated"), format_bytes),
        _pair("process", _size(said, "process"), _size(was, "process"), format_bytes),
    ]
    known = "; ".join(pair for pair in pairs if "measured" in pair)
    return known or (pairs[0] and f"{pairs[0]}, none logged")


def _size(result: Result | None, number: str) -> int | None:
    return None if result is None else getattr(result, f"peak_{number}_bytes") or None


def _pair(name: str, said: float | None, was: float | None, text: Callable[..., str]) -> str:
    words = [f"{text(said)} predicted"] if said else []
    words += [f"{text(was)} measured"] if was else []
    return f"{name} {', '.join(words)}" if words else ""


def _seconds(summary: RunSummary) -> str:
    said = None if summary.predicted is None else summary.predicted.step_seconds
    lines = settled(summary.lines)
    expected = "" if said is None else (
        f"{format_seconds(said.median)} ({format_seconds(said.low)} to {format_seconds(said.high)}) predicted"
    )  # fmt: skip
    if said is not None and summary.without_cuda and summary.predicted is not None:
        expected += f" for {summary.predicted.gpu.name}"
    if not lines:
        whole = summary.seconds_per_step
        found = "" if whole is None else f"{format_seconds(whole)} measured with its data"
    else:
        found = f"{format_seconds(statistics.median(line.update_seconds for line in lines))} measured"
    return f"update {', '.join(filter(None, (expected, found)))}{_rate(summary)}" if expected or found else ""


def _rate(summary: RunSummary) -> str:
    """Return the arithmetic rate of a run without CUDA: all that its prediction says of its speed there."""
    said, was = summary.predicted, summary.measured
    if not summary.without_cuda or said is None or was is None or was.step_seconds is None:
        return ""
    flops = said.flops_per_sample * said.cell.batch_size / was.step_seconds.median
    untold = ", which is not predicted for a processor" if said.step_seconds is None else ""
    rate = f"{flops / 1e9:,.0f}" if flops > 1e11 else f"{flops / 1e9:.3g}"
    return f" ({rate} GFLOP/s here{untold})" if flops else ""


def _limit(summary: RunSummary) -> str:
    lines = settled(summary.lines)
    card: CardUse | None = None
    if summary.measured is not None and summary.measured.measurement is not None:
        card = summary.measured.measurement.card
    busy = "" if card is None or card.busy_share is None else f" (GPU busy {card.busy_share:.0%})"
    waiting = f"{waiting_share(lines):.0%} of a step waits for it"
    words = {
        DATA: f"limited by data: {waiting}",
        HOST: f"limited by the host, which launches the kernels{busy}",
        DEVICE: f"limited by the GPU{busy}",
        PROCESSOR: "limited by the processor, which computes",
    }
    return words.get(summary.limited_by, "")


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else format_seconds(_HOUR * hours)
