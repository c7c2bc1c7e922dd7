"""Predicted beside measured figures of one run: which of them can be compared, and how far they are apart.

The one comparison of the two: a row of the ledger is one, and so is each real run on a report's page or on
the terminal. A difference is predicted minus measured, so that a positive one means: predicted too large.
Sizes are bytes, times seconds. Nothing here predicts or measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from actprof.cell import Cell
from actprof.measurement import Measurement
from actprof.out_of_memory import parse_message
from actprof.results import MEASURED, Result, Verdict

NUMBERS = ("allocated", "reserved", "process")
_GETS_THROUGH = {Verdict.FITS: True, Verdict.TIGHT: True, "ran": True, Verdict.OOM: False}

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was predicted, or measured, of one run; None and the empty text where it is not known.

    Attributes:
        allocated_bytes, reserved_bytes, process_bytes: peaks of a settled step, as in a `Result`.
        allocated_band_bytes, reserved_band_bytes: predicted (low, high) of repeated runs, as in a `Result`.
        max_batch_size: largest batch size that runs.
        surely_fits_batch_size: predicted: the largest that runs whichever plans cuDNN takes.
        verdict: `fits`, `tight` or `oom`, or `ran` where it is only known that it got through.
        tried_bytes: what the out-of-memory message says was tried to allocate: a segment's size.
        in_use_bytes: what the same message says the process had in use.
        step_seconds: median wall clock of one `update_policy` that gets through.
    """

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    process_bytes: int | None = None
    allocated_band_bytes: Range | None = None
    reserved_band_bytes: Range | None = None
    max_batch_size: int | None = None
    surely_fits_batch_size: int | None = None
    verdict: str = ""
    tried_bytes: int | None = None
    in_use_bytes: int | None = None
    step_seconds: float | None = None

    @property
    def runs(self) -> bool | None:
        """Whether the run gets through; None when nobody knows."""
        return _GETS_THROUGH.get(self.verdict)


def figures_of(result: Result) -> Figures:
    """Return the figures of a result that can be compared.

    A measured run that ran out has no peaks: it ended before them. One that had to flush its cache has no
    reserved bytes and no process: they show the device's limit, where predictions say what a device without
    limit would need. Nor has a run a process where NVML did not name it, or where a larger GPU stood in for
    the cell's: its CUDA context is another, and so are its seconds.
    """
    if result.verdict not in _GETS_THROUGH:
        return Figures()
    measured, run, oom = result.source == MEASURED, result.measurement or Measurement(), result.oom
    peaks = not (measured and result.verdict == Verdict.OOM)
    segments = peaks and not (measured and result.retries)
    stood_in = run.cap_bytes is not None
    seen = run.card is not None and run.card.process_bytes > 0
    process = segments and (not measured or (seen and not stood_in))
    step = None if stood_in or result.verdict == Verdict.OOM else result.step_seconds
    return Figures(
        allocated_bytes=(result.peak_allocated_bytes or None) if peaks else None,
        reserved_bytes=(result.peak_reserved_bytes or None) if segments else None,
        process_bytes=(result.peak_process_bytes or None) if process else None,
        allocated_band_bytes=result.peak_allocated_band_bytes,
        reserved_band_bytes=result.peak_reserved_band_bytes,
        max_batch_size=result.max_batch_size,
        surely_fits_batch_size=result.surely_fits_batch_size,
        verdict=result.verdict,
        tried_bytes=None if oom is None else oom.segment_bytes or None,
        in_use_bytes=None if oom is None else parse_message(oom.message).get("process"),
        step_seconds=None if step is None else round(step.median, 6),
    )


