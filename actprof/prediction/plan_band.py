"""How much repeated runs of one command differ, because `cudnn.benchmark` chooses plans by time.

No single figure can be right of such a run. So it is replayed with other choices too: some drawn as often as
they were seen, and one in which every convolution takes the plan with the largest workspace. What a run
reserves is a whole number of segments, so the band of reserved bytes goes one segment further on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from actprof.cudnn import Convolution
from actprof.replay.kernel_bytes import LIKELY, MOST, chosen_workspace
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
    _likely, *others = _choices(trace, likely.batch_size, conditions, (LIKELY, *draws))
    runs = [likely, *(replay(trace, likely.batch_size, other) for other in others)]
    allocated = [run.peak_allocated_bytes for run in runs]
    reserved = [run.peak_reserved_bytes for run in runs]
    chosen = _are_chosen_by_time(conditions) and _convolutions(trace, likely.batch_size)
    further = _SEGMENT_BYTES if chosen else 0
    return Band(
        allocated=(min(allocated), max(allocated)),
        reserved=(min(reserved) - further, max(reserved) + further),
        most_reserved_bytes=max(run.most_reserved_bytes for run in runs),
    )


def surely_runs(trace: Trace, batch_size: int, conditions: ReplayConditions) -> bool:
    """Return whether `batch_size`, which likely runs, does so whichever plans cuDNN takes."""
    if not _are_chosen_by_time(conditions):
        return True
    others = _choices(trace, batch_size, conditions, _SURE_DRAWS)  # the most demanding first
    return all(replay(trace, batch_size, other).oom is None for other in others)


def _are_chosen_by_time(conditions: ReplayConditions) -> bool:
    return conditions.kernels is not None and conditions.kernels.benchmark


def _choices(
    trace: Trace, batch_size: int, conditions: ReplayConditions, draws: tuple[int, ...]
) -> Iterator[ReplayConditions]:
    """Yield the conditions of each draw; of those with the same workspaces, and so the same replay, one."""
    kernels = conditions.kernels
    if kernels is None or not kernels.benchmark:
        yield conditions
        return
    convolutions = _convolutions(trace, batch_size)
    seen = set()
    for draw in draws:
        drawn = replace(kernels, draw=draw)
        workspaces = tuple(chosen_workspace(problem, drawn) for problem in convolutions)
        if workspaces not in seen:
            seen.add(workspaces)
            yield replace(conditions, kernels=drawn)


def _convolutions(trace: Trace, batch_size: int) -> list[Convolution]:
    problems = (problem.at(batch_size) for problem in trace.problems)
    return [problem for problem in problems if isinstance(problem, Convolution)]
