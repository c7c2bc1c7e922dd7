"""Measure the cells of a scenario on the GPUs of this machine; store each at once.

Each GPU has one run at a time, which is timed; or, where memory alone is asked for, as many as it has room
for. A run is a fork of one process that has imported lerobot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from actprof.cell import Cell
from actprof.errors import ActprofError, UsageError
from actprof.hardware import LocalGpu
from actprof.measuring.choose_device import Choice, choose_gpu
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.share_cards import Cards, equal_gpus, most_bytes
from actprof.measuring.worker import forked, measuring_server
from actprof.policies.libraries import missing_lerobot, require_lerobot
from actprof.prediction.many import cell_label
from actprof.processes.pool import Task, Tasks, Workers, default_jobs
from actprof.progress import Listener, nobody
from actprof.results import MEASURED, Result, Verdict
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, measured_fingerprint

MODES = ("auto", "predict", "measure")
_FAILED = ""  # the stamp of a failed run, which is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """The cells of a scenario that are measured, each with its device; and what was decided and why.

    `gpus` are those of this machine.
    """

    scenario: Scenario
    choices: tuple[tuple[Cell, Choice], ...]
    reason: str
    gpus: tuple[LocalGpu, ...] = ()


def plan_measuring(
    scenario: Scenario, mode: str, *, gpus: Callable[[], Sequence[LocalGpu]] = usable_gpus
) -> MeasurePlan:
    """Return which cells of `scenario` are measured under `mode`, on the GPUs of this machine.

    `predict` measures none, `auto` those whose GPU, or one with its memory, is here, `measure` too.

    Raises:
        UsageError: an unknown mode, or `measure` where no cell can be measured.
    """
    if mode not in MODES:
        raise UsageError(f"{mode!r} is not a mode; choose one of {', '.join(MODES)}")
    if mode == "predict":
        return MeasurePlan(scenario=scenario, choices=(), reason="not measured: predicted only, as asked")
    if mode == "auto" and (lacks := missing_lerobot()):
        return MeasurePlan(scenario=scenario, choices=(), reason=f"not measured: {lacks}")
    require_lerobot("measuring")
    here = tuple(gpus())
    measurable, reasons = [], dict[str, dict[str, None]](cuda={}, cpu={})
    for cell in scenario.cells:  # which may be a million, of which none is kept that cannot be measured
        choice = choose_gpu(cell, here, scenario.catalogue)
        reasons[choice.type][choice.reason] = None
        if choice.type == "cuda":
            measurable.append((cell, choice))
    reason = "; ".join(reasons["cuda"] or reasons["cpu"])
    if mode == "measure" and not measurable:
        raise UsageError(f"no run of this scenario can be measured here: {reason}; use --mode predict")
    if 0 < len(measurable) < len(scenario.cells):
        reason = f"{len(measurable)} of {len(scenario.cells)} runs can be measured: {reason}"
    decided = "measured" if measurable else "not measured"
    return MeasurePlan(scenario=scenario, choices=tuple(measurable), reason=f"{decided}: {reason}", gpus=here)


def measure_cells(  # noqa: PLR0913 - the options of a sweep
    plan: MeasurePlan,
    store: ResultsStore,
    *,
    fresh: bool = False,
    share_gpu: bool = False,
    command: str = "",
    listener: Listener = nobody,
) -> None:
    """Measure what `plan` names and `store` lacks, smallest batch first, on all GPUs of the same make.

    Args:
        plan: the cells.
        store: has what is known, and gets what is found.
        fresh: measure again what is known.
        share_gpu: take memory only, with several runs on a GPU as long as their predicted memory fits.
        command: what repeats it, for the record.
        listener: told before and after every run.

    Raises:
        ActprofError: a GPU has vanished; what was known is stored.
        UsageError: lerobot refuses a policy's config.
    """
    known = (_stamp, _memory_stamp) if share_gpu else (_stamp,)
    missing = [
        (cell, choice)
        for cell, choice in plan.choices
        if fresh or store.stamp(cell, source=MEASURED) not in [stamp(cell, choice) for stamp in known]
    ]
    if not missing:
        return
    missing.sort(key=lambda item: item[0].batch_size)  # what surely fits is known first
    with (
        ThreadPoolExecutor(default_jobs()) as threads,
        measuring_server() as server,
        Workers(listener=listener, executor=threads).tasks(len(missing)) as tasks,
    ):
        launch = partial(Run, catalogue=plan.scenario.catalogue, command=command, launcher=forked(server))
        turns = _Turns(plan, store, tasks, launch, share_gpu=share_gpu)
        tasks.run(turns.of(missing))


class _Turns:
    """Has each cell of a sweep run when there is room for it on a GPU, and stores what was found.

    What shared a GPU and had to flush its cache, ran out or failed says too little: it runs again, alone.
    """

    def __init__(
        self,
        plan: MeasurePlan,
        store: ResultsStore,
        tasks: Tasks,
        make_run: Callable[..., Run],
        *,
        share_gpu: bool,
    ) -> None:
        self._plan = plan
        self._store = store
        self._tasks = tasks
        self._make_run = make_run
        self._share = share_gpu
        self._waiting: deque[_Turn] = deque()
        self._running = 0
        self._cards = Cards()

    def of(self, cells: Sequence[tuple[Cell, Choice]]) -> Iterator[Task | None]:
        """Yield a task for each cell when it may begin; None while it may not yet."""
        turns = [self._turn(cell, choice) for cell, choice in cells]
        self._waiting += sorted(turns, key=lambda turn: turn.most is None)  # those that share come first
        while self._waiting or self._running:
            yield self._next()

    def _turn(self, cell: Cell, choice: Choice) -> _Turn:
        catalogue = self._plan.scenario.catalogue
        equal = equal_gpus(choice, self._plan.gpus)
        choices = (choice, *(choose_gpu(cell, (gpu,), catalogue) for gpu in equal))
        predicted = next(iter(self._store.results([cell])), None) if self._share else None
        return _Turn(cell, choices, most_bytes(predicted, choice, catalogue))

    def _next(self) -> Task | None:
        if not self._waiting:
            return None
        turn = self._waiting[0]
        choice = self._cards.place(turn.choices, turn.most)
        if choice is None:
            return None
        self._waiting.popleft()
        self._running += 1
        self._cards.begin(choice, turn.most)
        label = f"measuring {cell_label(turn.cell)} batch {turn.cell.batch_size}"
        run = self._make_run(choice=choice, memory_only=self._share, shares=turn.most is not None)
        return Task(label, partial(self._finish, turn, choice), run.measure, (turn.cell,))

    def _finish(self, turn: _Turn, choice: Choice, future: Future[Result]) -> None:
        self._running -= 1
        self._cards.end(choice, turn.most)
        result = future.result()
        if turn.most is not None and _says_too_little(result):
            self._tasks.more(1)
            self._waiting.append(_Turn(turn.cell, turn.choices, None))
            return
        failed = result.verdict == Verdict.FAILED
        stamp = _memory_stamp if self._share else _stamp
        self._store.put_result(result, _FAILED if failed else stamp(turn.cell, choice))
        if self._store.lost is not None:  # a card's time is not spent on what cannot be kept
            raise self._store.lost
        if failed:
            _check_there(choice, usable_gpus())


@dataclass(frozen=True, slots=True)
class _Turn:
    """A cell, the GPUs that it may run on, and what it takes there at most; None: it runs alone."""

    cell: Cell
    choices: Sequence[Choice]
    most: int | None


def _says_too_little(result: Result) -> bool:
    """Return whether what else is on the GPU may have decided of a run."""
    measurement = result.measurement
    flushed = measurement is not None and measurement.allocator_retries > 0
    return flushed or result.verdict != Verdict.FITS


def _stamp(cell: Cell, choice: Choice) -> str:
    return "" if choice.gpu is None else measured_fingerprint(cell, choice.gpu, choice.cap_bytes)


def _memory_stamp(cell: Cell, choice: Choice) -> str:
    """Return the stamp of a run that was not timed, and is run again where times are asked for."""
    return f"{_stamp(cell, choice)}-memory"


def _check_there(choice: Choice, here: Sequence[LocalGpu]) -> None:
    gpu = choice.gpu
    if gpu is not None and all((other.uuid, other.index) != (gpu.uuid, gpu.index) for other in here):
        raise ActprofError(f"GPU {gpu.index} ({gpu.name}) has vanished; what was known is stored")
