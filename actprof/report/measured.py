"""Predictions beside real runs of the same cells: pairs, what they agree on, and that in sentences.

A difference is predicted minus measured, so that a positive one means: predicted too large. Only figures of
the same meaning are compared: peaks of runs that got through on a GPU, reserved bytes only where no cache was
flushed, for the prediction is of a device without limit, and seconds only of the GPU itself. Plain text, not
escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from actprof.report.arrange import arrange
from actprof.results import Verdict
from actprof.words import VERDICT_WORDS, capital, cell_text, difference_text, gib, join, plural

if TYPE_CHECKING:
    from actprof.cell import Cell
    from actprof.report.arrange import Setup
    from actprof.results import Result

_JUDGED = (Verdict.FITS, Verdict.TIGHT, Verdict.OOM)
_FEW = 3  # more are counted, not named


@dataclass(frozen=True, slots=True)
class Pair:
    """One cell's real run, and its prediction if there is one."""

    measured: Result
    predicted: Result | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether it ran where there is neither a caching allocator nor a verdict."""
        return self.measured.device is not None and self.measured.device.type == "cpu"

    @property
    def has_verdicts(self) -> bool:
        """Whether both say `fits`, `tight` or `oom`."""
        return self.predicted is not None and {self.predicted.verdict, self.measured.verdict} <= {*_JUDGED}

    @property
    def agrees(self) -> bool:
        """Whether both have the same verdict."""
        return self.predicted is not None and self.predicted.verdict == self.measured.verdict

    @property
    def ran_out_unforeseen(self) -> bool:
        """Whether it was said to run, and ran out of memory."""
        return self.predicted is not None and self.predicted.runs and self.measured.verdict == Verdict.OOM

    @property
    def allocated(self) -> tuple[int, int]:
        """Predicted and measured peak in bytes; 0 without a prediction, or of a run that did not finish."""
        return self._peaks(lambda result: result.peak_allocated_bytes)

    @property
    def reserved(self) -> tuple[int, int]:
        """The same of the reserved peak."""
        return self._peaks(lambda result: result.peak_reserved_bytes)

    @property
    def allocated_difference(self) -> int | None:
        """Predicted minus measured peak in bytes; None where the two cannot be compared."""
        return _difference(self.allocated)

    @property
    def reserved_difference(self) -> int | None:
        """The same of the reserved peak."""
        return None if self.measured.retries else _difference(self.reserved)

    @property
    def seconds(self) -> tuple[float, float]:
        """Predicted and measured median seconds of a step; 0 where not known.

        What was measured on a device that played another, or on a CPU, is not the predicted GPU's.
        """
        predicted, measured = (r.step_seconds if r else None for r in (self.predicted, self.measured))
        run = self.measured.measurement
        is_own = not self.on_cpu and (run is None or run.cap_bytes is None)
        return predicted.median if predicted else 0.0, measured.median if measured and is_own else 0.0

    @property
    def seconds_difference(self) -> float | None:
        """Predicted minus measured median step in seconds; None where the two cannot be compared."""
        return self.seconds[0] - self.seconds[1] if all(self.seconds) else None

    def _peaks(self, peak: Callable[[Result], int]) -> tuple[int, int]:
        predicted = peak(self.predicted) if self.predicted else 0
        return predicted, peak(self.measured) if self.measured.runs else 0


def _difference(sizes: tuple[int, int]) -> int | None:
    return sizes[0] - sizes[1] if all(sizes) else None


def pair_up(results: Sequence[Result], measured: Sequence[Result]) -> list[tuple[Setup, list[Pair]]]:
    """Return the measured results by setup, line by line, each with the prediction of an equal cell."""
    predictions = {r.cell.identity(): r for r in results if r.source != "measured"}
    runs = {r.cell.identity(): r for r in measured}
    setups = [
        (setup, [r.cell.identity() for r in setup.results])
        for setup in arrange(map(_as_asked, runs.values()))
    ]
    return [(setup, [Pair(runs[key], predictions.get(key)) for key in keys]) for setup, keys in setups]


def _as_asked(run: Result) -> Result:
    """Return the run with the memory of its cell alone: a run that failed does not know its device's."""
    return replace(run, gpu=replace(run.gpu, capacity_bytes=run.cell.capacity_bytes or 0))


def say_measured(pairs: Sequence[Pair], total: int) -> tuple[str, ...]:
    """Return what was measured where, how the verdicts compare, and the worst differences.

    Args:
        pairs: at least one.
        total: number of predicted cells.
    """
    said = (
        _say_where(pairs, total), _say_verdicts(pairs), _say_differences(pairs), _say_steps(pairs),
        _say_failed(pairs), _say_cpu(pairs),
    )  # fmt: skip
    return tuple(text for text in said if text)


