"""Fit every size of a trace as `constant + per_sample * batch_size`, and refuse when it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any, TypeVar

import numpy as np

from actprof.kernels.growing import Growing
from actprof.kernels.problem import GrowingProblem, take_apart
from actprof.trace.calls import UNKNOWN_CALL, GrowingCall
from actprof.trace.model import Ints, OpTable, Shape, TensorTable, TraceDetails
from actprof.trace.recorder import Recorder

_Kind = TypeVar("_Kind", bound=Growing)


def fit(recorders: Sequence[Recorder], batch_sizes: Sequence[int]) -> dict[str, Any] | None:
    """Return the columns of a `Trace` from recordings of the same cell at `batch_sizes`.

    With one recording the sizes are taken as they are. None when the recordings differ in what they do
    (ops, events) or a size is not affine in the batch size.
    """
    first = recorders[0]
    shape = _shape_of(first)
    if any(_shape_of(other) != shape for other in recorders[1:]):
        return None
    columns = [
        _affine([getattr(r, name) for r in recorders], batch_sizes)
        for name in ("sizes", "op_flops", "op_bytes")
    ]
    problems = _problems(recorders, batch_sizes)
    if problems is None or any(column is None for column in columns):
        return None
    distinct, problem, part = problems
    sizes, flops, moved = (column for column in columns if column is not None)
    return {
        "events": np.array(shape[0], dtype=np.int64),
        "carried": _carried(first),
        "tensors": TensorTable(
            constant=sizes[0],
            per_sample=sizes[1],
            kind=np.array(first.kinds, dtype=np.int64),
            op=np.array(first.tensor_ops, dtype=np.int64),
            problem=problem,
            part=part,
            stream=np.array(first.streams, dtype=np.int64),
        ),
        "problems": distinct,
        "ops": OpTable(
            names=tuple(first.op_names),
            modules=tuple(first.op_modules),
            phase=np.array(first.op_phases, dtype=np.int64),
            blas=np.array(first.op_blas, dtype=np.int64),
            sync=np.array(first.op_syncs, dtype=np.bool_),
            flops_constant=flops[0],
            flops_per_sample=flops[1],
            bytes_constant=moved[0],
            bytes_per_sample=moved[1],
        ),
        "load_details": _details(recorders, batch_sizes).itself,
    }


def _shape_of(recorder: Recorder) -> tuple[Any, ...]:
    """Everything of a recording that must not depend on the batch size.

    Which module an op ran in is a name for readers: TD-MPC draws two heads of five anew in every step.
    """
    r = recorder
    return (
        _settled(r), r.kinds, r.streams, r.tensor_ops, r.op_names, r.op_phases,
        r.step_starts, r.update_starts, r.phase_starts, r.notes, list(r.problems),
    )  # fmt: skip


def _problems(
    recorders: Sequence[Recorder], batch_sizes: Sequence[int]
) -> tuple[tuple[GrowingProblem, ...], Ints, Ints] | None:
    """Return the distinct problems; per tensor, which is its own (-1: none), and which part of it it is.

    None when one does not grow in a straight line.
    """
    first = recorders[0]
    index: dict[GrowingProblem, int] = {}
    problem, part = (np.full(len(first.sizes), value, dtype=np.int64) for value in (-1, 0))
    for tensor, (_problem, which) in first.problems.items():
        forms, rows = zip(*(take_apart(r.problems[tensor][0]) for r in recorders), strict=True)
        growing = _growing(GrowingProblem, forms[0], rows, batch_sizes) if len(set(forms)) == 1 else None
        if growing is None:
            return None
        problem[tensor] = index.setdefault(growing, len(index))
        part[tensor] = which
    return tuple(index), problem, part


def _growing(
    kind: type[_Kind], form: tuple[Any, ...], rows: Sequence[tuple[int, ...]], batch_sizes: Sequence[int]
) -> _Kind | None:
    """Return the numbers of `rows` as functions of the batch size, whole or in equal parts."""
    divisor = batch_sizes[1] - batch_sizes[0] if len(batch_sizes) > 1 else 1
    lines = [
        _line([number * divisor for number in column], batch_sizes) for column in zip(*rows, strict=True)
    ]
    if None in lines:
        return None
    constant, per_sample = zip(*(line for line in lines if line), strict=True) if lines else ((), ())
    common = gcd(divisor, *constant, *per_sample)
    constant, per_sample = (tuple(number // common for number in column) for column in (constant, per_sample))
    return kind(form, constant, per_sample, divisor // common)


def _line(values: Sequence[int], batch_sizes: Sequence[int]) -> tuple[int, int] | None:
    """Return (constant, per sample) of one number, in Python's own: the end of a slice may be a long one."""
    if len(values) == 1:
        return values[0], 0
    per_sample, left = divmod(values[1] - values[0], batch_sizes[1] - batch_sizes[0])
    constant = values[0] - per_sample * batch_sizes[0]
    held = all(value == constant + per_sample * size for value, size in zip(values, batch_sizes, strict=True))
    return (constant, per_sample) if held and not left else None


