"""Answer the grid of a scenario: trace what is not cached, predict, ground; store each answer at once.

A cell whose process dies of it is `unknown`, and is asked again by the next sweep.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.errors import DiedError, TraceError, UsageError
from actprof.measuring.grounding import check_grounding, ground_task
from actprof.policies.facts import PolicyFacts
from actprof.prediction.predict import gpu_of, unknown_result
from actprof.prediction.tasks import predict_task, trace_task
from actprof.processes.pool import default_jobs, worker_pool
from actprof.progress import Listener, Progress
from actprof.results import Result
from actprof.scenario import Scenario
from actprof.sweeps.store import ResultsStore, fingerprint, grounding_key
from actprof.trace.cache import cached_trace, usable_cache

_log = logging.getLogger(__name__)


def run_sweep(
    scenario: Scenario,
    store: ResultsStore,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    ground: bool = True,
    listener: Listener | None = None,
    executor: Executor | None = None,
) -> tuple[Result, ...]:
    """Answer every cell of `scenario` that `store` has no current answer to; return all of them.

    Args:
        scenario: the grid.
        store: where answers are kept; each is stored the moment it is known.
        jobs: worker processes; one for each core if left out.
        fresh: answer again what is known already.
        ground: also run each distinct policy on the CPU.
        listener: told after every task.
        executor: where tasks run instead of worker processes.

    Raises:
        UsageError: the scenario asks for what cannot be.
        GroundingError: the real policy differs from the traced one.
    """
    with usable_cache():  # for the plan too: what it counts as cached, the workers must find
        plan = _plan(scenario, store, fresh=fresh, ground=ground and scenario.ground)
        sweep = _Sweep(scenario, store, plan, listener or (lambda _progress: None))
        if plan.size and executor is not None:
            sweep.run(executor)
        elif plan.size:
            with worker_pool(min(jobs or default_jobs(), plan.size)) as pool:
                sweep.run(pool)
    return store.results(scenario.cells)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is left to do: cells by trace, traces to record, groundings to make (one cell for each)."""

    ready: list[Cell]
    waiting: dict[str, list[Cell]]
    traces: dict[str, Cell]
    groundings: list[Cell]

    @property
    def size(self) -> int:
        cells = len(self.ready) + sum(len(cells) for cells in self.waiting.values())
        return cells + len(self.traces) + len(self.groundings)


def _plan(scenario: Scenario, store: ResultsStore, *, fresh: bool, ground: bool) -> _Plan:
    stamps = {} if fresh else store.stamps()
    missing = [
        cell
        for cell in scenario.cells
        if stamps.get(cell.identity()) != fingerprint(gpu_of(cell, scenario.catalogue))
    ]
    plan = _Plan([], defaultdict(list), {}, [])
    for cell in missing:
        key = _trace_key(cell)
        if key not in plan.traces and cached_trace(cell) is not None:
            plan.ready.append(cell)
        else:
            plan.traces.setdefault(key, cell)
            plan.waiting[key].append(cell)
    if ground:
        known = {} if fresh else store.grounding_stamps()
        distinct = {grounding_key(cell): cell for cell in reversed(scenario.cells)}
        for key, cell in reversed(distinct.items()):
            if known.get(key) != fingerprint():
                plan.groundings.append(cell)
                if _trace_key(cell) not in plan.traces and cached_trace(cell) is None:
                    plan.traces[_trace_key(cell)] = cell  # it is compared with its trace
    return plan


def _trace_key(cell: Cell) -> str:
    # batch size one has a trace of its own
    return grounding_key(cell) + ("#1" if cell.batch_size == 1 else "")


