"""Scenarios: grids of runs, their expectations and reports."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.api.reports import CSV_NAME, REPORT_NAME, write_report
from actprof.errors import StoreError, UsageError
from actprof.progress import Listener, nobody
from actprof.records import to_plain
from actprof.results import MEASURED
from actprof.scenario.grid import Scenario
from actprof.versions import library_versions

if TYPE_CHECKING:
    import pandas as pd

    from actprof.claims.judge import Outcome
    from actprof.sweeps.cpu_check import CpuCheck


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: `file:line: what; what instead`, for the first thing in the file that is wrong.
    """
    from actprof.scenario.loading import load_scenario as load

    return load(path)


def sweep(  # noqa: PLR0913 - the options of a command
    scenario: Scenario,
    *,
    mode: str = "auto",
    gpu: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    cpu_check: bool = True,
    out: str | Path | None = None,
    executor: str = "local",
    ray_address: str = "",
    slurm: Mapping[str, str] | None = None,
    runs_per_job: int = 50,
    share_gpu: bool = False,
    listener: Listener = nobody,
) -> pd.DataFrame:
    """Answer the grid of a scenario; leave `results.sqlite`, `results.csv` and `report.html` in a folder.

    A cell that cannot be answered is a row as well, with the verdict `unknown` and the reason.

    Args:
        scenario: the grid.
        mode: `predict`; `measure`: also run each cell on a GPU of this machine; `auto`: measure the cells
            whose GPU, or one with at least its memory, is here.
        gpu: another GPU than the scenario's.
        jobs: worker processes; one for each core if left out. On Slurm: jobs at a time.
        fresh: answer again what is known already.
        cpu_check: then also run each distinct policy on the CPU with real tensors, and compare.
        out: the folder; `reports/<scenario>` if left out.
        executor: `local`, worker processes of this machine; `ray` (`pip install 'actprof[ray]'`); `slurm`
            (`pip install 'actprof[slurm]'`).
        ray_address: of a Ray cluster that is there; a local one is started if left out.
        slurm: settings of the jobs: `partition`, `time`, `timeout_min`, `mem_gb` …, and `cluster`: `local`
            takes processes of this machine for jobs.
        runs_per_job: how many runs a Slurm job answers one after the other.
        share_gpu: measure memory only, with several runs on a GPU of this machine as long as they fit.
        listener: told about the progress after every task.

    Returns:
        One row per cell, and one more for each measured cell; see `actprof.sweeps.table.results_frame`. Of
        more than 10,000 cells none: `results.csv` has them, to be read in parts, and there is no report.

    Raises:
        UsageError: the scenario asks for what cannot be.
        StoreError: the folder cannot be written.
        GroundingError: a real run on the CPU differs from what was traced.
    """
    given: dict[str, Any] = {"gpu": gpu, "jobs": jobs, "fresh": fresh, "out": out, "listener": listener}
    engine: dict[str, Any] = {"executor": executor, "ray_address": ray_address, "runs_per_job": runs_per_job}
    frame, lost = answer_grid(scenario, mode=mode, slurm=slurm, share_gpu=share_gpu, **engine, **given)
    if lost is not None:
        raise lost
    write_results(frame, _asked(scenario, gpu, out)[1])
    if cpu_check:
        check_on_cpu(scenario, **given)
    if frame is None:
        from actprof.sweeps.table import results_frame

        return results_frame(())
    return frame


def answer_grid(  # noqa: PLR0913 - the options of a command
    scenario: Scenario,
    *,
    mode: str = "auto",
    gpu: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    out: str | Path | None = None,
    executor: str = "local",
    ray_address: str = "",
    slurm: Mapping[str, str] | None = None,
    runs_per_job: int = 50,
    share_gpu: bool = False,
    listener: Listener = nobody,
) -> tuple[pd.DataFrame | None, StoreError | None]:
    """Do the first part of `sweep`: answer; only `results.sqlite` is written.

    Returns:
        The rows, or None of more than are shown; and why the store has not all of them, as on a full disk.

    Raises:
        UsageError: the scenario asks for what cannot be.
        StoreError: the folder cannot be used from the start.
    """
    from actprof.processes.pool import Workers
    from actprof.sweeps.checking import check_with
    from actprof.sweeps.executors import LOCAL, Engine, opened
    from actprof.sweeps.measure_cells import measure_cells, plan_measuring
    from actprof.sweeps.measure_elsewhere import RemotePlan, measure_elsewhere, plan_elsewhere
    from actprof.sweeps.runner import answer_missing
    from actprof.sweeps.status import Heartbeat
    from actprof.sweeps.store import ResultsStore
    from actprof.sweeps.table import MOST_SHOWN, results_frame

    scenario, folder = _asked(scenario, gpu, out)
    engine = Engine(name=executor, ray_address=ray_address, slurm=slurm or {}, runs_per_job=runs_per_job)
    engine.check()
    if share_gpu and executor != LOCAL:
        raise UsageError("--share-gpu is for --executor local")
    here = plan_measuring(scenario, mode) if executor == LOCAL else None
    frame = None
    with ResultsStore(folder) as store, ExitStack() as stack:
        meta = _scenario_meta(scenario, gpu=gpu, mode=mode, share_gpu=share_gpu)
        store.put_meta(meta)
        heartbeat = stack.enter_context(Heartbeat(store, listener))
        remote = stack.enter_context(opened(engine, folder, jobs=jobs))
        workers = Workers(jobs=jobs, listener=heartbeat, executor=remote)
        plan = here or plan_elsewhere(scenario, mode, getattr(remote, "resources", None))
        store.put_meta({"measuring": plan.reason})
        answer_missing(scenario, store, fresh=fresh, workers=workers)
        known: dict[str, Any] = {"fresh": fresh, "command": meta["command"]}
        if isinstance(plan, RemotePlan):
            measure_elsewhere(plan, store, workers=workers, **known)
        else:
            measure_cells(plan, store, share_gpu=share_gpu, listener=heartbeat, **known)
        outcomes = check_with(scenario, store, fresh=fresh, workers=workers)
        store.put_meta({"outcomes": to_plain(outcomes)})
        if len(scenario.cells) <= MOST_SHOWN:
            measured = store.results(scenario.cells, source=MEASURED)
            frame = results_frame((*store.results(scenario.cells), *measured))
    return frame, store.lost