def say_alarms(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the cells that were said to run and ran out of memory; what a prediction must never do."""
    said = []
    for verdict, words in ((Verdict.FITS, "fit"), (Verdict.TIGHT, "run tightly")):
        cells = [p for p in pairs if p.ran_out_unforeseen and p.predicted and p.predicted.verdict == verdict]
        if cells:
            count = f"{len(cells)} {plural(len(cells), 'cell')}"
            said.append(f"{count} said to {words} ran out of memory: {_name_some(cells)}.")
    return tuple(said)


def device_name(result: Result) -> str:
    """Return the device that a run was on, with its memory; nothing of a run that ended before it said."""
    device = result.device
    if device is None:
        return ""
    if device.type == "cpu":
        return f"the CPU ({device.name})"
    return f"the {device.name} ({gib(device.total_bytes)} GiB)"


def cell_name(cell: Cell) -> str:
    """Return a cell by its inputs, and by its allocator setting where it has one."""
    return cell_text(cell) + (f" under {cell.alloc_conf}" if cell.alloc_conf else "")


def _say_where(pairs: Sequence[Pair], total: int) -> str:
    count = len(pairs)
    of = f" of {total}" if total > count and all(p.predicted for p in pairs) else ""
    verb = "was" if count == 1 else "were"
    places = [place for place in dict.fromkeys(_place(p.measured) for p in pairs) if place]
    where = join(places) if len(places) <= _FEW else f"{len(places)} devices or sizes"
    on = f", on {where}" if where else ""
    return f"{count}{of} {plural(total if of else count, 'cell')} {verb} measured{on}."


def _place(result: Result) -> str:
    cap = result.measurement.cap_bytes if result.measurement else None
    if cap is None or result.device is None:
        return device_name(result)
    return f"{device_name(result)} whose allocator was held to {gib(cap)} GiB to play the {result.gpu.name}"


def _say_verdicts(pairs: Sequence[Pair]) -> str:
    judged = [p for p in pairs if p.has_verdicts]
    if not judged:
        return ""
    agreeing, total = sum(p.agrees for p in judged), len(judged)
    if agreeing == total:
        return "The verdict agrees." if total == 1 else f"All {total} verdicts agree."
    others = [p for p in judged if not p.agrees and not p.ran_out_unforeseen]
    said = f"{agreeing} of {total} verdicts {'agrees' if agreeing == 1 else 'agree'}"
    return f"{said}; {_say_disagreeing(others)}." if 0 < len(others) <= _FEW else f"{said}."


def _say_disagreeing(pairs: Sequence[Pair]) -> str:
    said = {Verdict.FITS: "to fit", Verdict.TIGHT: "to run tightly", Verdict.OOM: "to run out"}
    did = {Verdict.FITS: Verdict.FITS, Verdict.TIGHT: "runs tightly", Verdict.OOM: "ran out"}
    verdicts = [(p.measured.cell, p.predicted.verdict, p.measured.verdict) for p in pairs if p.predicted]
    return join(
        f"{cell_name(cell)} was said {said[first]} and {did[second]}" for cell, first, second in verdicts
    )


def _say_differences(pairs: Sequence[Pair]) -> str:
    sides = (
        ("allocated", lambda p: p.allocated_difference, lambda p: p.allocated[1]),
        ("reserved", lambda p: p.reserved_difference, lambda p: p.reserved[1]),
    )  # fmt: skip
    said = [_say_worst(f"{name} memory", pairs, difference, size) for name, difference, size in sides]
    return f"{capital(', '.join(text for text in said if text))}." if any(said) else ""


def _say_worst(
    name: str,
    pairs: Sequence[Pair],
    difference: Callable[[Pair], float | None],
    size: Callable[[Pair], float],
) -> str:
    known = [(d / size(p), p) for p in pairs if (d := difference(p)) is not None]
    if not known:
        return ""
    worst, pair = max(known, key=lambda item: abs(item[0]))
    where = f" ({cell_name(pair.measured.cell)})" if len(known) > 1 and worst else ""
    at = "at worst " if len(known) > 1 else ""
    return f"{name} differs by {at}{difference_text(worst, 1)}{where}"


def _say_steps(pairs: Sequence[Pair]) -> str:
    said = _say_worst("step time", pairs, lambda p: p.seconds_difference, lambda p: p.seconds[1])
    return f"{capital(said)}." if said else ""


def _say_failed(pairs: Sequence[Pair]) -> str:
    failed = [p for p in pairs if p.measured.verdict == Verdict.FAILED]
    if not failed:
        return ""
    runs = f"{len(failed)} {plural(len(failed), 'run')} {VERDICT_WORDS[Verdict.FAILED]}"
    rows = "its row unfolds" if len(failed) == 1 else "their rows unfold"
    return f"{runs} for another reason than memory: {_name_some(failed)}; {rows} to the reason."


def _say_cpu(pairs: Sequence[Pair]) -> str:
    if not any(p.on_cpu for p in pairs):
        return ""
    return "A CPU has no caching allocator: its runs have seconds and live tensors, but no verdict."


def _name_some(pairs: Sequence[Pair]) -> str:
    names = [cell_name(p.measured.cell) for p in pairs]
    more = [f"{len(names) - _FEW} more"] if len(names) > _FEW else []
    return join([*names[:_FEW], *more])
