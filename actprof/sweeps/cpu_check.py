"""Check a sweep's predictions on the CPU: run each policy once with real tensors, and compare with its trace.

What a run found is remembered in the cache folder for all sweeps: it depends on the policy's configuration,
on lerobot and torch, and on how we build the workload, not on the sweep. A comparison is made every time.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actprof.cell import Cell
from actprof.errors import TraceError, reason_of
from actprof.files import cache_folder, keep, read_kept
from actprof.measuring.grounding import Grounding, check_grounding, ground, why_not_on_cpu
from actprof.policies.libraries import versions_for
from actprof.prediction.many import cell_label
from actprof.processes.pool import Task, Tasks, Workers
from actprof.records import from_plain, to_plain
from actprof.scenario.grid import Scenario
from actprof.sweeps.store import ResultsStore, fingerprint, grounding_key
from actprof.trace.cache import trace_for, usable_cache
from actprof.versions import code_digest

_CODE = ("policies", "measuring")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCheck:
    """What came of it: how many policies agree, of which `ran` now; and in sentences what was left out."""

    agree: int = 0
    ran: int = 0
    left_out: tuple[str, ...] = ()


def check_on_cpu(
    scenario: Scenario, store: ResultsStore, *, fresh: bool = False, workers: Workers | None = None
) -> CpuCheck:
    """Run on the CPU what nobody ran there before, and compare every policy of `scenario` with its trace.

    The outcomes go into `store` as soon as they are known. `fresh` runs again what was run already.

    Raises:
        GroundingError: the real policy differs from the traced one.
    """
    checks = _Checks(store)
    with usable_cache():
        cold = [cell for cell in _distinct(scenario) if fresh or not checks.is_known(cell)]
        if cold:
            with (workers or Workers()).tasks(len(cold)) as tasks:
                checks.run(cold, tasks)
    every = [cell for cell in _distinct(scenario) if grounding_key(cell) in store.grounding_stamps()]
    return CpuCheck(agree=len(every), ran=checks.ran, left_out=(*_reasons(scenario), *checks.left_out))


def _distinct(scenario: Scenario) -> list[Cell]:
    """Return a cell for each policy that a CPU can run: what shares a trace has the first of its cells."""
    first: dict[str, Cell] = {}
    for cell in scenario.cells:
        if not why_not_on_cpu(cell.policy):
            first.setdefault(grounding_key(cell), cell)
    return list(first.values())


def _reasons(scenario: Scenario) -> tuple[str, ...]:
    return tuple(filter(None, dict.fromkeys(why_not_on_cpu(cell.policy) for cell in scenario.cells)))


class _Checks:
    """Runs and comparisons of one sweep."""

    def __init__(self, store: ResultsStore) -> None:
        self._store = store
        self._stamps = store.grounding_stamps()
        self.ran = 0
        self.left_out: list[str] = []

    def is_known(self, cell: Cell) -> bool:
        """Return whether the cell is checked, perhaps now, by what an earlier run on this machine found."""
        if self._stamps.get(grounding_key(cell)) == fingerprint(cell):
            return True
        kept = read_kept(_path(cell), _read, "check on the CPU")
        if kept is not None:
            self._compare(cell, kept)
        return kept is not None

    def run(self, cells: list[Cell], tasks: Tasks) -> None:
        """Run the cells on the CPU."""
        for cell in cells:
            label = f"checking on the CPU: {cell_label(cell)} (Ctrl-C leaves it out)"
            tasks.add(Task(label, partial(self._done, cell), ground, (cell,)))
        tasks.run()

    def _done(self, cell: Cell, future: Future[Grounding]) -> None:
        error = future.exception()
        if isinstance(error, Exception):  # a CPU lacks some kernels, of half precision above all
            self.left_out.append(f"{cell_label(cell)}: {reason_of(error)}")
            return
        found = future.result()
        self.ran += 1
        self._compare(cell, found)
        keep(_path(cell), json.dumps(to_plain(found)).encode(), f"the check of {cell_label(cell)} on the CPU")

    def _compare(self, cell: Cell, found: Grounding) -> None:
        try:
            traced = trace_for(cell)[0].policy
        except TraceError:  # what cannot be traced has nothing to be compared with
            return
        check_grounding(found, traced)
        self._store.put_grounding(cell, found, fingerprint(cell))


def _read(data: bytes) -> Grounding:
    return from_plain(Grounding, json.loads(data))


def _path(cell: Cell) -> Path:
    told = json.dumps([grounding_key(cell), versions_for(cell), code_digest(*_CODE)], sort_keys=True)
    return cache_folder() / "cpu-checks" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
