"""One row of the accuracy ledger: what was predicted of a training run on one device, and what was measured.

Sizes are bytes, times seconds. Nothing here predicts or measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from actprof.allocator import AllocatorConfig
from actprof.cell import CELL_FIELDS, Cell
from actprof.errors import UsageError
from actprof.hardware import Gpu, cublas_workspace_bytes, find_gpu
from actprof.ledger.comparison import Comparison, Figures, figures_of
from actprof.measurement import Measurement
from actprof.policies import policy_title
from actprof.records import from_plain, to_plain
from actprof.results import Result
from actprof.units import format_bytes
from actprof.versions import torch_version

SCHEMA_VERSION = 1
ORIGINS = ("measured", "published")
PASSES_ONLY = "forward and backward only"
# In a row's name; the other fields of its cell follow.
_TOLD_FIRST = (
    "policy", "cameras", "batch_size", "overrides", "state_dim", "action_dim", "precision", "optimizer",
    "changes", "gpu", "alloc_conf", "cudnn_benchmark",
)  # fmt: skip
_ENOUGH_PERCENT = {"allocated": 0.1, "reserved": 1.0, "process": 1.0}  # more needs a cause


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow(Comparison):
    """One run: what was predicted of it beside what was measured.

    Attributes:
        cell: what was predicted, and run; its GPU is the one that ran it, also where that played another.
        origin: `measured` by actprof itself, or `published` by others.
        gpu: name of the device that it was measured on; `H100 as RTX 3090` where it played another.
        held_to_bytes: where it played another, what PyTorch's segments were held to.
        cublas_workspace_bytes: where the run's `CUBLAS_WORKSPACE_CONFIG` set it.
        passes: whether only one forward and one reverse pass were measured, see `passes_peak_bytes`.
        run: its name among the runs of the same cell, of which each is a row; empty for the only one.
        source: where a published figure stands, and how it was obtained.
        versions: of the measured run: torch, lerobot, driver and others by name.
        date: of the measurement, ISO 8601.
        command: what repeats the row: the measurement of a measured one, the prediction of a published one.
        notes: the cause of a difference: which allocation, and its size. A row with notes is explained.
    """

    cell: Cell
    origin: str
    gpu: str
    held_to_bytes: int | None = None
    cublas_workspace_bytes: int | None = None
    passes: bool = False
    run: str = ""
    predicted: Figures = field(default_factory=Figures)
    measured: Figures = field(default_factory=Figures)
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
        cell = self.cell
        told = {part.name: part.unusual(getattr(cell, part.name)) for part in CELL_FIELDS}
        held_to = self.held_to_bytes or cell.capacity_bytes
        told |= {
            "policy": [policy_title(cell.policy)],
            "cameras": [f"{cell.cameras_text} {cell.resolution}"],
            "resolution": [],
            "batch_size": [f"batch {cell.batch_size}"],
            "gpu": [self.gpu],
            "capacity_bytes": [f"limited to {format_bytes(held_to)}"] if held_to else [],
        }
        words = tuple(word for name in dict.fromkeys((*_TOLD_FIRST, *told)) for word in told[name])
        return (*words, PASSES_ONLY) if self.passes else words

    @property
    def name(self) -> str:
        """The run in words: `ACT, 2 cameras 640x480, batch 32, RTX 3090`; another cell has another name."""
        return ", ".join(self.words)

    @property
    def command_key(self) -> tuple[object, ...]:
        """What rows have in common that measured the same command on the same kind of device."""
        held = self.held_to_bytes, self.cublas_workspace_bytes
        return self.origin, self.gpu, self.cell.identity(), *held, self.passes

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it a row of its own: a second row with the same key replaces the first."""
        return *self.command_key, self.run

    @property
    def expandable(self) -> bool:
        """Whether the allocator's segments were expandable."""
        return AllocatorConfig.parse(self.cell.alloc_conf).expandable_segments

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
        far = [n for n in self.asked if (self.beyond_band_percent(n) or 0.0) > _ENOUGH_PERCENT[n]]
        return () if self.notes else tuple(far)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field; figures that nobody knows are left out."""
        data: dict[str, Any] = to_plain(self)
        for name in ("predicted", "measured"):
            data[name] = {key: value for key, value in data[name].items() if value not in (None, "")}
        for name in ("held_to_bytes", "cublas_workspace_bytes", "passes", "run"):
            if data[name] in (None, "") or data[name] is False:
                del data[name]
        for name in ("versions", "resolution_bytes"):
            data[name] = dict(sorted(data[name].items()))
        return {**data, "cell": self.cell.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a row from `to_json`; what an older file lacks takes its default."""
        return from_plain(cls, data)


def row_of(measured: Result) -> AccuracyRow:
    """Return the row of a measurement by actprof, still without a prediction.

    A card that played another has kernels, and cuDNN plans, of its own: the row's cell is about the card that
    ran it, held to what the allocator was held to.
    """
    device, run = measured.device, measured.measurement or Measurement()
    found = {name: getattr(device, name, "") for name in ("driver", "cuda", "cudnn")}
    row = AccuracyRow(
        cell=measured.cell,
        origin="measured",
        gpu=measured.gpu.name if device is None else device.name,
        measured=figures_of(measured),
        source="measured by actprof",
        versions={**measured.versions, **{name: version for name, version in found.items() if version}},
        date=run.date,
        command=run.command,
        resolution_bytes=run.resolution_bytes,
    )
    if device is None or run.cap_bytes is None:
        return row
    return _played(row, held_to_bytes=run.cap_bytes)


def _played(row: AccuracyRow, *, held_to_bytes: int) -> AccuracyRow:
    """Return the row of a card that was held to some memory, if need be as a card in the part of another."""
    here, there = _known(row.gpu), _known(row.cell.gpu)
    if there is None or here == there:
        return row
    row = replace(row, gpu=f"{row.gpu} as {there.name}")
    if here is None:
        return row
    own, theirs = (cublas_workspace_bytes(gpu, torch_version()) for gpu in (here, there))
    return replace(
        row,
        cell=replace(row.cell, gpu=here.name, capacity_bytes=None),
        held_to_bytes=held_to_bytes,
        cublas_workspace_bytes=None if own == theirs else theirs,
    )


def _known(name: str | None) -> Gpu | None:
    try:
        return find_gpu(name) if name else None
    except UsageError:
        return None
