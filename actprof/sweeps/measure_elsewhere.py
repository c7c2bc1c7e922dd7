"""Measure the cells of a scenario on the GPUs of other machines; store each result the moment it is known.

Each cell is a task that asks its engine for a GPU. Ray is told which kind: the cell's own card where the
cluster has it, else the smallest that has its memory. Slurm does not say what it has, so there the settings
of the jobs decide (`--slurm gres=gpu:a100:1`), and the machine says if its card cannot run the cell.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from actprof.cell import Cell
from actprof.errors import UsageError, reason_of
from actprof.hardware import Catalogue, Gpu
from actprof.measuring.choose_device import choose_gpu
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.worker import run_forked
from actprof.prediction.many import cell_label
from actprof.prediction.predict import device_of, unknown_result
from actprof.processes.pool import TRACING_BYTES, Task, Workers
from actprof.processes.remote import Errand, Needs, RemoteExecutor
from actprof.results import MEASURED, Result, Verdict
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, measured_fingerprint

_FAILED = ""  # the stamp of a failed run, which is tried again
_KIND = "accelerator_type:"  # Ray's name for the kind of a machine's GPU begins so
_NO_GPUS = "no machine of the cluster has a GPU that can run one"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePlan:
    """Which cells are measured elsewhere, and what was decided and why.

    `kinds` are the cluster's names of GPUs, with the cards; None where the engine does not tell.
    """

    scenario: Scenario
    kinds: Mapping[str, Gpu] | None
    measures: bool
    reason: str

    def needs(self, cell: Cell) -> Needs | None:
        """Return what measuring `cell` takes of a machine; None where no machine can."""
        if not self.measures:
            return None
        plain = Needs(memory_bytes=TRACING_BYTES, gpus=1)
        if self.kinds is None or (cell.gpu is None and cell.capacity_bytes is None):
            return plain
        wanted = device_of(cell, self.scenario.catalogue).gpu
        able = {n: gpu for n, gpu in self.kinds.items() if gpu.capacity_bytes >= wanted.capacity_bytes}
        if not able:
            return None
        best = min(able, key=lambda name: (able[name].name != wanted.name, able[name].capacity_bytes))
        return replace(plain, named=best)


def plan_elsewhere(scenario: Scenario, mode: str, resources: Mapping[str, float] | None) -> RemotePlan:
    """Return what of `scenario` is measured on other machines under `mode`; see `plan_measuring`.

    Args:
        scenario: the grid.
        mode: `predict` measures none, `auto` what a GPU of the cluster can run, `measure` too.
        resources: what the cluster has, by Ray's names; None of an engine that does not tell.

    Raises:
        UsageError: `measure` where no machine has a GPU.
    """
    told = partial(RemotePlan, scenario=scenario)
    if mode == "predict":
        return told(kinds={}, measures=False, reason="not measured: predicted only, as asked")
    if resources is None and mode == "auto":
        why = "Slurm does not tell which GPUs it has; --mode measure asks for one a job"
        return told(kinds=None, measures=False, reason=f"not measured: {why}")
    if resources is None:
        return told(kinds=None, measures=True, reason="measured: on the GPUs that Slurm gave")
    kinds = _kinds(resources, scenario.catalogue)
    plan = told(kinds=kinds, measures=bool(resources.get("GPU")), reason="")
    measurable = sum(plan.needs(cell) is not None for cell in scenario.cells)
    if not measurable and mode == "measure":
        raise UsageError(f"no run of this scenario can be measured: {_NO_GPUS}; use --mode predict")
    if not measurable:
        return replace(plan, measures=False, reason=f"not measured: {_NO_GPUS}")
    cards = ", ".join(sorted({gpu.name for gpu in kinds.values()})) or "its GPUs"
    return replace(
        plan, reason=f"measured: {measurable} of {len(scenario.cells)} runs, on the cluster's {cards}"
    )


def _kinds(resources: Mapping[str, float], catalogue: Catalogue) -> dict[str, Gpu]:
    """Return which of the resources name a card, and which: Ray's own kinds, or what somebody called it."""
    kinds = {}
    for name in resources:
        if name in ("CPU", "GPU", "memory", "object_store_memory") or name.startswith("node:"):
            continue
        try:
            kinds[name] = catalogue.find(name.removeprefix(_KIND))
        except UsageError:  # it names something else, or cards that differ
            continue
    return kinds


def measure_elsewhere(
    plan: RemotePlan, store: ResultsStore, *, fresh: bool, command: str, workers: Workers
) -> None:
    """Measure what `plan` names and `store` lacks.

    What is there holds, whichever card of its kind it was measured on. `fresh` measures it again; `command`
    is what repeats a measurement, for the record.
    """

    def missing() -> Iterator[tuple[Cell, Needs]]:
        for cell in plan.scenario.cells if plan.measures else ():
            needs = plan.needs(cell)
            if needs is not None and (fresh or not store.stamp(cell, source=MEASURED)):
                yield cell, needs

    count = sum(1 for _ in missing())
    if not count:
        return
    with workers.tasks(count) as tasks:
        executor = tasks.executor
        told = pickle.dumps((plan.scenario.catalogue, command))
        kept = executor.keep(told) if isinstance(executor, RemoteExecutor) else told
        tasks.run(_task(plan, store, cell, needs, kept) for cell, needs in missing())


def _task(plan: RemotePlan, store: ResultsStore, cell: Cell, needs: Needs, told: bytes) -> Task:
    def finish(future: Future[tuple[Result, str]]) -> None:
        error = future.exception()
        if error is None:
            store.put_result(*future.result())
        elif isinstance(error, Exception):
            failed = unknown_result(cell, reason_of(error), catalogue=plan.scenario.catalogue)
            store.put_result(replace(failed, source=MEASURED, verdict=Verdict.FAILED), _FAILED)
        else:
            raise error
        if store.lost is not None:  # a card's time is not spent on what cannot be kept
            raise store.lost

    label = f"measuring {cell_label(cell)} batch {cell.batch_size}"
    return Task(label, finish, Errand(measure_here, needs), (cell, told))


def measure_here(cell: Cell, told: bytes) -> tuple[Result, str]:
    """Measure one cell on a GPU of this machine that the engine gave; return the result and its stamp.

    Raises:
        UsageError: none of them can run it, or lerobot refuses the cell.
    """
    catalogue, command = _told(told)
    choice = choose_gpu(cell, usable_gpus(), catalogue, device="cuda")
    result = Run(choice=choice, catalogue=catalogue, command=command, launcher=run_forked).measure(cell)
    if result.verdict == Verdict.FAILED or choice.gpu is None:
        return result, _FAILED
    return result, measured_fingerprint(cell, choice.gpu, choice.cap_bytes)


@lru_cache(maxsize=2)
def _told(told: bytes) -> tuple[Catalogue, str]:
    catalogue, command = pickle.loads(told)  # noqa: S301 - of our own process
    return catalogue, command
