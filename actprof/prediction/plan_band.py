"""How much repeated runs of one command differ, because `cudnn.benchmark` chooses plans by time.

No single figure can be right of such a run. So it is replayed with other choices too: some drawn as often as
they were seen, and one in which every convolution takes the plan with the largest workspace. What a run
reserves is a whole number of segments, so the band of reserved bytes goes one segment further on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from actprof.replay.kernel_bytes import MOST
from actprof.replay.profile import MemoryProfile
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.model import Trace
from actprof.units import MIB

_DRAWS = tuple(range(1, 10))
_EXPANDABLE_DRAWS = _DRAWS[:3]  # segments that grow differ by what is alive at once, not by how it is cut up
_SURE_DRAWS = (MOST, 1, 2)
_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """(low, high) of the peaks of a settled step, and the most that any of the runs ever reserved."""

    allocated: tuple[int, int]
    reserved: tuple[int, int]
    most_reserved_bytes: int


def memory_band(trace: Trace, conditions: ReplayConditions, likely: MemoryProfile) -> Band:
    """Return the band of runs like `likely`, without limit; one figure where nothing is chosen by time."""
    draws = _EXPANDABLE_DRAWS if conditions.config.expandable_segments else _DRAWS
    drawn = [replay(trace, likely.batch_size, other) for other in _other_choices(conditions, draws)]
    runs = [likely, *drawn]
    allocated = [run.peak_allocated_bytes for run in runs]
    reserved = [run.peak_reserved_bytes for run in runs]
    further = _SEGMENT_BYTES if drawn else 0
    return Band(
        allocated=(min(allocated), max(allocated)),
        reserved=(min(reserved) - further, max(reserved) + further),
        most_reserved_bytes=max(run.most_reserved_bytes for run in runs),
    )


def surely_runs(trace: Trace, batch_size: int, conditions: ReplayConditions) -> bool:
    """Return whether `batch_size`, which likely runs, does so whichever plans cuDNN takes."""
    others = _other_choices(conditions, _SURE_DRAWS)  # the most demanding first
    return all(replay(trace, batch_size, other).oom is None for other in others)


def _other_choices(conditions: ReplayConditions, draws: tuple[int, ...]) -> Iterator[ReplayConditions]:
    kernels = conditions.kernels
    if kernels is not None and kernels.benchmark:
        for draw in draws:
            yield replace(conditions, kernels=replace(kernels, draw=draw))
