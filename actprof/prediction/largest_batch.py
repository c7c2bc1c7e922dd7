"""The largest batch size of a traced policy on a device: the likely one, and the one that surely runs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from actprof.allocator.config import AllocatorConfig
from actprof.cell import Cell
from actprof.prediction.boundary import find_boundary
from actprof.prediction.plan_band import surely_runs
from actprof.replay.replay import Device, replay
from actprof.results import MOST_BATCH_SIZE
from actprof.trace.cache import trace_for
from actprof.trace.model import Trace


def largest_batch(cell: Cell, trace: Trace, config: AllocatorConfig, device: Device) -> int | None:
    """Return the largest batch size that runs; None when the trace holds for one batch size only."""
    parts = cell.micro_batches
    if trace.fixed_batch_size == parts:
        trace, _ = trace_for(replace(cell, batch_size=2 * parts))
    if trace.fixed_batch_size is not None:
        return None
    if not device.available_bytes:
        return 0
    boundary = _boundary_of(trace, config, device, parts)
    if boundary:
        return boundary
    single, _ = trace_for(replace(cell, batch_size=parts))  # a part of one sample has a trace of its own
    return parts * int(replay(single, parts, config=config, device=device).oom is None)


def surely_largest(
    cell: Cell, trace: Trace, config: AllocatorConfig, device: Device, *, at_most: int | None
) -> int | None:
    """Return the largest batch size up to `at_most` that runs whichever plans cuDNN takes.

    None when the largest batch size is not known; of a run without choices it is `at_most`.
    """
    choices = device.kernels is not None and device.kernels.benchmark
    if at_most is None or not choices or trace.fixed_batch_size is not None:
        return at_most
    return _surely_of(trace, config, device, cell.micro_batches, at_most)


@lru_cache(maxsize=256)
def _surely_of(trace: Trace, config: AllocatorConfig, device: Device, parts: int, at_most: int) -> int:
    sizes = range(at_most, parts, -parts)
    return next(
        (size for size in sizes if surely_runs(trace, size, config=config, device=device)),
        min(at_most, parts),
    )


@lru_cache(maxsize=256)
def _boundary_of(trace: Trace, config: AllocatorConfig, device: Device, parts: int = 1) -> int:
    """Return the largest batch size of `parts` equal parts that runs; parts of a single sample left out."""

    def runs(samples: int) -> bool:
        size = max(samples, 2) * parts  # what two samples can, one can
        return replay(trace, size, config=config, device=device).oom is None

    return find_boundary(runs, at_most=_most_that_could_run(trace, device) // parts) * parts


def _most_that_could_run(trace: Trace, device: Device) -> int:
    """Return a batch size above which the bytes alive at once exceed what the device can give."""
    signs = np.sign(trace.events)
    tensors = np.abs(trace.events) - 1
    constant = np.cumsum(signs * trace.tensors.constant[tensors])
    per_sample = np.cumsum(signs * trace.tensors.per_sample[tensors])
    room = (device.available_bytes or 0) - constant
    growing = per_sample > 0
    if not growing.any():
        return MOST_BATCH_SIZE
    return max(int((room[growing] // per_sample[growing]).min()), 0)
