"""Predict many cells: what is not cached is traced, once for all that share it, then each is predicted.

Both are tasks for worker processes. Nothing is lost with what goes wrong, or with a process that dies: its
cell, or the cells whose trace it recorded, are told the error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from actprof.cell import Cell
from actprof.hardware import Catalogue
from actprof.policies.libraries import missing_lerobot
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import InThisProcess, Tasks, Workers
from actprof.results import Result
from actprof.trace.cache import cached_trace, trace_for, usable_cache

Answer: TypeAlias = Result | Exception


class Predictions:
    """Cells to be predicted, in any order, with the GPUs that they may name.

    `answered` is told each cell with its result, or with what kept it from having one: a `UsageError` where
    lerobot refuses it, a `TraceError`, a `DiedError`, or whatever else was raised.
    """

    def __init__(
        self, cells: Iterable[Cell], catalogue: Catalogue, answered: Callable[[Cell, Answer], None]
    ) -> None:
        self._catalogue = catalogue
        self._answered = answered
        self._groups: dict[object, list[Cell]] = defaultdict(list)
        for cell in cells:
            self._groups[_trace_key(cell)].append(cell)
        self._cold = {key: cold[0] for key, group in self._groups.items() if (cold := _cold(group))}

    @property
    def tasks(self) -> int:
        """Traces to record and cells to predict."""
        return len(self._cold) + sum(map(len, self._groups.values()))

    def run(self, tasks: Tasks) -> None:
        """Trace and predict, each cell as soon as its trace is there."""
        for key, cell in self._cold.items():
            finish = partial(self._traced, tasks, self._groups[key])
            tasks.add(f"tracing {cell_label(cell)}", finish, trace_task, cell)
        for key, group in self._groups.items():
            if key not in self._cold:
                self._predict(tasks, group)
        tasks.run()

    def _traced(self, tasks: Tasks, group: list[Cell], future: Future[Any]) -> None:
        error = future.exception()
        if isinstance(error, Exception):  # each cell would meet the same
            tasks.leave_out(len(group))
            for cell in group:
                self._answered(cell, error)
        else:
            future.result()
            self._predict(tasks, group)

    def _predict(self, tasks: Tasks, group: list[Cell]) -> None:
        for cell in group:
            label = f"{cell_label(cell)} batch {cell.batch_size}"
            tasks.add(label, partial(self._predicted, cell), predict_task, cell, self._catalogue)

    def _predicted(self, cell: Cell, future: Future[Result]) -> None:
        error = future.exception()
        self._answered(cell, error if isinstance(error, Exception) else future.result())


def predict_each(cells: Sequence[Cell], catalogue: Catalogue, workers: Workers) -> list[Answer]:
    """Return what becomes of each cell, in their order."""
    answers: dict[str, Answer] = {}

    def note(cell: Cell, answer: Answer) -> None:
        answers[cell.identity()] = answer

    with usable_cache():
        predictions = Predictions(cells, catalogue, note)
        with workers.tasks(predictions.tasks) as tasks:
            predictions.run(tasks)
    return [answers[cell.identity()] for cell in cells]


def trace_task(cell: Cell) -> None:
    """Make sure that the trace of the cell is cached."""
    trace_for(cell)


def predict_task(cell: Cell, catalogue: Catalogue) -> Result:
    """Answer one cell."""
    return predict_cell(cell, catalogue=catalogue)


def here_if_traced(cells: Iterable[Cell], workers: Workers) -> Workers:
    """Return this process instead, if at most one trace is to be made: starting workers would take longer."""
    cold = set() if missing_lerobot() else {_trace_key(cell) for cell in _cold(cells)}
    return workers if len(cold) > 1 else replace(workers, executor=InThisProcess())


def _cold(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if _is_cold(cell)]


def _is_cold(cell: Cell) -> bool:
    try:
        return cached_trace(cell) is None
    except Exception:  # noqa: BLE001 - whoever traces it meets the same, and tells the cell
        return True


def _trace_key(cell: Cell) -> object:
    # a (micro) batch of one has a trace of its own
    return repr(cell.trace_key()), cell.batch_size < 2 * cell.micro_batches


def cell_label(cell: Cell) -> str:
    """Return a short name of what all batch sizes of a cell share."""
    precision = () if cell.precision == "fp32" else (cell.precision,)
    overrides = (f"{name}={value}" for name, value in sorted(cell.overrides.items()))
    return " ".join((cell.policy, cell.resolution, cell.cameras_text, *precision, *cell.changes, *overrides))
