"""One moment of a replay explained: who holds the memory, seen by kind, module, op and tensor.

The moment is the peak, or the one at which the run is out of memory. Every view adds up to the allocated
bytes of that moment; with what is reserved but not allocated and the CUDA context, to the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
from actprof.prediction.attribution import attribute, largest_first
from actprof.records import to_plain
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import Program
from actprof.replay.replay import ReplayConditions
from actprof.trace.model import Trace

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
