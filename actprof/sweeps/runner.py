"""Answer the grid of a scenario: trace what is not cached, predict; store each answer at once.

A cell that cannot be answered is a row as well: `unknown`, with the reason. It is asked again by the next
sweep, as what was missing may be there then; one whose step cannot be traced is not, unless versions change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    """Answer as `answer_missing`, and return the results of all cells.

    Raises:
        ScenarioError: as `answer_missing`.
    """
    answer_missing(scenario, store, fresh=fresh, workers=workers)
    return store.results(scenario.cells)


def answer_missing(
    scenario: Scenario, store: ResultsStore, *, fresh: bool = False, workers: Workers | None = None
) -> None:
    """Answer every cell of `scenario` that `store` has no current answer to.

    Each is stored the moment it is known, and none is kept in memory. `fresh` answers again what is known.

    Raises:
        ScenarioError: lerobot refuses every cell for what the file has under `set:`.
    """
    answers = _Answers(scenario, store)

    def missing() -> Iterator[Cell]:
        return (cell for cell in scenario.cells if fresh or answers.is_missing(cell))

    with usable_cache():  # for the plan too: what it counts as cached, the workers must find
        predictions = Predictions(missing, scenario.catalogue, answers.put)
        if predictions.tasks:
            with (workers or Workers()).tasks(predictions.tasks) as tasks:
                predictions.run(tasks)
    answers.check()


class _Answers:
    """What becomes of the cells of a scenario, as rows of its store."""

    def __init__(self, scenario: Scenario, store: ResultsStore) -> None:
        self._scenario = scenario
        self._store = store
        self._stamps: dict[tuple[object, ...], str] = {}
        self._refused = 0
        self._first_refused: tuple[Cell, FieldError] | None = None

    def is_missing(self, cell: Cell) -> bool:
        """Return whether the store has no answer to `cell` that holds."""
        stamp = self._stamp(cell)
        return not stamp or self._store.stamp(cell) != stamp

    def put(self, cell: Cell, answer: Answer) -> None:
        """Store what came of a cell."""
        if isinstance(answer, FieldError):
            self._refused += 1
            self._first_refused = self._first_refused or (cell, answer)
        self._store.put_result(*self._row(cell, answer))

    def check(self) -> None:
        """Raise `ScenarioError` where lerobot refuses every cell."""
        if self._first_refused is not None and self._refused == len(self._scenario.cells):
            raise ScenarioError(_refusal(self._scenario, *self._first_refused)) from self._first_refused[1]

    def _row(self, cell: Cell, answer: Answer) -> tuple[Result, str]:
        """Return what is stored of an answer, and the stamp that says how long it holds."""
        if isinstance(answer, Result):
            return answer, self._stamp(cell)
        if isinstance(answer, FieldError):
            return _unknown(self._scenario, cell, _refusal(self._scenario, cell, answer)), _ASK_AGAIN
        holds = isinstance(answer, TraceError) and not isinstance(answer, DiedError)
        return _unknown(self._scenario, cell, reason_of(answer)), self._stamp(cell) if holds else _ASK_AGAIN

    def _stamp(self, cell: Cell) -> str:
        # all that it depends on; working it out takes longer than reading a row
        key = (cell.policy, bool(cell.peft), cell.gpu, cell.capacity_bytes, cell.used_by_others_bytes)
        if key not in self._stamps:
            self._stamps[key] = _stamp(cell, self._scenario)
        return self._stamps[key]


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


def default_folder(scenario: Scenario) -> Path:
    """Return where a scenario's results are kept: `reports/<name>` below the current folder."""
    return Path("reports") / scenario.name
