"""Predict many cells: what is not cached is traced, once for all that share it, then each is predicted.

Both are tasks for worker processes, of this machine or of others. Nothing is lost with what goes wrong, or
with a process that dies: its cell, or the cells whose trace it recorded, are told the error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, cast

from actprof.cell import Cell
from actprof.errors import TraceError
from actprof.hardware import Catalogue
from actprof.policies.libraries import missing_lerobot
from actprof.prediction.elsewhere import PREDICT, TRACE, Lending, OtherInstallationError
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import InThisProcess, Task, Tasks, Workers
from actprof.processes.remote import RemoteExecutor
from actprof.results import Result
from actprof.trace.cache import cached_trace, key_text, save_trace, trace_for, usable_cache
from actprof.trace.storage import trace_from_bytes

Answer: TypeAlias = Result | Exception
_MOST_WAITING = 1000  # cells whose trace is being recorded


class Predictions:
    """Cells to be predicted, with the GPUs that they may name; they are gone through twice, and never kept.

    `answered` is told each cell with its result, or with what kept it from having one: a `UsageError` where
    lerobot refuses it, a `TraceError`, a `DiedError`, or whatever else was raised.
    """

    def __init__(
        self,
        cells: Callable[[], Iterable[Cell]],
        catalogue: Catalogue,
        answered: Callable[[Cell, Answer], None],
    ) -> None:
        self._cells = cells
        self._catalogue = catalogue
        self._answered = answered
        self._count = 0
        self._cold: dict[object, Cell] = {}  # by trace: the first cell that needs it
        hot = set()
        for cell in cells():
            self._count += 1
            key = _trace_key(cell)
            if key not in self._cold and key not in hot:
                if _is_cold(cell):
                    self._cold[key] = cell
                else:
                    hot.add(key)
        self._waiting: dict[object, list[Cell]] = {key: [] for key in self._cold}
        self._failed: dict[object, Exception] = {}

    @property
    def tasks(self) -> int:
        """Traces to record and cells to predict."""
        return len(self._cold) + self._count

    def run(self, tasks: Tasks) -> None:
        """Trace and predict, each cell as soon as its trace is there.

        Raises:
            OtherInstallationError: a machine has not what this one has.
        """
        remote = isinstance(tasks.executor, RemoteExecutor)
        way = (_Elsewhere if remote else _Here)(self._catalogue, tasks, self._answered)
        tasks.run(self._planned(tasks, way))

    def _planned(self, tasks: Tasks, way: _Here) -> Iterator[Task | None]:
        for key, cell in self._cold.items():
            yield way.trace(cell, partial(self._traced, tasks, way, key))
        for cell in self._cells():
            key = _trace_key(cell)
            if key in self._waiting:
                self._waiting[key].append(cell)
                while sum(map(len, self._waiting.values())) > _MOST_WAITING:
                    yield None
            elif key in self._failed:
                tasks.leave_out(1)
                self._answered(cell, self._failed[key])
            else:
                yield way.predict(cell)

    def _traced(self, tasks: Tasks, way: _Here, key: object, error: Exception | None) -> None:
        waiting = self._waiting.pop(key)
        if error is not None:  # each cell would meet the same
            self._failed[key] = error
            tasks.leave_out(len(waiting))
        for cell in waiting:
            if error is None:
                tasks.add(way.predict(cell))
            else:
                self._answered(cell, error)


class _Here:
    """How cells are answered on this machine, where all find what is cached."""

    def __init__(self, catalogue: Catalogue, tasks: Tasks, answered: Callable[[Cell, Answer], None]) -> None:
        self._catalogue = catalogue
        self._tasks = tasks
        self._answered = answered

    def trace(self, cell: Cell, traced: Callable[[Exception | None], None], *, at_home: bool = False) -> Task:
        """Return the task that makes a trace; `traced` is told what went wrong."""

        def finish(future: Future[None]) -> None:
            traced(_error_of(future))

        return Task(f"tracing {cell_label(cell)}", finish, trace_task, (cell,), at_home)

    def predict(self, cell: Cell) -> Task:
        """Return the task that answers a cell."""

        def finish(future: Future[Result]) -> None:
            self._answered(cell, _error_of(future) or future.result())

        return Task(_label(cell), finish, predict_task, (cell, self._catalogue))


class _Elsewhere(_Here):
    """How they are answered on machines that have nothing but what travels with a task.

    A trace is made there where lerobot is, and else at home; it is kept here either way.
    """

    def __init__(self, catalogue: Catalogue, tasks: Tasks, answered: Callable[[Cell, Answer], None]) -> None:
        super().__init__(catalogue, tasks, answered)
        self._lending = Lending(cast("RemoteExecutor", tasks.executor), catalogue)
        self._wanted: dict[str, list[int]] = defaultdict(
            list
        )  # batch sizes whose trace was asked for as well

    def trace(self, cell: Cell, traced: Callable[[Exception | None], None], *, at_home: bool = False) -> Task:
        if at_home:
            return super().trace(cell, traced, at_home=True)

        def finish(future: Future[bytes | None]) -> None:
            error = _error_of(future)
            if error is None and (made := future.result()) is not None:
                save_trace(trace_from_bytes(made), cell)
            elif error is None:
                self._tasks.more(1)
                self._tasks.add(self.trace(cell, traced, at_home=True))
                return
            traced(error)

        return Task(f"tracing {cell_label(cell)}", finish, TRACE, (cell, self._lending.circumstances))

    def predict(self, cell: Cell, asked: tuple[int, ...] = ()) -> Task:
        others = (replace(cell, batch_size=size) for size in self._wanted[key_text(cell)])
        lent = dict.fromkeys(filter(None, map(self._lending.trace, (cell, *others))))

        def finish(future: Future[Result | Cell]) -> None:
            answer = _error_of(future) or future.result()
            if not isinstance(answer, Cell):
                self._answered(cell, answer)
            elif answer.batch_size in asked:
                self._answered(cell, TraceError(f"the trace of {_label(answer)} is there, and does not hold"))
            else:
                self._also(cell, answer, asked)

        return Task(_label(cell), finish, PREDICT, (cell, self._lending.circumstances, *lent))

    def _also(self, cell: Cell, wanted: Cell, asked: tuple[int, ...]) -> None:
        """Answer a cell with one trace more, which may have to be made."""

        def again(error: Exception | None) -> None:
            if error is not None:
                self._answered(cell, error)
                return
            sizes = self._wanted[key_text(cell)]
            if wanted.batch_size not in (*sizes, cell.batch_size):
                sizes.append(wanted.batch_size)
            self._tasks.more(1)
            self._tasks.add(self.predict(cell, (*asked, wanted.batch_size)))

        if _is_cold(wanted):
            self._tasks.more(1)
            self._tasks.add(self.trace(wanted, again))
        else:
            again(None)


def _error_of(future: Future[Any]) -> Exception | None:
    error = future.exception()
    if error is None or (isinstance(error, Exception) and not isinstance(error, OtherInstallationError)):
        return error
    raise error


def predict_each(cells: Sequence[Cell], catalogue: Catalogue, workers: Workers) -> list[Answer]:
    """Return what becomes of each cell, in their order."""
    answers: dict[str, Answer] = {}

    def note(cell: Cell, answer: Answer) -> None:
        answers[cell.identity()] = answer

    with usable_cache():
        predictions = Predictions(lambda: cells, catalogue, note)
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
    return key_text(cell), cell.batch_size < 2 * cell.micro_batches


def _label(cell: Cell) -> str:
    return f"{cell_label(cell)} batch {cell.batch_size}"


def cell_label(cell: Cell) -> str:
    """Return a short name of what all batch sizes of a cell share."""
    precision = () if cell.precision == "fp32" else (cell.precision,)
    overrides = (f"{name}={value}" for name, value in sorted(cell.overrides.items()))
    return " ".join((cell.policy, cell.resolution, cell.cameras_text, *precision, *cell.changes, *overrides))
