"""The measured boundary: the largest batch size that runs, each one tried in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from actprof.cell import Cell
from actprof.errors import ActprofError
from actprof.measuring.measure_cell import STEPS, Run
from actprof.prediction.predict import predict_cell
from actprof.results import MOST_BATCH_SIZE, Result, Verdict


def measure_boundary(
    run: Run,
    cell: Cell,
    *,
    guess: int | None = None,
    known: Mapping[int, Result] | None = None,
    tried: Callable[[Result], None] | None = None,
) -> int:
    """Return the largest batch size that gets through `STEPS` steps; it and the next one have been tried.

    The search starts at `guess`, or else at the predicted boundary. What an earlier one found is `known` by
    batch size, and not tried again. `tried` is told each new result.

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


def bracket_boundary(runs: Callable[[int], bool], *, guess: int, limit: int = MOST_BATCH_SIZE) -> int:
    """Return a batch size that runs while the next larger one does not, asking as seldom as possible.

    For runs that cost minutes: it starts at a guess, and one that is right takes two runs. Both sides of the
    answer have been tried when it returns; nothing above `limit` is.
    """
    low, high, step = 0, limit + 1, 1
    size = min(max(guess, 1), limit)
    while high - low > 1:
        if runs(size):
            low = size
        else:
            high = size
        if low and high <= limit:
            size = (low + high) // 2
        else:  # one side is not known yet: go there in steps that double
            size = min(low + step, limit) if low else max(high - step, 1)
            step *= 2
    return low
