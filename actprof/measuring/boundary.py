"""The measured boundary: the largest batch size that runs, each one tried in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from actprof.cell import Cell
from actprof.errors import ActprofError
from actprof.measuring.run import Run
from actprof.prediction.boundary import bracket_boundary
from actprof.prediction.predict import predict_cell
from actprof.results import Result, Verdict

# A size that survives one step and dies in the fifth is not a size that fits.
STEPS = 10


def measure_boundary(
    run: Run,
    cell: Cell,
    *,
    guess: int | None = None,
    known: Mapping[int, Result] | None = None,
    tried: Callable[[Result], None] | None = None,
) -> int:
    """Return the largest batch size that gets through `STEPS` steps; it and the next one have been tried.

    Args:
        run: how cells are measured.
        cell: whose batch size is varied.
        guess: where to start; the predicted boundary if left out.
        known: what an earlier search found, by batch size; that is not tried again.
        tried: told the result of each batch size that was tried.

    Raises:
        UsageError: there is no CUDA GPU.
        ActprofError: a run failed for another reason than memory.
    """
    run.check_cuda("--boundary")
    if guess is None:
        guess = predict_cell(cell, catalogue=run.catalogue).max_batch_size
    ten_steps = replace(run, steps=STEPS)

    def runs(batch_size: int) -> bool:
        if known is not None and batch_size in known:
            return known[batch_size].runs
        result = ten_steps.measure(replace(cell, batch_size=batch_size))
        if result.verdict == Verdict.FAILED:
            raise ActprofError(f"batch size {batch_size} could not be tried: {result.reason}")
        if tried is not None:
            tried(result)
        return result.runs

    return bracket_boundary(runs, guess=guess or cell.batch_size)
