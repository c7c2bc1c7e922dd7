"""What DDP adds to a step: gradients are averaged over the GPUs, bucket by bucket, while backward goes on.

A bucket of 25 MiB, the first of one, goes out when its last gradient is there and the one before it is
through; what is not hidden behind the backward pass makes the step longer (c10d/reducer.cpp). A ring of N
GPUs moves 2 (N - 1) / N of the bytes through each link (NCCL's documentation of bus bandwidth). Of several
batches for one update the last one sends; its backward pass is taken to go as that of the first, in which the
gradients are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from actprof.hardware.gpu import Gpu
from actprof.step_time.step import BACKWARD, PlayedStep
from actprof.trace.model import KINDS, Trace

_FIRST_BUCKET_BYTES, _BUCKET_BYTES = 2**20, 25 * 2**20
_GRADIENTS = KINDS.index("gradients")


@dataclass(frozen=True, slots=True)
class Link:
    """Between the GPUs of one machine: bytes per second through each (bus bandwidth), seconds at least.

    Figures are estimates, of messages of 25 MiB, from public results of nccl-tests.
    """

    name: str
    bandwidth: float
    latency: float


# NVLink of the fourth generation (900 GB/s in both directions) reaches 370 GB/s with large messages and about
# half with these; through the host's memory, as with GeForce cards, which have no direct way, some 10.
_NVLINK_SHARE = 0.2
NVLINK = Link("NVLink", _NVLINK_SHARE * 900e9, 30e-6)
PCIE = Link("PCIe 4.0 through the host", 10e9, 60e-6)


def link_of(gpu: Gpu) -> Link:
    """Return what joins several such GPUs of one machine."""
    if gpu.nvlink_bytes_per_s is None:
        return PCIE
    return Link(NVLINK.name, _NVLINK_SHARE * gpu.nvlink_bytes_per_s, NVLINK.latency)


def gradient_bytes(step: PlayedStep, trace: Trace, batch_size: int) -> int:
    """Return how much the GPUs send each other of: all gradients."""
    return sum(size for _ready, size in _buckets(step, trace, batch_size))


def ddp_seconds(step: PlayedStep, trace: Trace, batch_size: int, *, gpus: int, link: Link) -> float:
    """Return the seconds of the step on each of so many GPUs; that of one where nothing is trained."""
    buckets = list(_buckets(step, trace, batch_size))
    if not buckets:
        return step.played.seconds
    runs = groupby(range(len(step.rows)), lambda place: _is_backward(trace, step.rows[place]))
    first = next(list(places) for is_backward, places in runs if is_backward)
    through = 0.0
    for ready, size in buckets:
        through = max(ready, through) + link.latency + 2 * (gpus - 1) / gpus * size / link.bandwidth
    return step.played.seconds + max(through - float(step.played.ended[first[-1]]), 0.0)


def _is_backward(trace: Trace, row: int) -> bool:
    return int(trace.ops.phase[row]) == BACKWARD


def _buckets(step: PlayedStep, trace: Trace, batch_size: int) -> Iterator[tuple[float, int]]:
    """Yield (when its last gradient is there, bytes) of each bucket, filled in the order of the gradients."""
    last = {row: place for place, row in enumerate(step.rows)}
    tensors = trace.tensors
    born = np.flatnonzero((tensors.kind == _GRADIENTS) & np.isin(tensors.op, list(last)))
    sizes = tensors.requested_bytes(batch_size)
    ready, full, most = 0.0, 0, _FIRST_BUCKET_BYTES
    for tensor in born.tolist():
        row = int(tensors.op[tensor])
        if not _is_backward(trace, row):
            continue
        ready = max(ready, float(step.played.ended[last[row]]))
        full += int(sizes[tensor])
        if full >= most:
            yield ready, full
            full, most = 0, _BUCKET_BYTES
    if full:
        yield ready, full
