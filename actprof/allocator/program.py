"""A trace's events with the workspaces of the matrix libraries put in: what one GPU's allocator sees.

The trace says what the program asks for. cuBLAS and cuBLASLt take their workspaces from the same allocator,
at a size that depends on the architecture: one per handle, and every thread that multiplies has a handle of
its own, so one at the first matrix product of the forward pass and one at the first of the backward pass
(aten/src/ATen/cuda/CublasHandlePool.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from actprof.trace.model import PHASES, Trace

_BACKWARD = PHASES.index("backward")
_CUBLASLT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspaces:
    """What the matrix libraries take, in bytes.

    Attributes:
        cublas_bytes: of one cuBLAS handle.
        cublaslt_bytes: of one cuBLASLt handle, or of one call.
        cublaslt_lifetime: `handle` when it is kept, `call` when it lives for one call, `shared` for none.
    """

    cublas_bytes: int = 0
    cublaslt_bytes: int = 0
    cublaslt_lifetime: Literal["call", "handle", "shared"] = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a replay runs; positions are indices into `events`.

    Attributes:
        events: as in `Trace`; tensors from the trace's number of tensors on are workspaces.
        workspace_sizes: bytes of each workspace.
        workspace_ops: row of the op that asked for it.
        step_starts, update_starts: position per step.
        phase_starts: (position, index into `PHASES`) wherever the phase changes.
    """

    events: list[int]
    workspace_sizes: tuple[int, ...]
    workspace_ops: tuple[int, ...]
    step_starts: tuple[int, ...]
    update_starts: tuple[int, ...]
    phase_starts: tuple[tuple[int, int], ...]


@lru_cache(maxsize=32)
def build_program(trace: Trace, workspaces: Workspaces) -> Program:
    """Return the events of `trace` with `workspaces` put in where the libraries ask for them."""
    requests = _requests(trace, workspaces)
    events: list[int] = []
    recorded = trace.events.tolist()
    moved = np.zeros(len(recorded) + 1, dtype=np.int64)  # how far each position has moved
    start = 0
    for position, extra in sorted(_positions(trace, requests), key=lambda item: item[0]):
        events += recorded[start:position]
        events += extra
        moved[position:] += len(extra)
        start = position
    events += recorded[start:]
    return Program(
        events=events,
        workspace_sizes=tuple(size for _row, size, _kept in requests),
        workspace_ops=tuple(row for row, _size, _kept in requests),
        step_starts=tuple(int(i + moved[i]) for i in trace.step_starts),
        update_starts=tuple(int(i + moved[i]) for i in trace.update_starts),
        phase_starts=tuple((int(i + moved[i]), phase) for i, phase in trace.phase_starts),
    )


def _requests(trace: Trace, workspaces: Workspaces) -> list[tuple[int, int, bool]]:
    """Return (row of the op, bytes, kept) of every workspace that is asked for, in order."""
    requests: list[tuple[int, int, bool]] = []
    handles: set[tuple[bool, str]] = set()
    for row in np.flatnonzero(trace.ops.blas).tolist():
        thread = bool(trace.ops.phase[row] == _BACKWARD)
        if trace.ops.blas[row] == _CUBLASLT and workspaces.cublaslt_bytes:
            kept = workspaces.cublaslt_lifetime == "handle"
            if not kept or (thread, "lt") not in handles:
                requests.append((row, workspaces.cublaslt_bytes, kept))
                handles.add((thread, "lt"))
        if workspaces.cublas_bytes and (thread, "blas") not in handles:
            requests.append((row, workspaces.cublas_bytes, True))
            handles.add((thread, "blas"))
    return requests


def _positions(trace: Trace, requests: list[tuple[int, int, bool]]) -> list[tuple[int, list[int]]]:
    """Return (position in the trace, events to put in) of every request: after the op's own allocations."""
    allocations = np.flatnonzero(trace.events > 0)  # positions; their ops rise
    rows = trace.tensors.op[trace.events[allocations] - 1]
    count = len(trace.tensors.constant)
    placed = []
    for index, (row, _size, kept) in enumerate(requests):
        behind = int(np.searchsorted(rows, row, side="right"))
        tensor = count + index
        position = int(allocations[behind - 1]) + 1 if behind else 0
        placed.append((position, [tensor + 1] if kept else [tensor + 1, -(tensor + 1)]))
    return placed
