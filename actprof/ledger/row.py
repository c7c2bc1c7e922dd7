"""One row of the accuracy ledger: what was predicted of a training run on one device, and what was measured.

Differences are predicted minus measured: a positive one means that the prediction is too large. Sizes are
bytes, times seconds. Nothing here predicts or measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from actprof.allocator import AllocatorConfig
from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.records import from_plain, to_plain
from actprof.results import Verdict
from actprof.units import format_bytes

SCHEMA_VERSION = 1
ORIGINS = ("measured", "published")
NUMBERS = ("allocated", "reserved", "process")
_ENOUGH_PERCENT = {"allocated": 0.1, "reserved": 1.0, "process": 1.0}  # more needs a cause
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """One run: what was predicted of it beside what was measured.

    Attributes:
        cell: what was predicted, and run; its GPU is the one that ran it, also where that played another.
        origin: `measured` by actprof itself, or `published` by others.
        gpu: name of the device that it was measured on; `H100 as RTX 3090` where it played another.
        held_to_bytes: where it played another, what PyTorch's segments were held to.
        cublas_workspace_bytes: where the run's `CUBLAS_WORKSPACE_CONFIG` set it.
        run: its name among the runs of the same cell, of which each is a row; empty for the only one.
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
    held_to_bytes: int | None = None
    cublas_workspace_bytes: int | None = None
    run: str = ""
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
    def words(self) -> tuple[str, ...]:
        """What tells the run from others: policy, cameras, batch size, then all that is not as usual."""
        cell, usual = self.cell, Cell()
        words = [cell.policy.upper(), f"{cell.cameras_text} {cell.resolution}", f"batch {cell.batch_size}"]
        words += [f"{name}={value}" for name, value in sorted(cell.overrides.items())]
        words += [] if cell.state_dim == usual.state_dim else [f"state {cell.state_dim}"]
        words += [] if cell.action_dim == usual.action_dim else [f"action {cell.action_dim}"]
        words += [] if cell.precision == usual.precision else [cell.precision]
        words += [] if cell.optimizer == usual.optimizer else [cell.optimizer]
        words += [*cell.changes, self.gpu, *([cell.alloc_conf] if cell.alloc_conf else [])]
        words += [] if cell.cudnn_benchmark else ["cudnn.benchmark off"]
        held_to = self.held_to_bytes or cell.capacity_bytes
        words += [f"held to {format_bytes(held_to)}"] if held_to else []
        others = cell.used_by_others_bytes
        words += [f"{format_bytes(others)} used by others"] if others else []
        return tuple(words)

    @property
    def name(self) -> str:
        """The run in words: `ACT, 2 cameras 640x480, batch 32, RTX 3090`; another cell has another name."""
        return ", ".join(self.words)

    @property
    def command_key(self) -> tuple[object, ...]:
        """What rows have in common that measured the same command on the same kind of device."""
        held = self.held_to_bytes, self.cublas_workspace_bytes
        return self.origin, self.gpu, self.cell.identity(), *held

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it a row of its own: a second row with the same key replaces the first."""
        return *self.command_key, self.run

    @property
    def expandable(self) -> bool:
        """Whether the allocator's segments were expandable."""
        return AllocatorConfig.parse(self.cell.alloc_conf).expandable_segments

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
        measured: int | None = getattr(self.measured, f"{number}_bytes")
        difference = self.difference_bytes(number)
        if measured is None or difference is None:
            return None
        low, high = self.band(number) or (measured + difference, measured + difference)
        return max(max(low - measured, measured - high) - self.resolution_bytes.get(number, 0), 0)

    def beyond_band_percent(self, number: str) -> float | None:
        """Return the same in percent of what was measured."""
        beyond, measured = self.beyond_band_bytes(number), getattr(self.measured, f"{number}_bytes")
        return None if beyond is None else 100 * beyond / measured

    def band_holds(self, number: str) -> bool | None:
        """Return whether what was measured lies in the band; None without either."""
        beyond = self.beyond_band_bytes(number)
        return None if beyond is None or self.band(number) is None else not beyond

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
    def surely_ran_out(self) -> bool | None:
        """Whether a batch size that was said to fit surely ran out; None where either is not known."""
        sure, largest = self.predicted.surely_fits_batch_size, self.measured.max_batch_size
        if sure is None or (largest is None and self.measured.runs is None):
            return None
        ran_out = self.measured.runs is False and self.cell.batch_size <= sure
        return ran_out or (largest is not None and largest < sure)

    @property
    def said_oom_ran(self) -> bool:
        """It was said to run out, and ran."""
        return self.verdict_agrees is False and self.predicted.runs is False

    @property
    def asked(self) -> tuple[str, ...]:
        """The numbers that judge a row; where reserved was not measured, the process stands in for it."""
        has_reserved = self.difference_bytes("reserved") is not None
        return "allocated", "reserved" if has_reserved else "process"

    @property
    def worst_percent(self) -> float:
        """Largest difference of its memory beyond the band in percent, without sign; 0.0 when it has none."""
        return max((self.beyond_band_percent(number) or 0.0 for number in self.asked), default=0.0)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The numbers that are further off than 0.1 % (allocated) or 1 % (reserved) while notes say nothing.

        What the published digits leave open does not count, nor what the predicted band holds.
        """
        return () if self.notes else tuple(number for number in self.asked if self._is_far_off(number))

    def _is_far_off(self, number: str) -> bool:
        return (self.beyond_band_percent(number) or 0.0) > _ENOUGH_PERCENT[number]

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field; figures that nobody knows are left out."""
        data: dict[str, Any] = to_plain(self)
        for name in ("predicted", "measured"):
            data[name] = {key: value for key, value in data[name].items() if value not in (None, "")}
        for name in ("held_to_bytes", "cublas_workspace_bytes", "run"):
            if data[name] in (None, ""):
                del data[name]
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
