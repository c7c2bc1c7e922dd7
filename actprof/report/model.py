"""The `Report`: everything a page is made of, as one frozen record.

Needs no torch, lerobot or pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actprof.claims.judge import Outcome
    from actprof.hardware import Catalogue
    from actprof.loading.rows import LoaderResult
    from actprof.measuring.grounding import Grounding
    from actprof.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to put on the page.

    Attributes:
        name: of the scenario; the heading of the page.
        question: what the scenario asks, in the words of its file; may be empty.
        results: one per cell, in any order; all that is said is computed from them. Predicted, as a rule.
        measured: real runs of some of the cells, held against their predictions; where there are no results,
            they stand in for them.
        planned: number of cells of the scenario; more than results where a sweep was interrupted.
        groundings: CPU runs to show beside the predictions.
        outcomes: what became of the scenario's expectations.
        loading: what `actprof loader` measured, to hold against the predicted steps.
        command: what repeats the numbers, one command per line.
        created: ISO 8601 time.
        versions: of what wrote the report; each result has its own.
        catalogue: the GPUs that results may name; the shipped ones if left out.
    """

    name: str
    question: str = ""
    results: tuple[Result, ...] = ()
    measured: tuple[Result, ...] = ()
    planned: int | None = None
    groundings: tuple[Grounding, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    loading: LoaderResult | None = None
    command: str = ""
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    catalogue: Catalogue | None = None