def write_results(frame: pd.DataFrame | None, folder: Path) -> None:
    """Do the second part of `sweep`: write `results.csv` and `report.html`.

    Without a frame the table is written from the store, a part at a time, and there is no report.

    Raises:
        StoreError: they cannot be written.
    """
    from actprof.sweeps.store import ResultsStore
    from actprof.sweeps.table import write_csv, write_csv_in_parts

    if frame is not None:
        write_csv(frame, folder / CSV_NAME)
        write_report(folder)
        return
    with ResultsStore(folder, create=False) as store:
        write_csv_in_parts(
            lambda: chain(store.each_result(), store.each_result(source=MEASURED)), folder / CSV_NAME
        )


def check_on_cpu(  # noqa: PLR0913 - the options of a command
    scenario: Scenario,
    *,
    gpu: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    out: str | Path | None = None,
    listener: Listener = nobody,
) -> CpuCheck | None:
    """Do the last part of `sweep`; write the report again with what came of it. None where it is left out.

    Raises:
        GroundingError: a real run on the CPU differs from what was traced.
    """
    from actprof.processes.pool import Workers
    from actprof.sweeps.cpu_check import check_on_cpu as check
    from actprof.sweeps.store import ResultsStore

    scenario, folder = _asked(scenario, gpu, out)
    if not scenario.cpu_check:
        return None
    with ResultsStore(folder) as store:
        before = store.groundings(scenario.cells)
        found = check(scenario, store, fresh=fresh, workers=Workers(jobs=jobs, listener=listener))
        is_new = before != store.groundings(scenario.cells)
    if is_new and (folder / REPORT_NAME).is_file():
        write_report(folder)
    return found


def check(
    scenario: Scenario,
    *,
    gpu: str | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    listener: Listener = nobody,
) -> tuple[Outcome, ...]:
    """Return what becomes of each expectation of a scenario: as expected, not as expected, or not to be told.

    Only the cells that the expectations are about are predicted; options as in `sweep`. What names a GPU of
    its own keeps it, and `out` is read if the scenario was swept.

    Raises:
        UsageError: the scenario expects nothing, or asks for what cannot be.
        StoreError: the results cannot be read or written.
    """
    from actprof.processes.pool import Workers
    from actprof.sweeps.checking import check_scenario

    scenario, folder = _asked(scenario, gpu, out)
    return check_scenario(scenario, folder, workers=Workers(jobs=jobs, listener=listener))


def _asked(scenario: Scenario, gpu: str | None, out: str | Path | None) -> tuple[Scenario, Path]:
    """Return the scenario, perhaps for another GPU, and the folder of its results."""
    from actprof.sweeps.runner import default_folder

    asked = scenario if gpu is None else scenario.with_gpu(gpu)
    return asked, default_folder(asked) if out is None else Path(out)


def _scenario_meta(scenario: Scenario, *, gpu: str | None, mode: str, share_gpu: bool) -> dict[str, Any]:
    from actprof.sweeps.table import MOST_SHOWN

    is_large = len(scenario.cells) > MOST_SHOWN
    command = ["actprof", "sweep", str(scenario.path or scenario.name)]
    command += [] if gpu is None else ["--gpu", gpu]
    command += [] if mode == "auto" else ["--mode", mode]
    command += ["--share-gpu"] if share_gpu else []
    return {
        "name": scenario.name,
        "question": scenario.question,
        "command": shlex.join(command),
        "planned": len(scenario.cells),
        "cells": None if is_large else [cell.to_json() for cell in scenario.cells],
        "outcomes": [],  # until they are known
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }
