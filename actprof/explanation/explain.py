"""Explain one cell: who holds its memory at the peak, and where it runs out; and how two such moments differ.

`explain_cell` predicts as `predict_cell` does and keeps the replays, so both tell the same figures. Every
view of a moment, by kind, module, op and tensor, adds up to its allocated bytes; with what is reserved but
not allocated and the CUDA context, to the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.explanation.course import KindCourse, follow_kinds
from actprof.explanation.holders import (
    HeldTensor,
    ModuleNode,
    OpSite,
    by_op,
    list_tensors,
    module_tree,
    op_site,
)
from actprof.hardware import Catalogue
from actprof.prediction.attribution import attribute, largest_first
from actprof.prediction.predict import Prediction, predict_in_full
from actprof.records import to_plain
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import Program
from actprof.replay.replay import ReplayConditions
from actprof.results import Result
from actprof.trace.model import Trace

SCHEMA_VERSION = 1
PEAK, RUNS_OUT = "the peak", "where it runs out"
UNUSED, CONTEXT = "reserved, not allocated", "CUDA context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Who holds the memory at one moment.

    Attributes:
        what: `the peak` or `where it runs out`.
        limited: whether it is of the run on the named device; False for one without limit.
        step: counted from 1; 0 while the run is set up. phase: of the step.
        site: the op that reaches the peak, or whose request finds no memory; None when unknown.
        requested_bytes: what that op asks for.
        allocated_bytes: of all tensors, workspaces and slack; `by_kind`, `modules` and `by_op` add up to it.
        unused_bytes: reserved, but not allocated.
        context_bytes: of the CUDA context.
        by_kind: largest first, with workspaces and the allocator's slack.
        activations: bytes by component of the policy and group in it (see `Breakdown`).
        by_op: by the op that allocated, largest first.
        tensors: all that are alive, workspaces included, largest first.
        course: how it came to that, by kind.
    """

    what: str
    limited: bool
    step: int
    phase: str
    site: OpSite | None
    requested_bytes: int
    allocated_bytes: int
    unused_bytes: int
    context_bytes: int
    by_kind: Mapping[str, int]
    activations: Mapping[str, Mapping[str, int]]
    modules: ModuleNode
    by_op: Mapping[str, int]
    tensors: tuple[HeldTensor, ...]
    course: KindCourse

    @property
    def reserved_bytes(self) -> int:
        """What PyTorch's segments hold at the moment."""
        return self.allocated_bytes + self.unused_bytes

    @property
    def process_bytes(self) -> int:
        """What the process holds on the device at the moment."""
        return self.reserved_bytes + self.context_bytes

    @property
    def parts(self) -> dict[str, int]:
        """The kinds, what is reserved but not allocated, and the context: they add up to the process."""
        parts = {**self.by_kind, UNUSED: self.unused_bytes, CONTEXT: self.context_bytes}
        return {name: size for name, size in parts.items() if size}

    def to_json(self, *, tensors: int | None = None) -> dict[str, Any]:
        """Return a dict of JSON values, with the `tensors` largest tensors (None: all), the rest summed."""
        shown = self.tensors[:tensors]
        left = self.tensors[len(shown) :]
        data: dict[str, Any] = to_plain(self)
        data |= {"reserved_bytes": self.reserved_bytes, "process_bytes": self.process_bytes}
        data["tensors"] = data["tensors"][: len(shown)]
        data["other_tensors"] = {"count": len(left), "bytes": sum(tensor.bytes for tensor in left)}
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Who holds the memory of one cell.

    Attributes:
        result: what `predict` says of the cell.
        moments: of a run that gets through, its peak on the device. Of one that does not, where it runs
            out, and then the peak of the same run on a device without limit: what it would need.
        prediction: that both were drawn from; not kept in JSON.
    """

    result: Result
    moments: tuple[Holding, ...]
    prediction: Prediction
    schema_version: int = SCHEMA_VERSION

    @property
    def moment(self) -> Holding:
        """The moment of the run on the named device."""
        return self.moments[0]

    @property
    def need(self) -> Holding:
        """The peak, if need be on a device without limit."""
        return self.moments[-1]

    def to_json(self, *, tensors: int | None = None) -> dict[str, Any]:
        """Return a dict of JSON values, with the `tensors` largest tensors of each moment (None: all)."""
        return {
            "schema_version": self.schema_version,
            "result": self.result.to_json(curve=False),
            "moments": [moment.to_json(tensors=tensors) for moment in self.moments],
        }


def explain_cell(cell: Cell, *, catalogue: Catalogue | None = None) -> Explanation:
    """Return who holds the memory of `cell`, without a GPU.

    Raises:
        UsageError: an unknown GPU, policy or setting, or a config that lerobot refuses.
        TraceError: the step of this cell cannot be traced; says why.
    """
    told = predict_in_full(cell, catalogue=catalogue)
    if told.trace is None or told.limited is None or told.unlimited is None:
        raise TraceError(f"who holds the memory cannot be told: {told.result.reason}")
    moments = [explain_moment(told.trace, told.limited, told.conditions, limited=True)]
    if told.limited.oom is not None:
        moments.append(explain_moment(told.trace, told.unlimited, told.conditions, limited=False))
    return Explanation(result=told.result, moments=tuple(moments), prediction=told)


def explain_moment(
    trace: Trace, profile: MemoryProfile, conditions: ReplayConditions, *, limited: bool
) -> Holding:
    """Return who holds the memory at the peak of a replay with `detail=True`, or where it ran out.

    `limited` tells whether the replay was held to the device's memory.

    Raises:
        ValueError: the profile has no detail.
    """
    program = conditions.program(trace, profile.batch_size)
    breakdown = attribute(trace, profile, program)
    tensor = _tensor_at(profile, program)
    course = follow_kinds(profile, program)
    reserved = course.reserved_bytes[course.moment] if profile.oom is None else profile.oom.reserved_bytes
    return Holding(
        what=PEAK if profile.oom is None else RUNS_OUT,
        limited=limited,
        step=profile.steps,
        phase=breakdown.phase,
        site=None if tensor is None else op_site(trace, trace.details(), program.ops[tensor]),
        requested_bytes=0 if tensor is None else program.sizes[tensor],
        allocated_bytes=breakdown.allocated_bytes,
        unused_bytes=reserved - breakdown.allocated_bytes,
        context_bytes=conditions.context_bytes,
        by_kind=largest_first(breakdown.by_kind),
        activations=breakdown.activations,
        modules=module_tree(trace, profile, program),
        by_op=by_op(trace, profile, program),
        tensors=list_tensors(trace, profile, program),
        course=course,
    )


def _tensor_at(profile: MemoryProfile, program: Program) -> int | None:
    """Return the tensor of the program that is allocated or refused there."""
    event = program.events[profile.peak_event + (profile.oom is not None)]
    return event - 1 if event > 0 else None


# -- the difference of two moments ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Bytes that one name holds in both; `change_bytes` is the second less the first."""

    name: str
    first_bytes: int
    second_bytes: int
    change_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the second moment differs from the first; the largest change, up or down, comes first.

    Attributes:
        first_bytes, second_bytes: of the processes.
        by_kind: with what is reserved but not allocated and the context: adds up to the processes.
        by_module: by path; a module counts with those inside it, so these do not add up. Of modules that
            hold nothing but one other, only the innermost is there.
        by_op: adds up to the allocated bytes.
    """

    first_bytes: int
    second_bytes: int
    by_kind: tuple[Change, ...]
    by_module: tuple[Change, ...]
    by_op: tuple[Change, ...]


def difference(first: Holding, second: Holding) -> Difference:
    """Return what the second moment holds more (or less) than the first."""
    return Difference(
        first_bytes=first.process_bytes,
        second_bytes=second.process_bytes,
        by_kind=_changes(_pair(first.parts, second.parts)),
        by_module=_changes(_without_chains(_pair(_sizes(first.modules), _sizes(second.modules)))),
        by_op=_changes(_pair(first.by_op, second.by_op)),
    )


def _pair(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (first.get(name, 0), second.get(name, 0)) for name in {**first, **second}}


def _changes(pairs: Mapping[str, tuple[int, int]]) -> tuple[Change, ...]:
    changes = [
        Change(name=name, first_bytes=first, second_bytes=second, change_bytes=second - first)
        for name, (first, second) in pairs.items()
    ]
    return tuple(sorted(changes, key=lambda change: -abs(change.change_bytes)))


def _without_chains(pairs: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Leave out every module that holds in both what one module inside it holds."""
    parents = {name: name.rpartition(".")[0] for name in pairs}
    repeated = {parent for name, parent in parents.items() if pairs.get(parent) == pairs[name]}
    return {name: pair for name, pair in pairs.items() if name not in repeated}


def _sizes(node: ModuleNode) -> dict[str, int]:
    """Return the bytes of every node beneath, by path or, where it is no module, by name."""
    sizes: dict[str, int] = {}
    for child in node.children:
        sizes |= {child.path or child.name: child.total_bytes} | _sizes(child)
    return sizes
