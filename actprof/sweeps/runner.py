"""Answer the grid of a scenario: trace what is not cached, predict; store each answer at once.

A cell that cannot be answered is a row as well: `unknown`, with the reason. It is asked again by the next
sweep, as what was missing may be there then; one whose step cannot be traced is not, unless versions change.
"""

from __future__ import annotations

import re
from pathlib import Path

from actprof.cell import Cell
from actprof.errors import DiedError, FieldError, ScenarioError, TraceError, UsageError, reason_of
from actprof.prediction.many import Answer, Predictions
from actprof.prediction.predict import device_of, unknown_result
from actprof.processes.pool import Workers
from actprof.results import PREDICTED, GpuUse, Result
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, fingerprint
from actprof.trace.cache import usable_cache

_ASK_AGAIN = ""  # the stamp of what is no answer that holds for the next sweep
_AS_OPTION, _AS_KEY = re.compile(r"--set (\w+)=(\S+)"), r"set: {\1: \2}"


def run_sweep(
    scenario: Scenario, store: ResultsStore, *, fresh: bool = False, workers: Workers | None = None
) -> tuple[Result, ...]:
    """Answer every cell of `scenario` that `store` has no current answer to; return all of them.

    Each is stored the moment it is known. `fresh` answers again what is known already.

    Raises:
        ScenarioError: lerobot refuses every cell for what the file has under `set:`.
    """
    refused: list[tuple[Cell, FieldError]] = []

    def put(cell: Cell, answer: Answer) -> None:
        if isinstance(answer, FieldError):
            refused.append((cell, answer))
        store.put_result(*_answer(scenario, cell, answer))

    with usable_cache():  # for the plan too: what it counts as cached, the workers must find
        missing = _missing(scenario, {} if fresh else store.stamps())
        predictions = Predictions(lambda: missing, scenario.catalogue, put)
        if predictions.tasks:
            with (workers or Workers()).tasks(predictions.tasks) as tasks:
                predictions.run(tasks)
    if refused and len(refused) == len(scenario.cells):
        raise ScenarioError(_refusal(scenario, *refused[0])) from refused[0][1]
    return store.results(scenario.cells)


def _answer(scenario: Scenario, cell: Cell, answer: Answer) -> tuple[Result, str]:
    """Return what is stored of an answer, and the stamp that says how long it holds."""
    if isinstance(answer, Result):
        return answer, _stamp(cell, scenario)
    if isinstance(answer, FieldError):
        return _unknown(scenario, cell, _refusal(scenario, cell, answer)), _ASK_AGAIN
    holds = isinstance(answer, TraceError) and not isinstance(answer, DiedError)
    return _unknown(scenario, cell, reason_of(answer)), _stamp(cell, scenario) if holds else _ASK_AGAIN


def _refusal(scenario: Scenario, cell: Cell, error: FieldError) -> str:
    """Return the error as one of the scenario's file, with the line; the remedy as it is written there."""
    place = scenario.place(cell, error.fields)
    return f"{place}: {_AS_OPTION.sub(_AS_KEY, str(error))}" if place else str(error)


def _unknown(scenario: Scenario, cell: Cell, reason: str) -> Result:
    try:
        return unknown_result(cell, reason, catalogue=scenario.catalogue)
    except UsageError:
        use = GpuUse(name=str(cell.gpu), capacity_bytes=cell.capacity_bytes or 0, context_bytes=0)
        return Result(source=PREDICTED, cell=cell, gpu=use, reason=reason)


def _stamp(cell: Cell, scenario: Scenario) -> str:
    try:
        return fingerprint(cell, device_of(cell, scenario.catalogue).gpu)
    except UsageError:  # its device is what nobody knows
        return _ASK_AGAIN


def _missing(scenario: Scenario, known: dict[str, str]) -> list[Cell]:
    stamps = ((cell, _stamp(cell, scenario)) for cell in scenario.cells)
    return [cell for cell, stamp in stamps if not stamp or known.get(cell.identity()) != stamp]


def default_folder(scenario: Scenario) -> Path:
    """Return where a scenario's results are kept: `reports/<name>` below the current folder."""
    return Path("reports") / scenario.name
