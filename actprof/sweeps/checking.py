"""Check what a scenario expects: predict the cells that it is about, where they are not known, and judge."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from actprof.claims.expectation import expected_cells
from actprof.claims.judge import Outcome, evaluate
from actprof.errors import UsageError
from actprof.prediction.many import here_if_traced
from actprof.processes.pool import Workers
from actprof.scenario.grid import Scenario
from actprof.sweeps.runner import answer_missing
from actprof.sweeps.store import FILE_NAME, ResultsStore
from actprof.trace.cache import trace_for, usable_cache


def check_scenario(
    scenario: Scenario, folder: Path, *, workers: Workers | None = None
) -> tuple[Outcome, ...]:
    """Return what becomes of each expectation of `scenario`; raises as `actprof.check`.

    Where `folder` has results, what is known is taken from them and the rest added.
    """
    if not scenario.expectations:
        raise UsageError(
            f"{scenario.path or scenario.name} expects nothing; add expect: with quantities, "
            "like - encoder_tokens: 602"
        )
    with usable_cache(), _store(folder) as store:
        return check_with(scenario, store, workers=workers)


def check_with(
    scenario: Scenario,
    store: ResultsStore,
    *,
    fresh: bool = False,
    workers: Workers | None = None,
) -> tuple[Outcome, ...]:
    """Return what becomes of each expectation of `scenario`, with the results of `store`.

    What the store lacks is predicted and put there; with `fresh` also what is not of the grid, again.
    """
    cells = expected_cells(scenario.expectations)
    apart = {cell.identity(): cell for cell in cells}
    for cell in scenario.cells if apart else ():
        apart.pop(cell.identity(), None)
    beside = tuple(apart.values())
    for some, again in ((cells, False), (beside, True)) if fresh else ((cells, False),):
        asked = replace(scenario, cells=some)
        here = here_if_traced(some, workers or Workers())
        answer_missing(asked, store, fresh=again, workers=here)
    results = {result.cell.identity(): result for result in store.results(cells)}
    return evaluate(scenario.expectations, results, lambda cell: trace_for(cell)[0].policy)


@contextmanager
def _store(folder: Path) -> Iterator[ResultsStore]:
    """Yield the store of a sweep where there is one, else one that nobody keeps."""
    if (folder / FILE_NAME).is_file():
        with ResultsStore(folder) as store:
            yield store
        return
    with tempfile.TemporaryDirectory() as temporary, ResultsStore(Path(temporary)) as store:
        yield store