class _Sweep:
    """One sweep in progress."""

    def __init__(self, scenario: Scenario, store: ResultsStore, plan: _Plan, listener: Listener) -> None:
        self._scenario = scenario
        self._store = store
        self._plan = plan
        self._listener = listener
        self._labels: dict[Future[Any], str] = {}
        self._finish: dict[Future[Any], Callable[[Any], None]] = {}
        self._done = 0
        self._facts: dict[str, PolicyFacts] = {}

    def run(self, executor: Executor) -> None:
        """Submit the tasks, each as soon as what it needs is there, and store what they return."""
        for key, cell in self._plan.traces.items():
            label = f"tracing {cell_label(cell)}"
            self._submit(executor, label, self._traced(executor, key), trace_task, cell)
        for cell in self._plan.ready:
            self._submit_cell(executor, cell)
        for cell in self._plan.groundings:
            if _trace_key(cell) not in self._plan.traces:
                self._submit_grounding(executor, cell)
        self._tell()
        while self._finish:
            finished, _ = wait(self._finish, return_when=FIRST_COMPLETED)
            for future in finished:
                label = self._labels.pop(future)
                try:
                    self._finish.pop(future)(future)
                except UsageError as error:
                    raise UsageError(f"{label}: {error}") from error
                self._done += 1
                self._tell()

    def _submit(
        self,
        executor: Executor,
        label: str,
        finish: Callable[[Any], None],
        task: Callable[..., Any],
        *args: Any,
    ) -> None:
        future = executor.submit(task, *args)
        self._labels[future] = label
        self._finish[future] = finish

    def _submit_cell(self, executor: Executor, cell: Cell) -> None:
        label = f"{cell_label(cell)} batch {cell.batch_size}"
        self._submit(executor, label, self._predicted(cell), predict_task, cell, self._scenario.catalogue)

    def _submit_grounding(self, executor: Executor, cell: Cell) -> None:
        label = f"running {cell_label(cell)} on the CPU"
        self._submit(executor, label, self._grounded(cell), ground_task, cell)

    def _tell(self) -> None:
        running = tuple(label for future, label in self._labels.items() if future.running())
        self._listener(Progress(self._plan.size, self._done, running))

    def _traced(self, executor: Executor, key: str) -> Callable[[Future[Any]], None]:
        def finish(future: Future[Any]) -> None:
            waiting = self._plan.waiting[key]
            try:
                self._facts[key] = future.result()
            except DiedError as error:  # each cell would kill a process more
                for cell in waiting:
                    self._put_unknown(cell, error)
                self._done += len(waiting)
                waiting = []
            except TraceError:
                pass  # the cells will say it
            for cell in waiting:
                self._submit_cell(executor, cell)
            for cell in self._plan.groundings:
                if _trace_key(cell) == key:
                    self._submit_grounding(executor, cell)

        return finish

    def _predicted(self, cell: Cell) -> Callable[[Future[Result]], None]:
        stamp = fingerprint(gpu_of(cell, self._scenario.catalogue))

        def finish(future: Future[Result]) -> None:
            try:
                self._store.put_result(future.result(), stamp)
            except DiedError as error:
                self._put_unknown(cell, error)

        return finish

    def _put_unknown(self, cell: Cell, error: DiedError) -> None:
        result = unknown_result(cell, str(error), catalogue=self._scenario.catalogue)
        self._store.put_result(result, "")  # no answer that holds for the next sweep

    def _grounded(self, cell: Cell) -> Callable[[Future[Any]], None]:
        def finish(future: Future[Any]) -> None:
            try:
                grounding = future.result()
            except DiedError as error:
                _log.warning("%s was not run on the CPU: %s", cell_label(cell), error)
                return
            facts = self._facts.get(_trace_key(cell))
            if facts is None and (trace := cached_trace(cell)) is not None:
                facts = trace.policy
            if facts is not None:  # what cannot be traced has nothing to be compared with
                check_grounding(grounding, facts)
            self._store.put_grounding(cell, grounding, fingerprint())

        return finish


def cell_label(cell: Cell) -> str:
    """Return a short name of what all batch sizes of a cell share."""
    overrides = "".join(f" {name}={value}" for name, value in sorted(cell.overrides.items()))
    return f"{cell.policy} {cell.resolution} {cell.cameras_text}{overrides}"


def default_folder(scenario: Scenario) -> Path:
    """Return where a scenario's results are kept: `reports/<name>` below the current folder."""
    return Path("reports") / scenario.name
