"""Scenarios: grids of runs, their expectations and reports."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.cell import Cell
from actprof.progress import Listener, nobody
from actprof.records import from_plain, to_plain
from actprof.results import MEASURED
from actprof.scenario.grid import Scenario
from actprof.versions import library_versions

if TYPE_CHECKING:
    import pandas as pd

    from actprof.claims.judge import Outcome


REPORT_NAME = "report.html"
CSV_NAME = "results.csv"


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
    ground: bool = True,
    out: str | Path | None = None,
    listener: Listener = nobody,
) -> pd.DataFrame:
    """Answer the grid of a scenario; leave `results.sqlite`, `results.csv` and `report.html` in a folder.

    Args:
        scenario: the grid.
        mode: `predict`; `measure`: also run each cell on a GPU of this machine; `auto`: measure the cells
            whose GPU, or one with at least its memory, is here.
        gpu: another GPU than the scenario's.
        jobs: worker processes; one for each core if left out.
        fresh: answer again what is known already.
        ground: also run each distinct policy on the CPU with real tensors.
        out: the folder; `reports/<scenario>` if left out.
        listener: told about the progress after every task.

    Returns:
        One row per cell, and one more for each measured cell; see `actprof.sweeps.table.results_frame`.

    Raises:
        UsageError: the scenario asks for what cannot be.
        StoreError: the folder cannot be written.
    """
    from actprof.processes.pool import Workers
    from actprof.sweeps.checking import check_with
    from actprof.sweeps.measure_cells import measure_cells, plan_measuring
    from actprof.sweeps.runner import run_sweep
    from actprof.sweeps.store import ResultsStore
    from actprof.sweeps.table import results_frame, write_csv

    scenario, folder = _asked(scenario, gpu, out)
    plan = plan_measuring(scenario, mode)
    workers = Workers(jobs=jobs, listener=listener)
    with ResultsStore(folder) as store:
        meta = _scenario_meta(scenario, gpu=gpu, mode=mode, measuring=plan.reason)
        store.put_meta(meta)
        results = run_sweep(scenario, store, fresh=fresh, ground=ground, workers=workers)
        results += measure_cells(plan, store, fresh=fresh, command=meta["command"], listener=listener)
        outcomes = check_with(scenario, store, fresh=fresh, workers=workers)
        store.put_meta({"outcomes": to_plain(outcomes)})
    frame = results_frame(results)
    write_csv(frame, folder / CSV_NAME)
    write_report(folder)
    return frame


def check(
    scenario: Scenario,
    *,
    gpu: str | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    listener: Listener = nobody,
) -> tuple[Outcome, ...]:
    """Return what becomes of each expectation of a scenario: held, broken, or not to be told.

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


def _scenario_meta(scenario: Scenario, *, gpu: str | None, mode: str, measuring: str) -> dict[str, Any]:
    command = ["actprof", "sweep", str(scenario.path or scenario.name)]
    command += [] if gpu is None else ["--gpu", gpu]
    command += [] if mode == "auto" else ["--mode", mode]
    return {
        "name": scenario.name,
        "question": scenario.question,
        "measuring": measuring,
        "command": shlex.join(command),
        "cells": [cell.to_json() for cell in scenario.cells],
        "outcomes": [],  # until they are known
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def write_report(folder: str | Path) -> Path:
    """Write `report.html` from the store in `folder` and return its path; needs no torch.

    Raises:
        StoreError: there is no store, or the page cannot be written.
    """
    from actprof.claims.judge import Outcome
    from actprof.loading.rows import LoaderResult
    from actprof.report.page import write_page
    from actprof.report.sweep_page import Report, render_report
    from actprof.sweeps.store import ResultsStore

    folder = Path(folder)
    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        cells = [Cell.from_json(cell) for cell in meta.get("cells", [])] or None
        known = ("name", "question", "command", "created", "versions")
        page = Report(
            **{"name": folder.name, **{name: meta[name] for name in known if name in meta}},
            results=store.results(cells),
            measured=store.results(cells, source=MEASURED),
            planned=None if cells is None else len(cells),
            groundings=store.groundings(cells),
            outcomes=tuple(from_plain(Outcome, outcome) for outcome in meta.get("outcomes", [])),
            loading=LoaderResult.from_json(meta["loading"]) if "loading" in meta else None,
        )
    return write_page(folder / REPORT_NAME, render_report(page))
