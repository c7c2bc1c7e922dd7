"""Explain one cell: who holds its memory at the peak, and at the moment when it runs out.

`explain_cell` predicts as `predict_cell` does and keeps the replays, so both tell the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.explanation.difference import Difference
from actprof.explanation.difference import difference as difference_of
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


def difference(first: Explanation, second: Explanation) -> Difference:
    """Return how what the second cell needs at its peak differs from what the first needs."""
    return difference_of(first.need, second.need)
