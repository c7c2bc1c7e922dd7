"""Thin a timeline to what a screen can show, keeping every peak."""

from __future__ import annotations

import numpy as np

from actprof.replay.profile import Timeline
from actprof.results import MemoryCurve
from actprof.trace.model import PHASES

POINTS = 400


def thin(timeline: Timeline, *, points: int = POINTS) -> MemoryCurve:
    """Return the highest values within at most `points` equal stretches of events."""
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
