"""A trace for another length of the robot's state or action, from traces of three others.

Where every size is affine in both lengths, as it is in the batch size, three traces say all of them: one, one
with a longer state, one with a longer action. Nothing that a policy makes of its images grows with these
lengths, so the three may be of another resolution than the one that is asked for, of which a single trace is
enough. None of that can be seen from the traces alone, so what is derived is held to fresh ones, byte
for byte: when they are made (`benchmarks/ship_traces.py`), and in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from actprof.kernels.growing import Growing
from actprof.kernels.multi_tensor import CHUNK
from actprof.kernels.problem import GrowingProblem
from actprof.trace.calls import GrowingCall
from actprof.trace.model import Trace, TraceDetails
from actprof.units import ceil_div

# Beyond them nothing is known: a length of one takes other kernels.
SHORTEST, LONGEST = 2, 32


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a state and an action."""

    state: int
    action: int


# State and action differ in each, lest tensors of equal sizes be taken for one another.
ANCHORS = (Lengths(4, 5), Lengths(12, 5), Lengths(4, 13))


class _NotAffineError(Exception):
    """Two traces differ in more than sizes, or a size does not grow in whole bytes."""


def derive(like: Trace, anchors: Sequence[Trace], wanted: Lengths) -> Trace | None:
    """Return the trace for a state and an action of `wanted` lengths.

    Args:
        like: of the first of `ANCHORS`, and of the resolution that is asked for.
        anchors: of all three, of one resolution.
        wanted: the lengths.

    Returns:
        None where the traces differ in more than sizes, or where nothing is known of such lengths.
    """
    if not all(SHORTEST <= length <= LONGEST for length in (wanted.state, wanted.action)):
        return None
    blend = _Blend(wanted)
    given = (like, *anchors)
    try:
        derived: Trace = blend.records(*(_without_problems(trace) for trace in given))
        problems = blend.rows(*(_problem_of_each(trace) for trace in given))
    except _NotAffineError:
        return None
    if any(_chunks(trace) != _chunks(derived) for trace in given):
        return None

    @cache
    def details() -> TraceDetails:
        return _with_calls_once(blend.records(*(_with_each_call(trace.details()) for trace in given)))

    return replace(_with_problems(derived, problems), load_details=details if like.load_details else None)


def _with_each_call(details: TraceDetails) -> TraceDetails:
    """Return details whose calls are those of the ops, one by one: which are equal may differ as well."""
    calls = tuple(details.calls[index] for index in details.op_calls.tolist())
    return replace(details, calls=calls, op_calls=np.zeros_like(details.op_calls))


def _with_calls_once(details: TraceDetails) -> TraceDetails:
    index: dict[GrowingCall, int] = {}
    places = [index.setdefault(call, len(index)) for call in details.calls]
    return replace(details, calls=tuple(index), op_calls=np.array(places, dtype=np.int64))


def _chunks(trace: Trace) -> list[int]:
    """Return by how many blocks multi-tensor kernels work on each parameter: no affine function."""
    return [ceil_div(parameter.count, CHUNK) for parameter in trace.policy.parameters]


def _without_problems(trace: Trace) -> Trace:
    nothing = np.zeros_like(trace.tensors.problem)
    tensors = replace(trace.tensors, problem=nothing)
    return replace(trace, tensors=tensors, problems=(), load_details=None, trace_seconds=0.0)


def _problem_of_each(trace: Trace) -> tuple[GrowingProblem | None, ...]:
    """Return the problem of each tensor: which of them are equal may differ from trace to trace."""
    return tuple(None if index < 0 else trace.problems[index] for index in trace.tensors.problem.tolist())


def _with_problems(trace: Trace, problems: Iterable[GrowingProblem | None]) -> Trace:
    """Return the trace with the problem of each of its tensors, each kept once."""
    index: dict[GrowingProblem, int] = {}
    places = [-1 if one is None else index.setdefault(one, len(index)) for one in problems]
    tensors = replace(trace.tensors, problem=np.array(places, dtype=np.int64))
    return replace(trace, problems=tuple(index), tensors=tensors)


class _Blend:
    """Puts what four traces say together as one function of the lengths, at the wanted ones."""

    def __init__(self, wanted: Lengths) -> None:
        base, longer_state, longer_action = ANCHORS
        self._state = (wanted.state - base.state, longer_state.state - base.state)
        self._action = (wanted.action - base.action, longer_action.action - base.action)

    def records(self, *given: Any) -> Any:
        """Return a record of the same class as all of `given`, each of its fields blended."""
        kind = type(given[0])
        return kind(
            **{part.name: self.values(*(getattr(one, part.name) for one in given)) for part in fields(kind)}
        )

    def values(self, *given: Any) -> Any:
        """Return whole numbers blended, alone, in rows or in records; anything else has to be that of all."""
        like, *anchors = given
        if any(type(one) is not type(like) for one in given):
            raise _NotAffineError
        if isinstance(like, np.ndarray):
            return self._column(*given)
        is_record = is_dataclass(like)
        if (isinstance(like, Growing) or not is_record) and all(one == anchors[0] for one in anchors):
            return like  # what does not grow with the lengths, as a list of as many tensors as pixels
        if is_record:
            return self.records(*given)
        if isinstance(like, Mapping) and all(one.keys() == like.keys() for one in given):
            return {name: self.values(*(one[name] for one in given)) for name in like}
        if isinstance(like, tuple | list) and all(len(one) == len(like) for one in given):
            return type(like)(self.rows(*given))
        return self._single(*given)

    def rows(self, *given: Any) -> list[Any]:
        """Return what stands in the same place of each of `given`, blended; what repeats itself once."""
        made: dict[Any, Any] = {}
        for row in zip(*given, strict=True):
            if row not in made:
                made[row] = self.values(*row)
        return [made[row] for row in zip(*given, strict=True)]

    def _single(self, like: Any, *anchors: Any) -> Any:
        if isinstance(like, int) and not isinstance(like, bool):
            return int(self._column(*(np.array(one, dtype=np.int64) for one in (like, *anchors))))
        raise _NotAffineError

    def _column(self, like: Any, base: Any, by_state: Any, by_action: Any) -> Any:
        if not like.shape == base.shape == by_state.shape == by_action.shape:
            raise _NotAffineError
        blended = like
        for other, (further, whole) in ((by_state, self._state), (by_action, self._action)):
            if np.array_equal(base, other):
                continue
            rise = other.astype(np.int64) - base
            if base.dtype == np.bool_ or np.any(rise % whole):
                raise _NotAffineError
            blended = blended + rise // whole * further
        return blended
