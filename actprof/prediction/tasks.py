"""What a sweep's workers do, one function per task; arguments and results pickle."""

from __future__ import annotations

from actprof.cell import Cell
from actprof.hardware import Catalogue
from actprof.policies.facts import PolicyFacts
from actprof.prediction.predict import predict_cell
from actprof.results import Result
from actprof.trace.cache import trace_for


def trace_task(cell: Cell) -> PolicyFacts:
    """Make sure that the trace of the cell is cached; return what the policy said of itself."""
    return trace_for(cell)[0].policy


def predict_task(cell: Cell, catalogue: Catalogue) -> Result:
    """Answer one cell."""
    return predict_cell(cell, catalogue=catalogue)
