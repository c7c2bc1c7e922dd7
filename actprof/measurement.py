"""A `Measurement`: what a real run on a GPU or CPU found beside the fields of a `Result`. Plain records.

Sizes are bytes, times seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Smallest, median and largest of some seconds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        return cls(low=min(values), median=statistics.median(values), high=max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """The device of a run.

    Attributes:
        type: `cuda` or `cpu`.
        name: as torch reports it; of a CPU the processor's.
        index: NVML's, of a GPU.
        total_bytes: as torch reports it; of a CPU the machine's memory.
        compute_capability: (major, minor); (0, 0) of a CPU.
        driver, cuda, cudnn: versions; empty of a CPU.
        threads: with which torch computes on the CPU.
    """

    type: str
    name: str
    index: int = 0
    total_bytes: int = 0
    compute_capability: tuple[int, int] = (0, 0)
    driver: str = ""
    cuda: str = ""
    cudnn: str = ""
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """Highest bytes of one step, from the start of its `update_policy`, and its cache flushes.

    Attributes:
        retries: what the step, its batch included, added to `num_alloc_retries`; of the first step also what
            the set-up did.
    """

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CardUse:
    """What NVML saw of the card while the run was on it.

    Attributes:
        samples: how often it was asked.
        process_bytes: highest of the run's own process; 0 when NVML does not name it.
        last_bytes: of that process at the last look at which it was there.
        card_bytes: highest of the whole card.
        others_bytes: highest of all other processes.
        idle_bytes: of the whole card before the run.
        sm_clock_mhz: (lowest, highest) of the multiprocessors.
        temperature_c: highest.
        throttle_reasons: NVML's names of all that occurred; none where nothing throttled.
        busy_share: of the time of the last looks, in which a kernel ran (0 to 1); None where NVML is silent.
    """

    samples: int
    process_bytes: int = 0
    last_bytes: int = 0
    card_bytes: int = 0
    others_bytes: int = 0
    idle_bytes: int = 0
    sm_clock_mhz: tuple[int, int] = (0, 0)
    temperature_c: int = 0
    throttle_reasons: tuple[str, ...] = ()
    busy_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One real run.

    Attributes:
        warmup_steps, steps: before and while time was taken.
        data_seconds: fetching and normalising a batch, per step.
        forward_seconds, backward_seconds, optimizer_seconds: by the device's own clock; clipping belongs to
            the optimizer.
        step_memory: one entry per step, warm-up included; none on the CPU.
        spike_reserved_bytes: how far the highest reserved bytes of any step exceed those of the last:
            what cuDNN takes once for each new shape while it tries its plans.
        allocator_retries, allocator_ooms: `num_alloc_retries` and `num_ooms` of the whole run.
        cap_bytes: what the allocator was held to, or None.
        context_bytes: what the process held beside its segments on this very card, when its steps had
            settled; 0 where NVML did not tell.
        cudnn_benchmark: whether cuDNN tried its plans.
        live_tensor_bytes: highest bytes of live tensors of the last step, counted by the tracer's recorder;
            on the CPU only.
        resident_bytes: highest resident memory of the process.
        card: what NVML saw; None without it.
        command: what repeats the run.
        date: ISO 8601.
        stderr: the last lines that a failed worker wrote.
        resolution_bytes: by `allocated` or `process`, half a unit of the last digit of what a log printed; a
            number without one is exact.
    """

    warmup_steps: int = 0
    steps: int = 0
    data_seconds: Spread | None = None
    forward_seconds: Spread | None = None
    backward_seconds: Spread | None = None
    optimizer_seconds: Spread | None = None
    step_memory: tuple[StepMemory, ...] = ()
    spike_reserved_bytes: int = 0
    allocator_retries: int = 0
    allocator_ooms: int = 0
    cap_bytes: int | None = None
    context_bytes: int = 0
    cudnn_benchmark: bool = True
    live_tensor_bytes: int = 0
    resident_bytes: int = 0
    card: CardUse | None = None
    command: str = ""
    date: str = ""
    stderr: tuple[str, ...] = ()
    resolution_bytes: Mapping[str, int] = field(default_factory=dict)
