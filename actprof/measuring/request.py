"""What is asked of a process that runs one cell, and what it answers. Plain records that pickle."""

from __future__ import annotations

from dataclasses import dataclass, field

from actprof.cell import Cell
from actprof.measurement import DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One run of one cell.

    Attributes:
        cell: what to run.
        purpose: `time` measures steps; `snapshot` records the allocator's history from the start, `lines`
            profiles source lines: both make steps slow, so that they run in a process of their own.
        device_type: `cuda` (the only GPU that the process sees) or `cpu`.
        index, driver: of the GPU, as NVML has them.
        cap_bytes: what the allocator may reserve, or None.
        warmup_steps: before time is taken.
        least_steps, most_steps: how many are timed at least and at most.
        most_seconds: after so many no further step is begun, once the least are done.
        steps: run exactly so many, warm-up included; None lets the time decide.
        snapshot: where to leave the snapshot.
    """

    cell: Cell
    purpose: str = "time"
    device_type: str = "cuda"
    index: int = 0
    driver: str = ""
    cap_bytes: int | None = None
    warmup_steps: int = 2
    least_steps: int = 5
    most_steps: int = 50
    most_seconds: float = 20.0
    steps: int | None = None
    snapshot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a worker found; 0 and None stand for what the run ended too early for.

    `step_seconds` are those of `update_policy`; `text` is the table of source lines, for `lines`.
    """

    device: DeviceFacts
    encoder_tokens: int = 0
    parameters: int = 0
    step_seconds: Spread | None = None
    measurement: Measurement = field(default_factory=Measurement)
    oom: OutOfMemory | None = None
    text: str = ""
