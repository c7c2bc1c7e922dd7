"""The `Result`: one row of answers about one `Cell`, the same however it was obtained.

A plain frozen record that saves to and loads from JSON; sizes are bytes, times seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from actprof.cell import Cell
from actprof.measurement import DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory
from actprof.records import from_plain, to_plain

SCHEMA_VERSION = 1

MOST_BATCH_SIZE = 4096  # the search for the largest one ends there
PREDICTED, MEASURED = "predicted", "measured"  # sources


class Verdict(StrEnum):
    """What becomes of a run.

    `fits`: it gets through with headroom; `tight`: it gets through after a flush of the cache, or with less;
    `oom`: it runs out of memory; `unknown`: it cannot be told; `error`: a real run failed otherwise.
    """

    FITS = "fits"
    TIGHT = "tight"
    OOM = "oom"
    UNKNOWN = "unknown"
    FAILED = "error"

    @property
    def runs(self) -> bool:
        """Whether the run gets through."""
        return self in (Verdict.FITS, Verdict.TIGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """The device that a result is about: its name, its memory, and the CUDA context of one process.

    `notes` say in sentences what to know of an answer about it, as that two cards have its name.
    """

    name: str
    capacity_bytes: int
    context_bytes: int
    notes: tuple[str, ...] = ()

    def available_bytes(self, used_by_others_bytes: int) -> int:
        """Return what is left for PyTorch's segments beside the context and what other processes hold."""
        return max(self.capacity_bytes - self.context_bytes - used_by_others_bytes, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What the answer took, in seconds, and whether the trace was there already, or came with actprof."""

    trace_seconds: float = 0.0
    replay_seconds: float = 0.0
    trace_cached: bool = False
    trace_shipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Who holds the allocated memory at its highest moment, or at the moment when it runs out.

    Attributes:
        phase: of the step, at that moment.
        allocated_bytes: the sum of `by_kind`.
        by_kind: parameters, gradients, optimizer state, activations, …, workspaces, allocator slack.
        activations: bytes by component of the policy and, inside it, by group: `{"encoder": {"attention
            maps": …}}`; they add up to the kind `activations`.
    """

    phase: str
    allocated_bytes: int
    by_kind: Mapping[str, int]
    activations: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSize:
    """The parameters of one component of the policy: elements and bytes, what is trained and what is frozen.

    The dtypes are as `float32`, in the order in which they come; none when unknown.
    """

    component: str
    trainable: int
    trainable_bytes: int
    frozen: int
    frozen_bytes: int
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCurve:
    """A timeline thinned to a few hundred points that keeps every visible peak.

    Attributes:
        allocated_bytes, reserved_bytes: highest within each point's stretch of events.
        phases: (index of the first point, phase) wherever the phase changes.
        steps: index of each step's first point.
    """

    allocated_bytes: tuple[int, ...]
    reserved_bytes: tuple[int, ...]
    phases: tuple[tuple[int, str], ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """What all launches of one of ATen's ops cost the device in one step, together.

    Most of the seconds are `bound` by `arithmetic` or `bandwidth`.
    """

    op: str
    launches: int
    seconds: float
    flops: int
    bytes: int
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCost:
    """What all kernels of one kind (`matrix product`, `elementwise`) take of the device in one step."""

    kind: str
    kernels: int
    seconds: float
    flops: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a predicted `update_policy` does with its time.

    Attributes:
        device_seconds: in which the device works.
        host_seconds: in which the host launches, waits left out.
        busy_share: part of the step in which the device works.
        bytes_per_sample: of the device's memory traffic.
        shares: of the step: `launches` (the device waits for the host), `arithmetic`, `bandwidth`.
        costliest: the ten most expensive ops.
        kinds: the device's time by kind of kernel, the longest first.
        components: the device's seconds by component of the policy, and of the `optimizer`.
        phases: by phase of the update, [host seconds, device seconds].
        host: the name of the host that launches.
        variants: seconds that the same step would take, by what is different: `a host twice as fast`, …; of
            what is known as a band only, its ends.
    """

    device_seconds: float
    host_seconds: float
    busy_share: float
    bytes_per_sample: int
    shares: Mapping[str, float]
    costliest: tuple[OpCost, ...] = ()
    kinds: tuple[KindCost, ...] = ()
    components: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    host: str = ""
    variants: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One cell's answer.

    Attributes:
        source: `predicted` or `measured`.
        cell, gpu: what was asked.
        parameters: elements of the policy's parameters.
        components: the same by component, what is trained apart from what is frozen; empty when not known.
        encoder_tokens: length of the token sequence that the policy's spec names; 0 for one without tokens.
        peak_allocated_bytes, peak_reserved_bytes: of a settled step on a device without limit, from the
            start of `update_policy`; lerobot's `mem_gb` is the first, divided by 1024³.
        peak_process_bytes: reserved plus CUDA context.
        peak_allocated_band_bytes, peak_reserved_band_bytes: (low, high) of what repeated runs of the same
            command show, as `cudnn.benchmark` chooses plans by time; both ends are the peak where the run
            has one figure. None when not known, as of a measurement.
        verdict: `fits`, `tight`, `oom` or `unknown`; of a measurement also `error`, when the run failed.
        reason: why, in a sentence.
        headroom_bytes: what is left of the device beside others and the run's highest reserved bytes;
            negative when it lacks.
        retries: cache flushes on the named device.
        max_batch_size: largest batch size whose verdict is `fits` or `tight`; None when not known.
        surely_fits_batch_size: largest batch size that runs whichever plans cuDNN takes; None when not known.
        oom: the allocation that runs out on the named device, or None.
        assumptions: what the answer rests on, in sentences.
        step_seconds: wall clock of one step of the optimizer, the device's work included: of `update_policy`
            for each batch whose gradients are added up.
        samples_per_second: of all batches of a step, by the median of `step_seconds`.
        device: where it was measured.
        measurement: what else a real run found.
        flops_per_sample: floating-point operations of one step, by samples, as `torch.utils.flop_counter`
            counts; 0 when not known.
        limited_by: `launches` where the host takes longer than the device, else `arithmetic` or `bandwidth`,
            whichever the device takes longer with; empty when not known.
        kernel_launches: of one step; 0 when not known.
        work: what a predicted step does with its time; None when the GPU's speed is not known.
    """

    source: str
    cell: Cell
    gpu: GpuUse
    parameters: int = 0
    components: tuple[ComponentSize, ...] = ()
    encoder_tokens: int = 0
    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0
    peak_process_bytes: int = 0
    peak_allocated_band_bytes: tuple[int, int] | None = None
    peak_reserved_band_bytes: tuple[int, int] | None = None
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    headroom_bytes: int = 0
    retries: int = 0
    max_batch_size: int | None = None
    surely_fits_batch_size: int | None = None
    oom: OutOfMemory | None = None
    breakdown: Breakdown | None = None
    assumptions: tuple[str, ...] = ()
    timing: Timing = Timing()
    versions: Mapping[str, str] = field(default_factory=dict)
    curve: MemoryCurve | None = None
    step_seconds: Spread | None = None
    samples_per_second: float | None = None
    device: DeviceFacts | None = None
    measurement: Measurement | None = None
    flops_per_sample: int = 0
    limited_by: str = ""
    kernel_launches: int = 0
    work: StepWork | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Take a verdict by its name as well."""
        object.__setattr__(self, "verdict", Verdict(self.verdict))

    @property
    def runs(self) -> bool:
        """Whether the run gets through: `fits` or `tight`."""
        return self.verdict.runs

    @property
    def on_cpu(self) -> bool:
        """Whether it was measured where there is neither a caching allocator nor a verdict."""
        return self.device is not None and self.device.type == "cpu"

    @property
    def available_bytes(self) -> int:
        """What the device has for PyTorch's segments."""
        return self.gpu.available_bytes(self.cell.used_by_others_bytes)

    def to_json(self, *, curve: bool = True) -> dict[str, Any]:
        """Return a dict of JSON values; the curve is left out on request."""
        data: dict[str, Any] = {"schema_version": self.schema_version, "source": self.source}
        data |= {**to_plain(self), "cell": self.cell.to_json()}
        if not curve:
            del data["curve"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a result from `to_json`; what an older file lacks takes its default."""
        return from_plain(cls, data)
