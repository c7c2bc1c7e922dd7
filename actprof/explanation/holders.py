"""Which tensors hold the allocated memory at one moment: listed, by op, and by module as a tree.

The moment is that of `attribute`: the peak, or where the run is out of memory. A tensor counts with the
bytes that were asked for; rounding and unsplit blocks are one part of their own, the allocator's slack,
so that every sum here is the allocated bytes of that moment exactly. Each view is of a trace, the profile of
its replay with `detail=True`, and the program that was replayed; without detail it raises `ValueError`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actprof.prediction.attribution import (
    ACTIVATIONS,
    SLACK,
    WORKSPACES,
    group_of_activation,
    largest_first,
    maps_of,
)
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import WORKSPACE_KIND, Program
from actprof.trace.model import KINDS, PHASES, Trace, TraceDetails, shape_text

_ROOT = "allocated"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSite:
    """One launched op and where it comes from; of the reverse pass, the forward that it belongs to.

    Attributes:
        op: ATen overload (`aten.mm.default`).
        phase: one of `PHASES`.
        module: path of the innermost module; empty outside the policy's modules.
        line: innermost line of any library, `torch/nn/functional.py:6645 multi_head_attention_forward`.
        caller: innermost line of lerobot. Both empty when unknown, equal where lerobot made the op.
    """

    op: str
    phase: str
    module: str
    line: str = ""
    caller: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTensor:
    """One tensor (or workspace of a matrix library) that is alive at the moment.

    Attributes:
        kind: one of `KINDS`, or `workspaces`.
        module: to which its memory belongs: of a parameter or buffer, and of its gradient and optimizer
            state, the module that owns it; of anything else the module of the op that made it.
        owner: path of that parameter or buffer; empty for anything else.
        shape: with `B` for the batch size, as `(B, 512, 15, 20)`; empty when unknown.
        dtype: as `float32`; empty when unknown.
        bytes: requested, `constant + per_sample * batch_size`.
        made_by: the op that allocated it.
        freed_by: the op after which it is freed, if need be in the next step; None when it stays.
        group: of an activation inside its component, as `attention maps`; empty for anything else.
    """

    kind: str
    module: str = ""
    owner: str = ""
    shape: str = ""
    dtype: str = ""
    bytes: int
    constant: int
    per_sample: int
    made_by: OpSite
    freed_by: OpSite | None = None
    group: str = ""

    @property
    def phase(self) -> str:
        """Phase in which it was made."""
        return self.made_by.phase


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNode:
    """What one module and the modules inside it hold; `own_bytes` and the children add up to `total_bytes`.

    Attributes:
        name: last part of the path; of a leaf that is no module, what it is.
        path: of the module; empty for the root and for leaves that are no module.
        own_bytes: of the module itself.
        total_bytes: with the modules inside.
        constant, per_sample: `total_bytes` without allocator slack is `constant + per_sample * batch_size`.
        by_kind: `total_bytes` by kind, largest first.
        children: largest first.
    """

    name: str
    path: str
    own_bytes: int
    total_bytes: int
    constant: int
    per_sample: int
    by_kind: Mapping[str, int]
    children: tuple[ModuleNode, ...] = ()


def list_tensors(trace: Trace, profile: MemoryProfile, program: Program) -> tuple[HeldTensor, ...]:
    """Return what is alive at the profile's peak, or where it ran out, largest first.

    The bytes add up to the allocated bytes less the allocator's slack.
    """
    if profile.alive_at_peak is None:
        raise ValueError("the profile was replayed without detail")
    reader = _Reader(trace, program)
    held = [reader.held(index) for index in profile.alive_at_peak.tolist()]
    return tuple(sorted(held, key=lambda tensor: -tensor.bytes))


def by_op(trace: Trace, profile: MemoryProfile, program: Program) -> dict[str, int]:
    """Return the bytes of that moment by the op that allocated them, largest first.

    Workspaces and the allocator's slack stand under their own names; all add up to the allocated bytes.
    """
    sums: dict[str, int] = defaultdict(int)
    for part in _parts(trace, profile, program):
        sums[WORKSPACES if part.kind == WORKSPACES else part.made_by.op] += part.bytes
    return largest_first(sums)


def module_tree(trace: Trace, profile: MemoryProfile, program: Program) -> ModuleNode:
    """Return the bytes of that moment by module, as a tree whose root holds all allocated bytes.

    What belongs to no module (inputs, statistics of the pre-processor, temporaries of the optimizer, …)
    stands beneath the root as one leaf per kind, and so do the workspaces and the allocator's slack.
    """
    parts = _parts(trace, profile, program)
    return _grow(_ROOT, "", [((part.module or part.kind).split("."), part) for part in parts])


def _parts(trace: Trace, profile: MemoryProfile, program: Program) -> list[HeldTensor]:
    """Return what is alive, and the slack as if it were one more: together the allocated bytes."""
    held = list_tensors(trace, profile, program)
    allocated = profile.peak_allocated_bytes if profile.oom is None else profile.oom.allocated_bytes
    slack = allocated - sum(tensor.bytes for tensor in held)
    nowhere = OpSite(op=SLACK, phase="", module="")
    return [*held, HeldTensor(kind=SLACK, bytes=slack, constant=0, per_sample=0, made_by=nowhere)]


def _grow(
    name: str, path: str, parts: Sequence[tuple[Sequence[str], HeldTensor]], depth: int = 0
) -> ModuleNode:
    """Return the node at `depth`, in or beneath which all `parts` lie, each with the path to it."""
    beneath: dict[tuple[str, bool], list[tuple[Sequence[str], HeldTensor]]] = defaultdict(list)
    by_kind: dict[str, int] = defaultdict(int)
    for names, part in parts:
        by_kind[part.kind] += part.bytes
        if len(names) > depth:
            beneath[names[depth], bool(part.module)].append((names, part))
    children = [
        _grow(child, f"{path}.{child}".removeprefix(".") if is_module else "", some, depth + 1)
        for (child, is_module), some in beneath.items()
    ]
    return ModuleNode(
        name=name,
        path=path,
        own_bytes=sum(part.bytes for names, part in parts if len(names) == depth),
        total_bytes=sum(by_kind.values()),
        constant=sum(part.constant for _, part in parts),
        per_sample=sum(part.per_sample for _, part in parts),
        by_kind=largest_first(by_kind),
        children=tuple(sorted(children, key=lambda node: -node.total_bytes)),
    )


def op_site(trace: Trace, details: TraceDetails, row: int) -> OpSite:
    """Return the op of `row` of the trace's ops; `details` are the trace's own."""
    return OpSite(
        op=trace.ops.names[row],
        phase=PHASES[int(trace.ops.phase[row])],
        module=trace.ops.modules[row],
        line=details.op_lines[row],
        caller=details.op_callers[row],
    )


class _Reader:
    """Reads rows of a trace as `HeldTensor` and `OpSite`."""

    def __init__(self, trace: Trace, program: Program) -> None:
        self._trace = trace
        self._program = program
        self._details: TraceDetails = trace.details()
        self._maps = maps_of(trace)
        # What the last step leaves behind is freed as its twin of the step before was.
        self._twins = {left: found for found, left in trace.carried or ()}

    def held(self, index: int) -> HeldTensor:
        """Return tensor `index` of the program, of the trace or a library's workspace."""
        if self._program.kinds[index] != WORKSPACE_KIND:
            return self._tensor(index)
        size = self._program.sizes[index]
        made_by = op_site(self._trace, self._details, self._program.ops[index])
        return HeldTensor(kind=WORKSPACES, bytes=size, constant=size, per_sample=0, made_by=made_by)

    def _tensor(self, index: int) -> HeldTensor:
        tensors, details = self._trace.tensors, self._details
        made_by = op_site(self._trace, details, int(tensors.op[index]))
        freed_by = max(int(details.freed_by[i]) for i in (index, self._twins.get(index, index)))
        constant, per_sample = int(tensors.constant[index]), int(tensors.per_sample[index])
        size = self._program.sizes[index]
        owner, kind = details.owners[index], KINDS[int(tensors.kind[index])]
        return HeldTensor(
            kind=kind,
            module=owner.rpartition(".")[0] if owner else made_by.module,
            owner=owner,
            shape=shape_text(details.shapes[index]),
            dtype=details.dtypes[index],
            bytes=size,
            constant=constant if tensors.problem[index] < 0 else size,
            per_sample=per_sample,
            made_by=made_by,
            freed_by=None if freed_by < 0 else op_site(self._trace, details, freed_by),
            group=self._group(index) if kind == ACTIVATIONS else "",
        )

    def _group(self, index: int) -> str:
        return group_of_activation(self._trace, index, self._details.shapes[index], self._maps)
