"""What a sweep's workers do, one function per task; arguments and results pickle."""

from __future__ import annotations

from actprof.hardware import Catalogue
from actprof.measure.grounding import Grounding
from actprof.prediction import predict_cell
from actprof.results import Result
from actprof.scenario.cell import Cell
from actprof.trace.cache import trace_for
from actprof.trace.model import PolicyFacts


def trace_task(cell: Cell) -> PolicyFacts:
    """Make sure that the trace of the cell is cached; return what the policy said of itself."""
    return trace_for(cell)[0].policy


def predict_task(cell: Cell, catalogue: Catalogue) -> Result:
    """Answer one cell."""
    return predict_cell(cell, catalogue=catalogue)


def ground_task(cell: Cell) -> Grounding:
    """Run the cell's policy on the CPU."""
    from actprof.measure.cpu import ground  # imports torch and lerobot

    return ground(cell)