class Comparison:
    """A record of one run's predicted and measured figures; the base of those that have more to say.

    Attributes:
        cell: what was predicted, and run.
        predicted, measured: what is known of it.
        resolution_bytes: by the name of a number (`allocated`, `process`), half a unit of its last published
            digit: 3.73 GiB is true to 0.005 GiB. A number without one is exact.
    """

    __slots__ = ()
    cell: Cell
    predicted: Figures
    measured: Figures
    resolution_bytes: Mapping[str, int]

    def sizes(self, number: str) -> tuple[int | None, int | None]:
        """Return predicted and measured bytes of a number: one of `NUMBERS`, or `tried`."""
        name = f"{number}_bytes"
        return getattr(self.predicted, name), getattr(self.measured, name)

    def difference_bytes(self, number: str) -> int | None:
        """Return predicted minus measured of a number; None where either is not known."""
        return _minus(*self.sizes(number))

    def difference_percent(self, number: str) -> float | None:
        """Return the same in percent of what was measured."""
        difference, (_, measured) = self.difference_bytes(number), self.sizes(number)
        return None if difference is None or not measured else 100 * difference / measured

    @property
    def step_percent(self) -> float | None:
        """Predicted minus measured seconds of a step, in percent of what was measured."""
        said, was = self.predicted.step_seconds, self.measured.step_seconds
        return None if said is None or not was else 100 * (said - was) / was

    @property
    def batch_size_difference(self) -> int | None:
        """Predicted minus measured largest batch size."""
        return _minus(self.predicted.max_batch_size, self.measured.max_batch_size)

    def is_exact(self, number: str) -> bool:
        """Return whether a number is known and predicted exactly, as far as published digits tell."""
        difference = self.difference_bytes(number)
        return difference is not None and abs(difference) <= self.resolution_bytes.get(number, 0)

    def band(self, number: str) -> Range | None:
        """Return the predicted (low, high) of repeated runs; None where one figure is predicted.

        That is so of runs whose plans cuDNN does not choose by time, and of older rows. The process has the
        band of its reserved bytes.
        """
        said, name = self.predicted, "reserved" if number == "process" else number
        band: Range | None = getattr(said, f"{name}_band_bytes", None)
        if band is None or not self.cell.cudnn_benchmark:
            return None
        context = (said.process_bytes or 0) - (said.reserved_bytes or 0) if number == "process" else 0
        return band[0] + context, band[1] + context

    def beyond_band_bytes(self, number: str) -> int | None:
        """Return how far what was measured lies outside the band, without sign; 0 inside.

        What published digits leave open counts as inside. Where there is no band it is the difference; None
        where that is not known.
        """
        predicted, measured = self.sizes(number)
        if predicted is None or measured is None:
            return None
        low, high = self.band(number) or (predicted, predicted)
        return max(max(low - measured, measured - high) - self.resolution_bytes.get(number, 0), 0)

    def beyond_band_percent(self, number: str) -> float | None:
        """Return the same in percent of what was measured."""
        beyond, (_, measured) = self.beyond_band_bytes(number), self.sizes(number)
        return None if beyond is None or not measured else 100 * beyond / measured

    def band_holds(self, number: str) -> bool | None:
        """Return whether what was measured lies in the band; None without either."""
        beyond = self.beyond_band_bytes(number)
        return None if beyond is None or self.band(number) is None else not beyond

    @property
    def verdict_agrees(self) -> bool | None:
        """Whether it ran, or ran out, as it was said to; None when either is not known."""
        said, was = self.predicted.runs, self.measured.runs
        return None if said is None or was is None else said == was

    @property
    def same_verdict(self) -> bool | None:
        """Whether both are `fits`, both `tight` or both `oom`; None when either is not known."""
        said, was = self.predicted.verdict, self.measured.verdict
        return said == was if said and was else None

    @property
    def said_runs_ran_out(self) -> bool:
        """It was said to fit, or to be tight, and ran out: the mistake that must not happen."""
        return self.verdict_agrees is False and self.predicted.runs is True

    @property
    def said_oom_ran(self) -> bool:
        """It was said to run out, and ran."""
        return self.verdict_agrees is False and self.predicted.runs is False

    @property
    def surely_ran_out(self) -> bool | None:
        """Whether a batch size that was said to fit surely ran out; None where either is not known."""
        sure, largest = self.predicted.surely_fits_batch_size, self.measured.max_batch_size
        if sure is None or (largest is None and self.measured.runs is None):
            return None
        ran_out = self.measured.runs is False and self.cell.batch_size <= sure
        return ran_out or (largest is not None and largest < sure)


def _minus(predicted: int | None, measured: int | None) -> int | None:
    return None if predicted is None or measured is None else predicted - measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Comparison):
    """One cell's real run, and its prediction if there is one: both results, and their figures compared."""

    run: Result
    prediction: Result | None
    cell: Cell
    predicted: Figures
    measured: Figures
    resolution_bytes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Result, prediction: Result | None = None) -> Self:
        """Return the pair of a measured result and a predicted one of the same cell."""
        predicted = figures_of(prediction) if prediction else Figures()
        return cls(
            run=run, prediction=prediction, cell=run.cell, predicted=predicted, measured=figures_of(run)
        )

    def peaks(self, number: str) -> tuple[int, int]:
        """Return predicted and measured peak of `allocated` or `reserved`, as they are shown side by side.

        0 without a prediction, or of a run that did not finish; unlike the figures, a reserved peak is shown
        also of a run that flushed its cache.
        """
        name = f"peak_{number}_bytes"
        shown = (self.prediction, self.run if self.run.runs else None)
        said, was = (getattr(result, name) if result else 0 for result in shown)
        return said, was
