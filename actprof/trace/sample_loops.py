"""Recordings in which Python loops over the samples of a batch, made alike at all batch sizes.

How many ops such a loop takes grows with the batch, so that no line goes through two recordings. But nothing
of it is left when the batch is prepared, or when the forward pass of a frozen part is through: of such a
stretch what stays is kept, in order, what was there before is freed where it was, and one tensor stands for
all that came and went, at the moment of its peak. Work of a forward pass is that of the op kept before it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from actprof.policies.facts import find_component
from actprof.trace.model import PHASES
from actprof.trace.recorder import Recorder

NOTE = (
    "Python loops over the samples of a batch: of that the peak is counted and what stays, not the time of "
    "each kernel"
)
_DATA, _FORWARD = PHASES.index("data"), PHASES.index("forward")
_OP_COLUMNS = (
    "names", "modules", "phases", "blas", "syncs", "calls", "flops", "bytes", "sites",
)  # fmt: skip


def without_sample_loops(recorder: Recorder, modules: Sequence[str] = ()) -> Recorder:
    """Return a copy of `recorder` whose data phases, and forward passes of `modules`, are short.

    Modules are given by their paths, and stand for those in them as well.
    """
    looping = [
        phase == _FORWARD and find_component(path, tuple((module, module) for module in modules)) is not None
        for path, phase in zip(recorder.op_modules, recorder.op_phases, strict=True)
    ]
    passing: set[int] = set()
    peaks: dict[int, int] = {}
    for events in (*_data_phases(recorder), *_forward_passes(recorder, looping)):
        freed = {-event - 1 for index in events if (event := recorder.events[index]) < 0}
        born = {event - 1 for index in events if (event := recorder.events[index]) > 0}
        passing |= born & freed
        peaks |= _peak(recorder, events, passing)
    short = [phase == _DATA or loops for phase, loops in zip(recorder.op_phases, looping, strict=True)]
    return _shortened(recorder, short, passing, peaks)


def _data_phases(recorder: Recorder) -> Iterator[range]:
    """Yield the indices of each data phase's events."""
    ends = [*recorder.phase_starts, (len(recorder.events), -1)]
    for (start, phase), (end, _next) in pairwise(ends):
        if phase == _DATA:
            yield range(start, end)


def _forward_passes(recorder: Recorder, looping: Sequence[bool]) -> Iterator[range]:
    """Yield the indices of events from an op that loops to the next allocation by one that does not."""
    start = -1
    for index, event in enumerate([*recorder.events, 0]):
        if event < 0:
            continue
        loops = event > 0 and looping[recorder.tensor_ops[event - 1]]
        if loops and start < 0:
            start = index
        elif not loops and start >= 0:
            yield range(start, index)
            start = -1


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


def _shortened(
    recorder: Recorder, short: Sequence[bool], passing: set[int], peaks: dict[int, int]
) -> Recorder:
    """Of the ops that are `short` only those stay whose tensors do."""
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
    making = {recorder.tensor_ops[tensor] for tensor in tensors}
    kept = [not loops or op in making for op, loops in enumerate(short)]
    return _with_columns(recorder, kept, events, places, tensors, stands)


def _with_columns(  # noqa: PLR0913, PLR0917 - what a recording is made of
    recorder: Recorder,
    kept: Sequence[bool],
    events: list[int],
    places: Sequence[int],
    tensors: Sequence[int],
    stands: dict[int, int],
) -> Recorder:
    """Return a copy with these events, of whose tensors `tensors` says which they were, and the ops kept."""
    last = [count - 1 for count in accumulate(kept, initial=0)][1:]  # the last one kept by then
    own = {tensor: new for new, tensor in enumerate(tensors) if new not in stands}

    def column(values: Sequence[Any], stand_in: Any = None) -> list[Any]:
        return [stand_in if new in stands else values[tensor] for new, tensor in enumerate(tensors)]

    short = copy.copy(recorder)
    short.events = events
    short.sizes = [stands.get(new, recorder.sizes[tensor]) for new, tensor in enumerate(tensors)]
    short.shapes, short.dtypes = column(recorder.shapes), column(recorder.dtypes)
    short.kinds = [recorder.kinds[tensor] for tensor in tensors]
    short.streams = [recorder.streams[tensor] for tensor in tensors]
    short.tensor_ops = [last[recorder.tensor_ops[tensor]] for tensor in tensors]
    freed_by = column(recorder.freed_by, stand_in=-1)
    short.freed_by = [op if op < 0 else last[op] for op in freed_by]
    short.owners = {own[tensor]: owner for tensor, owner in recorder.owners.items() if tensor in own}
    short.problems = {own[tensor]: part for tensor, part in recorder.problems.items() if tensor in own}
    for name in _OP_COLUMNS:
        values = getattr(recorder, f"op_{name}")
        setattr(short, f"op_{name}", [value for value, stays in zip(values, kept, strict=True) if stays])
    for op, (stays, phase) in enumerate(zip(kept, recorder.op_phases, strict=True)):
        if not stays and phase == _FORWARD:
            short.op_flops[last[op]] += recorder.op_flops[op]
            short.op_bytes[last[op]] += recorder.op_bytes[op]
    short.step_starts = [places[start] for start in recorder.step_starts]
    short.update_starts = [places[start] for start in recorder.update_starts]
    short.phase_starts = [(places[start], phase) for start, phase in recorder.phase_starts]
    short.notes = {**recorder.notes, NOTE: None}
    return short
