"""A step played through: the host launches kernel by kernel and runs ahead, the device works in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_QUEUE = 1024  # launches that wait before the host has to
_LATENCY = 4e-6  # from a launch to the start of its kernel; an estimate


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel: what it costs the host, and the device; `waits` where the host needs its value."""

    host: float
    device: float
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Played:
    """When everything happened, in seconds from the start of the step.

    Attributes:
        launched: when the host was done with each launch, shape (launches,).
        began, ended: of the device's work on each.
        seconds: until both are done.
        host_seconds: in which the host was at work, waits left out.
        device_seconds: in which the device was.
        idle_seconds: in which it had nothing to do.
    """

    launched: Floats
    began: Floats
    ended: Floats
    seconds: float
    host_seconds: float
    device_seconds: float
    idle_seconds: float


def play(launches: Sequence[Launch], *, gap: float, wait: float, around: float) -> Played:
    """Play the launches of a step.

    Args:
        launches: in order.
        gap: seconds between two kernels that wait in the queue.
        wait: seconds of the host to go on after a value came.
        around: seconds of the host besides, half of them before the first launch.
    """
    now, free, host, busy = around / 2, 0.0, around, 0.0
    launched: list[float] = []
    began: list[float] = []
    ended: list[float] = []
    queue: deque[float] = deque()
    for launch in launches:
        now += launch.host
        host += launch.host
        start = max(now + _LATENCY, free + gap)
        free = start + launch.device
        busy += launch.device
        launched.append(now)
        began.append(start)
        ended.append(free)
        queue.append(free)
        if len(queue) > _QUEUE:
            now = max(now, queue.popleft())
        if launch.waits:
            now = max(now, free) + wait
            queue.clear()
    end = max(now + around / 2, free)
    return Played(
        launched=np.array(launched),
        began=np.array(began),
        ended=np.array(ended),
        seconds=end,
        host_seconds=host,
        device_seconds=busy,
        idle_seconds=end - busy,
    )
