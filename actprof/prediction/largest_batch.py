"""The largest batch size of a traced policy on a device: the likely one, and the one that surely runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from actprof.cell import Cell
from actprof.prediction.plan_band import surely_runs
from actprof.replay.replay import ReplayConditions, replay
from actprof.results import MOST_BATCH_SIZE
from actprof.trace.cache import trace_for
from actprof.trace.model import Trace

_NEIGHBOURS = 3


def largest_batch(cell: Cell, trace: Trace, conditions: ReplayConditions) -> int | None:
    """Return the largest batch size that runs; None when the trace holds for one batch size only."""
    parts = cell.micro_batches
    if trace.fixed_batch_size == parts:
        trace, _ = trace_for(replace(cell, batch_size=2 * parts))
    if trace.fixed_batch_size is not None:
        return None
    if not _available_bytes(conditions):
        return 0
    boundary = _boundary_of(trace, conditions, parts)
    if boundary:
        return boundary
    single, _ = trace_for(replace(cell, batch_size=parts))  # a part of one sample has a trace of its own
    return parts * int(replay(single, parts, conditions).oom is None)


def surely_largest(
    cell: Cell, trace: Trace, conditions: ReplayConditions, *, at_most: int | None
) -> int | None:
    """Return the largest batch size up to `at_most` that runs whichever plans cuDNN takes.

    None when the largest batch size is not known; of a run without choices it is `at_most`.
    """
    choices = conditions.kernels is not None and conditions.kernels.benchmark
    if at_most is None or not choices or trace.fixed_batch_size is not None:
        return at_most
    return _surely_of(trace, conditions, cell.micro_batches, at_most)


@lru_cache(maxsize=256)
def _surely_of(trace: Trace, conditions: ReplayConditions, parts: int, at_most: int) -> int:
    sizes = range(at_most, parts, -parts)
    return next((size for size in sizes if surely_runs(trace, size, conditions)), min(at_most, parts))


@lru_cache(maxsize=256)
def _boundary_of(trace: Trace, conditions: ReplayConditions, parts: int = 1) -> int:
    """Return the largest batch size of `parts` equal parts that runs; parts of a single sample left out."""

    def runs(samples: int) -> bool:
        size = max(samples, 2) * parts  # what two samples can, one can
        return replay(trace, size, conditions).oom is None

    return find_boundary(runs, at_most=_most_that_could_run(trace, conditions) // parts) * parts


def _available_bytes(conditions: ReplayConditions) -> int:
    return 0 if conditions.device is None else conditions.device.available_bytes


def _most_that_could_run(trace: Trace, conditions: ReplayConditions) -> int:
    """Return a batch size above which the bytes alive at once exceed what the device can give."""
    signs = np.sign(trace.events)
    tensors = np.abs(trace.events) - 1
    constant = np.cumsum(signs * trace.tensors.constant[tensors])
    per_sample = np.cumsum(signs * trace.tensors.per_sample[tensors])
    room = _available_bytes(conditions) - constant
    growing = per_sample > 0
    if not growing.any():
        return MOST_BATCH_SIZE
    return max(int((room[growing] // per_sample[growing]).min()), 0)


def find_boundary(runs: Callable[[int], bool], *, at_most: int = MOST_BATCH_SIZE) -> int:
    """Return the largest batch size for which `runs` holds, and for those right below it; 0 for none.

    Whether a run fits need not be monotonic in the batch size (a larger block can leave less slack). A size
    that runs although a smaller one does not is luck, which the next version of a library ends. No size
    above `at_most` can run (a bound from the bytes that are alive at once).
    """
    answers: dict[int, bool] = {}

    def holds(size: int) -> bool:
        if size not in answers:
            answers[size] = runs(size)
        return answers[size]

    top = min(at_most, MOST_BATCH_SIZE)
    if top < 1:
        return 0
    boundary = _bisect(holds, top)
    while boundary:
        below = range(max(boundary - _NEIGHBOURS, 1), boundary + 1)
        gap = next((size for size in below if not holds(size)), None)
        if gap is None:
            return boundary
        boundary = gap - 1
    return 0


def _bisect(holds: Callable[[int], bool], top: int) -> int:
    """Return a batch size that holds while the next does not, searching down from `top`; 0 if none."""
    if holds(top):
        return top
    fails, step = top, max(top // 32, 1)
    low = max(top - step, 0)
    while low > 0 and not holds(low):
        fails, step = low, step * 2
        low = max(low - step, 0)
    while fails - low > 1:
        middle = (low + fails) // 2
        if holds(middle):
            low = middle
        else:
            fails = middle
    return low
