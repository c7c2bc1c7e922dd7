"""The `MemoryProfile`: what a replay of a trace found. A plain record; sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.out_of_memory import OutOfMemory
from actprof.results import MemoryCurve
from actprof.trace.model import PHASES


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Bytes after every event of a replay, in order, each of shape (events,).

    `phase` is an index into `PHASES` per event, `step_starts` the index of each step's first event.
    """

    allocated: NDArray[np.int64]
    reserved: NDArray[np.int64]
    phase: NDArray[np.int64]
    step_starts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryProfile:
    """What a replay found.

    Attributes:
        batch_size: samples per step.
        steps: steps replayed until nothing changed any more, or it ran out.
        peak_allocated_bytes: highest since the start of the last step's `update_policy`
            (`torch.cuda.max_memory_allocated`, lerobot's `mem_gb`).
        peak_reserved_bytes: the same of `torch.cuda.max_memory_reserved`.
        most_reserved_bytes: highest of the whole run.
        peak_requested_bytes: what the program asked for of the peak; the rest is rounding and slack.
        settled: whether the last steps left the segments as they found them; False when they kept growing.
        retries: how often the allocator flushed its cache to satisfy a request.
        oom: the allocation that ran out, or None.
        alive_at_peak: tensors of the trace that are alive at the (first) highest moment of the last
            step, or, if it ran out, at that moment; only with `detail=True`.
        peak_event: event of the trace at that moment; -1 without detail.
        timeline: only with `detail=True`.
    """

    batch_size: int
    steps: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    most_reserved_bytes: int
    peak_requested_bytes: int
    retries: int
    settled: bool = True
    oom: OutOfMemory | None = None
    alive_at_peak: NDArray[np.int64] | None = None
    peak_event: int = -1
    timeline: Timeline | None = None


def thin(timeline: Timeline, *, points: int = 400) -> MemoryCurve:
    """Return what a screen can show: the highest values within at most `points` equal stretches."""
    count = len(timeline.allocated)
    starts = np.unique(np.linspace(0, count, min(points, count), endpoint=False).astype(np.int64))
    phases = timeline.phase[starts].tolist()
    changes = [i for i, phase in enumerate(phases) if i == 0 or phase != phases[i - 1]]
    return MemoryCurve(
        allocated_bytes=tuple(np.maximum.reduceat(timeline.allocated, starts).tolist()),
        reserved_bytes=tuple(np.maximum.reduceat(timeline.reserved, starts).tolist()),
        phases=tuple((i, PHASES[phases[i]]) for i in changes),
        steps=tuple(int(np.searchsorted(starts, start)) for start in timeline.step_starts),
    )
