"""Explain one cell: who holds its memory at the peak, and where it runs out; and how two such moments differ.

`explain_cell` predicts as `predict_cell` does and keeps the replays, so both tell the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.explanation.holders import ModuleNode
from actprof.explanation.moment import Holding, explain_moment
from actprof.hardware import Catalogue
from actprof.prediction.predict import predict_in_full
from actprof.results import Result

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Who holds the memory of one cell.

    Attributes:
        result: what `predict` says of the cell.
        moments: of a run that gets through, its peak on the device. Of one that does not, where it runs
            out, and then the peak of the same run on a device without limit: what it would need.
    """

    result: Result
    moments: tuple[Holding, ...]
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
    return Explanation(result=told.result, moments=tuple(moments))


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