def _calls(recorders: Sequence[Recorder], batch_sizes: Sequence[int]) -> tuple[tuple[GrowingCall, ...], Ints]:
    """Return the distinct calls, and which of them each op is; one that grows otherwise is unknown."""
    known: dict[Any, GrowingCall] = {}
    index: dict[GrowingCall, int] = {}
    places = []
    for described in zip(*(recorder.op_calls for recorder in recorders), strict=True):
        if described not in known:
            forms, rows = zip(*described, strict=True)
            alike = len(set(forms)) == 1
            growing = _growing(GrowingCall, forms[0], rows, batch_sizes) if alike else None
            known[described] = growing or UNKNOWN_CALL
        places.append(index.setdefault(known[described], len(index)))
    return tuple(index), np.array(places, dtype=np.int64)


def _settled(recorder: Recorder) -> list[int]:
    """Return the events with the frees between two allocations sorted: their order means nothing.

    Autocast's cache, for one, is emptied in the order of addresses.
    """
    starts = {*recorder.step_starts, *recorder.update_starts, *(at for at, _phase in recorder.phase_starts)}
    events: list[int] = []
    frees: list[int] = []
    for index, event in enumerate(recorder.events):
        if event >= 0 or index in starts:
            events += sorted(frees)
            frees.clear()
        (events if event >= 0 else frees).append(event)
    return events + sorted(frees)


def _affine(rows: Sequence[Sequence[int]], batch_sizes: Sequence[int]) -> tuple[Ints, Ints] | None:
    values = np.array(rows, dtype=np.int64)
    if len(rows) == 1:
        return values[0], np.zeros_like(values[0])
    step = batch_sizes[1] - batch_sizes[0]
    rise = values[1] - values[0]
    if np.any(rise % step):
        return None
    per_sample = rise // step
    constant = values[0] - per_sample * batch_sizes[0]
    for row, size in zip(values[2:], batch_sizes[2:], strict=True):
        if not np.array_equal(row, constant + per_sample * size):
            return None
    return constant, per_sample


def _details(recorders: Sequence[Recorder], batch_sizes: Sequence[int]) -> TraceDetails:
    """Return what the recordings say beyond bytes; where they do not agree on a shape it is unknown."""
    first = recorders[0]
    known: dict[Any, Shape | None] = {}  # a trace has ten times as many tensors as shapes
    shapes: list[Shape | None] = []
    for sizes in zip(*(recorder.shapes for recorder in recorders), strict=True):
        if sizes not in known:
            known[sizes] = _shape(sizes, batch_sizes)
        shapes.append(known[sizes])
    calls, op_calls = _calls(recorders, batch_sizes)
    return TraceDetails(
        op_lines=tuple(line for line, _caller in first.op_sites),
        op_callers=tuple(caller for _line, caller in first.op_sites),
        shapes=tuple(shapes),
        dtypes=tuple("" if dtype is None else str(dtype).removeprefix("torch.") for dtype in first.dtypes),
        owners=tuple(first.owners.get(tensor, "") for tensor in range(len(first.sizes))),
        freed_by=np.array(first.freed_by, dtype=np.int64),
        calls=calls,
        op_calls=op_calls,
    )


def _shape(sizes: Sequence[tuple[int, ...] | None], batch_sizes: Sequence[int]) -> Shape | None:
    """Return one tensor's shape as a function of the batch size, from its shapes at `batch_sizes`."""
    shapes = [shape for shape in sizes if shape is not None]
    if len(shapes) < len(sizes) or len({len(shape) for shape in shapes}) > 1:
        return None
    fitted = _affine(shapes, batch_sizes)
    if fitted is None:
        return None
    constant, per_sample = fitted
    return tuple(zip(constant.tolist(), per_sample.tolist(), strict=True))


def _carried(recorder: Recorder) -> tuple[tuple[int, int], ...] | None:
    """Pair what the last step but one left to be freed by the last step with what the last step leaves.

    Both in order of allocation and of equal sizes; None when they do not pair up (the last step is then
    not like the next).
    """
    *_, before, last = [0, *recorder.step_starts]
    born = {event - 1: index for index, event in enumerate(recorder.events) if event > 0}
    freed = {-event - 1 for event in recorder.events[last:] if event < 0}
    handed_over = [t for t in sorted(freed) if before <= born[t] < last]
    left_behind = [t for t, index in born.items() if index >= last and t not in freed]
    sizes = recorder.sizes
    if [sizes[t] for t in handed_over] != [sizes[t] for t in left_behind]:
        return None
    return tuple(zip(handed_over, left_behind, strict=True))
