"""What a parent asks of a worker process, and what the worker answers. Plain records that travel as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from actprof.cell import Cell
from actprof.measurement import DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory
from actprof.processes.ask import TIMEOUT_SECONDS, Progress, ask_worker

WORKER = (sys.executable, "-m", "actprof.measuring.worker")
WARMUP_STEPS = 2
LEAST_STEPS = 5
MOST_STEPS = 50
MOST_SECONDS = 20.0
PURPOSES = ("time", "snapshot", "lines")


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
    warmup_steps: int = WARMUP_STEPS
    least_steps: int = LEAST_STEPS
    most_steps: int = MOST_STEPS
    most_seconds: float = MOST_SECONDS
    steps: int | None = None
    snapshot: str = ""

    def with_batch_size(self, batch_size: int) -> Self:
        """Return the same request for another batch size."""
        return replace(self, cell=replace(self.cell, batch_size=batch_size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a worker found.

    Attributes:
        device: where it ran.
        encoder_tokens, parameters: of the policy; 0 when the run ended before they were known.
        step_seconds: of `update_policy`; None when no timed step was finished.
        measurement: the rest.
        oom: the allocation that found no memory.
        text: the table of source lines, for `lines`.
    """

    device: DeviceFacts
    encoder_tokens: int = 0
    parameters: int = 0
    step_seconds: Spread | None = None
    measurement: Measurement = field(default_factory=Measurement)
    oom: OutOfMemory | None = None
    text: str = ""


def run_worker(
    request: Request,
    *,
    environment: Mapping[str, str | None] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
    started: Callable[[int], None] | None = None,
    answered: Callable[[], None] | None = None,
    command: Sequence[str] = WORKER,
) -> Answer:
    """Run `request` in a process of its own and return its answer; see `ask_worker`."""
    return ask_worker(
        request, Answer, command,
        environment=environment, timeout=timeout, progress=progress, started=started, answered=answered,
    )  # fmt: skip
