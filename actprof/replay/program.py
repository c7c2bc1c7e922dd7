"""A trace's events as one GPU's allocator sees them at one batch size.

The trace says what the program asks for. What kernels take inside depends on the GPU, and so do the
workspaces of the matrix libraries: cuBLAS and cuBLASLt take one per handle, and every thread that multiplies
has a handle of its own, so one at the first matrix product of the forward pass and one at the first of the
backward pass (aten/src/ATen/cuda/CublasHandlePool.cpp). With `cudnn.benchmark` every new convolution of a
thread tries its plans first (`run_single_conv` in aten/src/ATen/native/cudnn/Conv_v8.cpp).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actprof.cudnn import Convolution
from actprof.errors import UsageError
from actprof.hardware import Workspaces
from actprof.replay.kernel_bytes import Kernels, sizes_of
from actprof.trace.model import KINDS, PHASES, Trace

_BACKWARD = PHASES.index("backward")
_CUBLASLT = 2
WORKSPACE_KIND = len(KINDS)
_MOST_BYTES = 1 << 60  # alive at once: a quarter of all addresses, which are not filled without gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a replay runs; positions are indices into `events`.

    Attributes:
        events: as in `Trace`; tensors from the trace's number of tensors on are workspaces of the matrix
            libraries. What takes no bytes on this GPU is left out.
        sizes: requested bytes of each tensor.
        ops: row of the op that asked for each tensor.
        kinds: index into `KINDS`, or `WORKSPACE_KIND`, of each tensor.
        streams: the stream that asks for each tensor; 0 is the default stream.
        step_starts, update_starts: position per step.
        phase_starts: (position, index into `PHASES`) wherever the phase changes.
        trials: position of each convolution that tries its plans before the event there, which ends with
            an empty cache; sorted.
        convolutions: the problem of each tensor that is cuDNN's workspace.
    """

    events: list[int]
    sizes: list[int]
    ops: list[int]
    kinds: list[int]
    streams: list[int]
    step_starts: tuple[int, ...]
    update_starts: tuple[int, ...]
    phase_starts: tuple[tuple[int, int], ...]
    trials: tuple[int, ...] = ()
    convolutions: dict[int, Convolution] = field(default_factory=dict)


@lru_cache(maxsize=32)
def build_program(
    trace: Trace, batch_size: int, workspaces: Workspaces, kernels: Kernels | None = None
) -> Program:
    """Return the events of `trace` at `batch_size` with what libraries and kernels take put in.

    Without `kernels` all that depends on the GPU's is left out.

    Raises:
        UsageError: a batch beyond all addresses.
    """
    _check_addresses(trace, batch_size)
    requests = _requests(trace, workspaces)
    count = len(trace.tensors.op)
    sizes = trace.tensors.requested_bytes(batch_size)
    solved = _solve(trace, batch_size, kernels, sizes)
    events, moved = _with_requests(trace, requests)
    tensors = np.abs(events) - 1
    kept = (tensors >= count) | (sizes[np.minimum(tensors, count - 1)] > 0)
    before = np.concatenate([[0], np.cumsum(kept)])

    def place(position: int) -> int:
        return int(before[position + moved[position]])

    kinds = np.where(np.isin(trace.tensors.problem, list(solved)), WORKSPACE_KIND, trace.tensors.kind)
    return Program(
        events=events[kept].tolist(),
        sizes=[*sizes.tolist(), *(size for _row, size, _kept in requests)],
        ops=[*trace.tensors.op.tolist(), *(row for row, _size, _kept in requests)],
        kinds=[*kinds.tolist(), *(WORKSPACE_KIND for _ in requests)],
        streams=[*trace.tensors.stream.tolist(), *(0 for _ in requests)],
        step_starts=tuple(place(i) for i in trace.step_starts),
        update_starts=tuple(place(i) for i in trace.update_starts),
        phase_starts=tuple((place(i), phase) for i, phase in trace.phase_starts),
        trials=tuple(map(place, _first_solutions(trace, solved) if kernels and kernels.benchmark else ())),
        convolutions={
            tensor: solved[problem]
            for tensor, problem in enumerate(trace.tensors.problem.tolist())
            if problem in solved
        },
    )


def _check_addresses(trace: Trace, batch_size: int) -> None:
    signs, tensors = np.sign(trace.events), np.abs(trace.events) - 1
    sizes = trace.tensors.constant + trace.tensors.per_sample.astype(np.float64) * batch_size
    if np.cumsum(signs * sizes[tensors]).max(initial=0) > _MOST_BYTES:
        raise UsageError(
            f"batch_size is {batch_size}, for whose bytes there are no addresses; give a smaller one"
        )


def _solve(
    trace: Trace, batch_size: int, kernels: Kernels | None, sizes: NDArray[np.int64]
) -> dict[int, Convolution]:
    """Fill in the bytes of every problem's parts; return the convolutions by their index."""
    solved: dict[int, Convolution] = {}
    if kernels is None:
        return solved
    for index, problem in enumerate(trace.problems):
        at = problem.at(batch_size)
        if isinstance(at, Convolution):
            solved[index] = at
        mine = trace.tensors.problem == index
        for part, size in enumerate(sizes_of(at, kernels)):
            sizes[mine & (trace.tensors.part == part)] = size
    return solved


def _first_solutions(trace: Trace, solved: dict[int, Convolution]) -> Iterable[int]:
    """Yield the position wherever a thread solves a convolution for the first time."""
    seen: set[tuple[bool, int]] = set()
    problems = trace.tensors.problem
    allocated = np.flatnonzero(trace.events > 0)
    of_event = problems[trace.events[allocated] - 1]
    for position in allocated[np.isin(of_event, list(solved))].tolist():
        tensor = int(trace.events[position]) - 1
        problem = int(problems[tensor])
        thread = bool(trace.ops.phase[trace.tensors.op[tensor]] == _BACKWARD)
        if (thread, problem) not in seen:
            seen.add((thread, problem))
            yield position


def _requests(trace: Trace, workspaces: Workspaces) -> list[tuple[int, int, bool]]:
    """Return (row of the op, bytes, kept) of every workspace of the matrix libraries, in order."""
    requests: list[tuple[int, int, bool]] = []
    handles: set[tuple[bool, str]] = set()
    for row in np.flatnonzero(trace.ops.blas).tolist():
        thread = bool(trace.ops.phase[row] == _BACKWARD)
        if workspaces.cublas_bytes and (thread, "blas") not in handles:
            requests.append((row, workspaces.cublas_bytes, True))
            handles.add((thread, "blas"))
        if trace.ops.blas[row] == _CUBLASLT and workspaces.cublaslt_bytes:
            kept = workspaces.cublaslt_lifetime == "handle"
            if not kept or (thread, "lt") not in handles:
                requests.append((row, workspaces.cublaslt_bytes, kept))
                handles.add((thread, "lt"))
    return requests


def _with_requests(
    trace: Trace, requests: list[tuple[int, int, bool]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the events with the workspaces put in, and how far each position has moved."""
    recorded = trace.events
    moved = np.zeros(len(recorded) + 1, dtype=np.int64)
    pieces: list[NDArray[np.int64]] = []
    start = 0
    for position, extra in sorted(_positions(trace, requests), key=lambda item: item[0]):
        pieces += [recorded[start:position], np.array(extra, dtype=np.int64)]
        moved[position:] += len(extra)
        start = position
    return np.concatenate([*pieces, recorded[start:]]), moved


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
