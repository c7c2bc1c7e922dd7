"""One row of the accuracy ledger: what was predicted of a training run on one device, and what was measured.

Differences are predicted minus measured: a positive one means that the prediction is too large. Sizes are
bytes, times seconds. Nothing here predicts or measures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from actprof.errors import UsageError
from actprof.measure.measurement import Measurement
from actprof.records import from_plain, to_plain
from actprof.results import MEASURED, Result
from actprof.scenario.cell import Cell
from actprof.units import format_bytes, parse_bytes

SCHEMA_VERSION = 1
ORIGINS = ("measured", "published")
NUMBERS = ("allocated", "reserved", "process")
_ENOUGH = {"allocated": 0.001, "reserved": 0.01, "process": 0.01}  # a larger share needs a cause
_GETS_THROUGH = {"fits": True, "tight": True, "ran": True, "oom": False}
_IN_USE = re.compile(r"this process has (\d[\d.]* [KMG]iB) memory in use")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was predicted, or measured, of one run; None and the empty text where it is not known.

    Attributes:
        allocated_bytes, reserved_bytes, process_bytes: peaks of a settled step, as in a `Result`.
        max_batch_size: largest batch size that runs.
        verdict: `fits`, `tight` or `oom`, or `ran` where it is only known that it got through.
        tried_bytes: what the out-of-memory message says was tried to allocate: a segment's size.
        in_use_bytes: what the same message says the process had in use.
        step_seconds: median wall clock of one `update_policy` that gets through.
    """

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    process_bytes: int | None = None
    max_batch_size: int | None = None
    verdict: str = ""
    tried_bytes: int | None = None
    in_use_bytes: int | None = None
    step_seconds: float | None = None

    @property
    def runs(self) -> bool | None:
        """Whether the run gets through; None when nobody knows."""
        return _GETS_THROUGH.get(self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """One run: what was predicted of it beside what was measured.

    Attributes:
        cell: what was predicted, and run.
        origin: `measured` by actprof itself, or `published` by others.
        gpu: name of the device that it was measured on; `H100 as RTX 3090` where it stood in for another.
        source: where a published figure stands, and how it was obtained.
        versions: of the measured run: torch, lerobot, driver and others by name.
        date: of the measurement, ISO 8601.
        command: what repeats the row: the measurement of a measured one, the prediction of a published one.
        resolution_bytes: by the name of a number (`allocated`, `process`), half a unit of its last published
            digit: 3.73 GiB is true to 0.005 GiB. A number without one is exact.
        notes: the cause of a difference: which allocation, and its size. A row with notes is explained.
    """

    cell: Cell
    origin: str
    gpu: str
    predicted: Figures = Figures()
    measured: Figures = Figures()
    source: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    command: str = ""
    resolution_bytes: Mapping[str, int] = field(default_factory=dict)
    notes: str = ""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Refuse an origin that does not exist.

        Raises:
            UsageError: names it.
        """
        if self.origin not in ORIGINS:
            raise UsageError(f"{self.origin!r} is not an origin; choose one of {', '.join(ORIGINS)}")

    @property
    def name(self) -> str:
        """The run in words: `ACT, 2 cameras 640x480, batch 32, RTX 3090`."""
        cell = self.cell
        words = [cell.policy.upper(), f"{cell.cameras_text} {cell.resolution}", f"batch {cell.batch_size}"]
        words += [] if cell.precision == "fp32" else [cell.precision]
        words += [] if cell.optimizer == "preset" else [cell.optimizer]
        words += [*cell.changes, self.gpu, *([cell.alloc_conf] if cell.alloc_conf else [])]
        words += [] if cell.cudnn_benchmark else ["cudnn.benchmark off"]
        if cell.capacity_bytes:
            words.append(f"held to {format_bytes(cell.capacity_bytes)}")
        if cell.used_by_others_bytes:
            words.append(f"{format_bytes(cell.used_by_others_bytes)} used by others")
        return ", ".join(words)

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it a row of its own: a second row with the same key replaces the first."""
        return self.origin, self.gpu, self.cell.identity()

    def difference_bytes(self, number: str) -> int | None:
        """Return predicted minus measured of a number (`allocated`, `reserved`, `process`, `tried`)."""
        return _minus(self.predicted, self.measured, f"{number}_bytes")

    def difference_percent(self, number: str) -> float | None:
        """Return the same in percent of what was measured."""
        difference, measured = self.difference_bytes(number), getattr(self.measured, f"{number}_bytes")
        return None if difference is None or not measured else 100 * difference / measured

    @property
    def step_percent(self) -> float | None:
        """Predicted minus measured seconds of a step, in percent of what was measured."""
        said, was = self.predicted.step_seconds, self.measured.step_seconds
        return None if said is None or not was else 100 * (said - was) / was

    def beyond_resolution_bytes(self, number: str) -> int | None:
        """Return how far the difference exceeds what the published digits leave open, without sign."""
        difference = self.difference_bytes(number)
        return None if difference is None else max(abs(difference) - self.resolution_bytes.get(number, 0), 0)

    @property
    def batch_size_difference(self) -> int | None:
        """Predicted minus measured largest batch size."""
        return _minus(self.predicted, self.measured, "max_batch_size")

    @property
    def verdict_agrees(self) -> bool | None:
        """Whether it ran, or ran out, as it was said to; None when either is not known."""
        said, was = self.predicted.runs, self.measured.runs
        return None if said is None or was is None else said == was

    @property
    def said_runs_ran_out(self) -> bool:
        """It was said to fit, or to be tight, and ran out: the mistake that must not happen."""
        return self.verdict_agrees is False and self.predicted.runs is True

    @property
    def said_oom_ran(self) -> bool:
        """It was said to run out, and ran."""
        return self.verdict_agrees is False and self.predicted.runs is False

    @property
    def worst_percent(self) -> float:
        """Largest difference of its memory in percent, without sign; 0.0 when it has none."""
        known = (self.difference_percent(number) for number in NUMBERS)
        return max((abs(value) for value in known if value is not None), default=0.0)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The numbers that are further off than 0.1 % (allocated) or 1 % (reserved) while notes say nothing.

        What the published digits leave open does not count. Where reserved was not measured, the process
        stands in for it.
        """
        has_reserved = self.difference_bytes("reserved") is not None
        asked = ("allocated", "reserved" if has_reserved else "process")
        return () if self.notes else tuple(number for number in asked if self._is_far_off(number))

    def _is_far_off(self, number: str) -> bool:
        beyond, measured = self.beyond_resolution_bytes(number), getattr(self.measured, f"{number}_bytes")
        return bool(beyond and measured and beyond > _ENOUGH[number] * measured)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field; figures that nobody knows are left out."""
        data: dict[str, Any] = to_plain(self)
        for name in ("predicted", "measured"):
            data[name] = {key: value for key, value in data[name].items() if value not in (None, "")}
        for name in ("versions", "resolution_bytes"):
            data[name] = dict(sorted(data[name].items()))
        return {**data, "cell": self.cell.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a row from `to_json`; what an older file lacks takes its default."""
        return from_plain(cls, data)


def _minus(predicted: Figures, measured: Figures, name: str) -> int | None:
    said, was = getattr(predicted, name), getattr(measured, name)
    return None if said is None or was is None else int(said - was)


# -- from results to a row -----------------------------------------------------------------------------


def row_of(predicted: Result, measured: Result, *, notes: str = "") -> AccuracyRow:
    """Return the row of a prediction and a measurement by actprof of the same cell.

    Raises:
        UsageError: they are about different cells.
    """
    if predicted.cell.identity() != measured.cell.identity():
        raise UsageError(f"a prediction of {predicted.cell} says nothing about {measured.cell}; predict that")
    device, run = measured.device, measured.measurement
    versions = dict(measured.versions)
    if device is not None:
        found = {"driver": device.driver, "cuda": device.cuda, "cudnn": device.cudnn}
        versions |= {name: version for name, version in found.items() if version}
    return AccuracyRow(
        cell=measured.cell,
        origin="measured",
        gpu=_device_name(measured),
        predicted=figures_of(predicted),
        measured=figures_of(measured),
        source="measured by actprof",
        versions=versions,
        date="" if run is None else run.date,
        command="" if run is None else run.command,
        notes=notes,
    )


def _device_name(measured: Result) -> str:
    """Return the device's own name, and the GPU's that it stood in for."""
    if measured.device is None:
        return measured.gpu.name
    stood_in = measured.measurement is not None and measured.measurement.cap_bytes is not None
    as_other = f" as {measured.gpu.name}" if stood_in and measured.cell.gpu else ""
    return f"{measured.device.name}{as_other}"


def figures_of(result: Result) -> Figures:
    """Return the figures of a result that can be compared.

    A measured run that ran out has no peaks: it ended before them. One that had to flush its cache has no
    reserved bytes and no process: they show the device's limit, where predictions say what a device without
    limit would need. Nor has a run a process where NVML did not name it, or where a larger GPU stood in for
    the cell's: its CUDA context is another, and so are its seconds.
    """
    if result.verdict not in _GETS_THROUGH:
        return Figures()
    measured = result.source == MEASURED
    peaks = not (measured and result.verdict == "oom")
    segments = peaks and not (measured and result.retries)
    process = segments and (not measured or _saw_process(result.measurement))
    oom = result.oom
    return Figures(
        allocated_bytes=(result.peak_allocated_bytes or None) if peaks else None,
        reserved_bytes=(result.peak_reserved_bytes or None) if segments else None,
        process_bytes=(result.peak_process_bytes or None) if process else None,
        max_batch_size=result.max_batch_size,
        verdict=result.verdict,
        tried_bytes=None if oom is None else oom.segment_bytes or None,
        in_use_bytes=None if oom is None else _in_use(oom.message),
        step_seconds=_step_seconds(result),
    )


def _step_seconds(result: Result) -> float | None:
    """Return the median step; none of a run that runs out, nor of a GPU that stood in for another."""
    run = result.measurement
    if result.step_seconds is None or not result.runs or (run is not None and run.cap_bytes is not None):
        return None
    return round(result.step_seconds.median, 6)


def _saw_process(run: Measurement | None) -> bool:
    return run is not None and run.cap_bytes is None and run.card is not None and run.card.process_bytes > 0


def _in_use(message: str) -> int | None:
    found = _IN_USE.search(message)
    return None if found is None else parse_bytes(found[1])
