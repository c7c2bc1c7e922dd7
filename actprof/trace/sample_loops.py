"""Recordings whose preparation of a batch loops over its samples in Python, made alike at all batch sizes.

How many ops such a loop takes grows with the batch, so that no line goes through two recordings. But nothing
of it is left when `update_policy` begins: of a data phase what stays is kept, in order, what was there before
is freed where it was, and one tensor stands for all that came and went, at the moment of its peak.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from actprof.trace.model import PHASES
from actprof.trace.recorder import Recorder

NOTE = (
    "a batch is prepared sample by sample: of that the peak is counted and what stays, but not the time of "
    "its kernels"
)
_DATA = PHASES.index("data")
_OP_COLUMNS = ("names", "modules", "phases", "blas", "syncs", "kernels", "flops", "bytes", "sites")


def without_sample_loops(recorder: Recorder) -> Recorder:
    """Return a copy of `recorder` whose data phases are as short as the module says."""
    passing: set[int] = set()
    peaks: dict[int, int] = {}
    for events in _data_phases(recorder):
        freed = {-event - 1 for index in events if (event := recorder.events[index]) < 0}
        born = {event - 1 for index in events if (event := recorder.events[index]) > 0}
        passing |= born & freed
        peaks |= _peak(recorder, events, passing)
    return _shortened(recorder, passing, peaks)


def _data_phases(recorder: Recorder) -> Iterator[range]:
    """Yield the indices of each data phase's events."""
    ends = [*recorder.phase_starts, (len(recorder.events), -1)]
    for (start, phase), (end, _next) in pairwise(ends):
        if phase == _DATA:
            yield range(start, end)


def _peak(recorder: Recorder, events: range, passing: set[int]) -> dict[int, int]:
    """Return the index of the allocation at which most is alive, and the bytes then of what passes."""
    alive = passes = most = 0
    peak: dict[int, int] = {}
    for index in events:
        event = recorder.events[index]
        tensor, sign = (event - 1, 1) if event > 0 else (-event - 1, -1)
        alive += sign * recorder.sizes[tensor]
        passes += sign * recorder.sizes[tensor] * (tensor in passing)
        if alive > most:
            most, peak = alive, {index: passes} if passes else {}
    return peak


def _shortened(recorder: Recorder, passing: set[int], peaks: dict[int, int]) -> Recorder:
    events: list[int] = []
    tensors: list[int] = []  # of each that is kept, which it was
    number: dict[int, int] = {}
    stands: dict[int, int] = {}  # what stands for all that passes, and its bytes
    places: list[int] = []

    def allocate(tensor: int) -> int:
        tensors.append(tensor)
        events.append(len(tensors))
        return len(tensors) - 1

    for index, event in enumerate(recorder.events):
        places.append(len(events))
        tensor = abs(event) - 1
        if index in peaks:
            stand_in = allocate(tensor)
            stands[stand_in] = peaks[index]
        if tensor not in passing:
            if event > 0:
                number[tensor] = allocate(tensor)
            else:
                events.append(-(number[tensor] + 1))
        if index in peaks:
            events.append(-(stand_in + 1))
    places.append(len(events))
    return _with_columns(recorder, events, places, tensors, stands)


def _with_columns(
    recorder: Recorder,
    events: list[int],
    places: Sequence[int],
    tensors: Sequence[int],
    stands: dict[int, int],
) -> Recorder:
    """Return a copy with these events, of whose tensors `tensors` says which they were."""
    making = {recorder.tensor_ops[tensor] for tensor in tensors}
    kept = [phase != _DATA or op in making for op, phase in enumerate(recorder.op_phases)]
    last = [count - 1 for count in accumulate(kept, initial=0)][1:]  # the last one kept by then
    own = {tensor: new for new, tensor in enumerate(tensors) if new not in stands}

    def column(values: Sequence[Any], stand_in: Any = None) -> list[Any]:
        return [stand_in if new in stands else values[tensor] for new, tensor in enumerate(tensors)]

    short = copy.copy(recorder)
    short.events = events
    short.sizes = [stands.get(new, recorder.sizes[tensor]) for new, tensor in enumerate(tensors)]
    short.shapes, short.dtypes = column(recorder.shapes), column(recorder.dtypes)
    short.kinds = [recorder.kinds[tensor] for tensor in tensors]
    short.tensor_ops = [last[recorder.tensor_ops[tensor]] for tensor in tensors]
    freed_by = column(recorder.freed_by, stand_in=-1)
    short.freed_by = [op if op < 0 else last[op] for op in freed_by]
    short.owners = {own[tensor]: owner for tensor, owner in recorder.owners.items() if tensor in own}
    short.problems = {own[tensor]: part for tensor, part in recorder.problems.items() if tensor in own}
    for name in _OP_COLUMNS:
        values = getattr(recorder, f"op_{name}")
        setattr(short, f"op_{name}", [value for value, stays in zip(values, kept, strict=True) if stays])
    short.step_starts = [places[start] for start in recorder.step_starts]
    short.update_starts = [places[start] for start in recorder.update_starts]
    short.phase_starts = [(places[start], phase) for start, phase in recorder.phase_starts]
    short.notes = {**recorder.notes, NOTE: None}
    return short
