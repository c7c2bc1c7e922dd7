"""The course of a replay with its memory by kind: stacked at every point, thinned, peaks kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.prediction.attribution import SLACK, WORKSPACES
from actprof.replay.profile import MemoryProfile, Timeline
from actprof.replay.program import Program
from actprof.trace.model import KINDS, PHASES

_POINTS = 600  # at most


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCourse:
    """Allocated bytes by kind, one value per point; a point is the highest moment of a stretch of events.

    Attributes:
        by_kind: bytes per point; over all kinds they add up to `allocated_bytes` at each point.
        allocated_bytes, reserved_bytes: per point, at that moment.
        phases: (index of the first point, phase) wherever the phase changes.
        steps: index of each step's first point.
        moment: index of the point of the moment that is explained; the last one where memory runs out.
    """

    by_kind: Mapping[str, tuple[int, ...]]
    allocated_bytes: tuple[int, ...]
    reserved_bytes: tuple[int, ...]
    phases: tuple[tuple[int, str], ...]
    steps: tuple[int, ...]
    moment: int


def follow_kinds(profile: MemoryProfile, program: Program) -> KindCourse:
    """Return the course of a replay with `detail=True` in some points, of which one is the profile's moment.

    Raises:
        ValueError: the profile has no detail.
    """
    timeline = profile.timeline
    if timeline is None:
        raise ValueError("the profile was replayed without detail")
    positions = _positions(program, timeline)
    kinds = _kinds_over_time(program, positions)
    moment = len(positions) - 1
    if profile.oom is None:
        moment = timeline.step_starts[-1] + profile.peak_event - program.step_starts[-1]
    shown, starts = _highest_points(timeline.allocated, moment)
    phases = timeline.phase[shown].tolist()
    changes = [i for i, phase in enumerate(phases) if i == 0 or phase != phases[i - 1]]
    slack = timeline.allocated - sum(kinds.values(), np.zeros(len(positions), dtype=np.int64))
    return KindCourse(
        by_kind={
            kind: tuple(values[shown].tolist())
            for kind, values in {**kinds, SLACK: slack}.items()
            if values[shown].any()
        },
        allocated_bytes=tuple(timeline.allocated[shown].tolist()),
        reserved_bytes=tuple(timeline.reserved[shown].tolist()),
        phases=tuple((i, PHASES[phases[i]]) for i in changes),
        steps=tuple(int(np.searchsorted(starts, start)) for start in timeline.step_starts),
        moment=int(np.searchsorted(shown, moment)) if len(shown) else 0,
    )


def _positions(program: Program, timeline: Timeline) -> NDArray[np.int64]:
    """Return the program's position of every point in time: once through, then the last step again."""
    count, first = len(timeline.allocated), len(program.events)
    again = program.step_starts[-1]
    times = np.arange(count, dtype=np.int64)
    return np.where(times < first, times, again + (times - first) % max(first - again, 1))


def _kinds_over_time(program: Program, positions: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return the requested bytes of each kind after every event."""
    sizes = np.array(program.sizes, dtype=np.int64)
    kinds = np.array(program.kinds, dtype=np.int64)
    events = np.array(program.events, dtype=np.int64)[positions]
    tensors = np.maximum(np.abs(events) - 1, 0)
    change = np.sign(events) * sizes[tensors]
    names = (*KINDS, WORKSPACES)
    return {name: np.cumsum(np.where(kinds[tensors] == index, change, 0)) for index, name in enumerate(names)}


def _highest_points(allocated: NDArray[np.int64], moment: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the highest event of each stretch, the moment in its own, and where each stretch starts."""
    count = len(allocated)
    starts = np.unique(np.linspace(0, count, min(_POINTS, count), endpoint=False).astype(np.int64))
    ends = [*starts[1:].tolist(), count][: len(starts)]
    shown = [
        moment if start <= moment < end else start + int(allocated[start:end].argmax())
        for start, end in zip(starts.tolist(), ends, strict=True)
    ]
    return np.array(shown, dtype=np.int64), starts
