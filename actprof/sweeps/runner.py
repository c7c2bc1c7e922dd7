"""Answer the grid of a scenario: trace what is not cached, predict, ground; store each answer at once.

A cell whose process dies of it is `unknown`, and is asked again by the next sweep.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from actprof.cell import Cell
from actprof.errors import DiedError, TraceError, UsageError
from actprof.measuring.grounding import Grounding, check_grounding, ground, why_not_on_cpu
from actprof.prediction.many import Answer, Predictions, cell_label
from actprof.prediction.predict import device_of, unknown_result
from actprof.processes.pool import Tasks, Workers
from actprof.results import Result
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, fingerprint, grounding_key
from actprof.trace.cache import trace_for, usable_cache

_log = logging.getLogger(__name__)
_ASK_AGAIN = ""  # the stamp of what is no answer that holds for the next sweep


def run_sweep(
    scenario: Scenario,
    store: ResultsStore,
    *,
    fresh: bool = False,
    ground: bool = True,
    workers: Workers | None = None,
) -> tuple[Result, ...]:
    """Answer every cell of `scenario` that `store` has no current answer to; return all of them.

    Each is stored the moment it is known. `fresh` answers again what is known already; `ground` also runs
    each distinct policy on the CPU.

    Raises:
        UsageError: the scenario asks for what cannot be.
        GroundingError: the real policy differs from the traced one.
    """
    with usable_cache():  # for the plan too: what it counts as cached, the workers must find
        missing = _missing(scenario, {} if fresh else store.stamps())
        predictions = Predictions(missing, scenario.catalogue, partial(_put_answer, scenario, store))
        groundings = _missing_groundings(scenario, store, fresh=fresh) if ground and scenario.ground else []
        total = predictions.tasks + len(groundings)
        if total:
            with (workers or Workers()).tasks(total) as tasks:
                predictions.run(tasks)
                _run_groundings(groundings, store, tasks)
    return store.results(scenario.cells)


def _stamp(cell: Cell, scenario: Scenario) -> str:
    return fingerprint(cell, device_of(cell, scenario.catalogue).gpu)


def _missing(scenario: Scenario, known: dict[str, str]) -> list[Cell]:
    return [cell for cell in scenario.cells if known.get(cell.identity()) != _stamp(cell, scenario)]


def _put_answer(scenario: Scenario, store: ResultsStore, cell: Cell, answer: Answer) -> None:
    if isinstance(answer, UsageError):
        raise answer
    if isinstance(answer, Result):
        store.put_result(answer, _stamp(cell, scenario))
        return
    stamp = _ASK_AGAIN if isinstance(answer, DiedError) else _stamp(cell, scenario)
    store.put_result(unknown_result(cell, str(answer), catalogue=scenario.catalogue), stamp)


def _missing_groundings(scenario: Scenario, store: ResultsStore, *, fresh: bool) -> list[Cell]:
    """Return a cell for each grounding that is to be made: what shares a trace has the first of its cells."""
    known = {} if fresh else store.grounding_stamps()
    first: dict[str, Cell] = {}
    for cell in scenario.cells:
        if not why_not_on_cpu(cell.policy):
            first.setdefault(grounding_key(cell), cell)
    for reason in dict.fromkeys(why_not_on_cpu(cell.policy) for cell in scenario.cells):
        if reason:
            _log.warning("not run on the CPU: %s", reason)
    return [cell for key, cell in first.items() if known.get(key) != fingerprint(cell)]


def _run_groundings(cells: list[Cell], store: ResultsStore, tasks: Tasks) -> None:
    """Run each cell on the CPU; its trace is there by now, to be compared with."""
    for cell in cells:
        label = f"running {cell_label(cell)} on the CPU"
        tasks.add(label, partial(_put_grounding, store, cell), ground, cell)
    tasks.run()


def _put_grounding(store: ResultsStore, cell: Cell, future: Future[Grounding]) -> None:
    try:
        grounding = future.result()
    except (DiedError, RuntimeError) as error:  # a CPU lacks some kernels, of half precision above all
        _log.warning("%s was not run on the CPU: %s", cell_label(cell), error)
        return
    with suppress(TraceError):  # what cannot be traced has nothing to be compared with
        check_grounding(grounding, trace_for(cell)[0].policy)
    store.put_grounding(cell, grounding, fingerprint(cell))


def default_folder(scenario: Scenario) -> Path:
    """Return where a scenario's results are kept: `reports/<name>` below the current folder."""
    return Path("reports") / scenario.name
