"""Measure the same cells in new processes and in forks of one that has imported lerobot; print the ratio.

    python benchmarks/fork_server.py                 # on the CPU: 6 runs of a small ACT
    python benchmarks/fork_server.py --device cuda   # 40 runs of ACT, and a third time sharing the GPU
    python benchmarks/fork_server.py --device cuda --beside 8   # only 8 of them in new processes

Both ways take turns, so that what else the machine does slows both. Everything that a run finds but times and
what repeats it must be equal; a difference is named, and the exit code is then 1.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import click

from actprof.cell import Cell
from actprof.hardware import builtin_catalogue
from actprof.measuring.choose_device import choose_gpu
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.worker import forked, measuring_server
from actprof.results import Result
from actprof.scenario.grid import Scenario, build_scenario
from actprof.sweeps.measure_cells import measure_cells, plan_measuring
from actprof.sweeps.runner import answer_missing
from actprof.sweeps.store import ResultsStore

_SMALL = {"chunk_size": 8, "n_action_steps": 8, "dim_model": 64, "n_heads": 4, "dim_feedforward": 96}
_PLANS_ARE_FIXED = {"cudnn_benchmark": False}  # or runs differ whichever way they are started


def scenario(device: str) -> Scenario:
    """Return the cells: a few of a small ACT, or 40 of ACT on a card that is played."""
    if device == "cpu":
        fixed = {"set": _SMALL, "resolution": "64x64", **_PLANS_ARE_FIXED}
        return build_scenario(fixed, {"batch_size": [1, 2, 3, 4, 6, 8]})
    grid = {
        "batch_size": [2, 4, 8, 16, 32],
        "resolution": ["224x224", "320x240", "640x360", "640x480"],
        "expandable_segments": [False, True],
    }
    return build_scenario({"gpu": "RTX 3090", **_PLANS_ARE_FIXED}, grid)


def timed(measure: Callable[[Cell], Result], cell: Cell) -> tuple[Result, float]:
    """Return what a run found, and the seconds until it was known."""
    start = time.perf_counter()
    found = measure(cell)
    return found, time.perf_counter() - start


def without_times(found: Result) -> Result:
    """Return a result without what differs between any two runs."""
    taken = found.measurement
    if taken is None:
        return found
    resident = 0 if found.on_cpu else found.peak_process_bytes
    plain = replace(taken, date="", card=None, context_bytes=0, resident_bytes=0)
    return replace(found, measurement=plain, peak_process_bytes=resident)


def shared_seconds(asked: Scenario) -> float:
    """Return the seconds per cell of a sweep whose runs share the GPU; predictions are not counted."""
    with tempfile.TemporaryDirectory() as folder, ResultsStore(Path(folder)) as store:
        answer_missing(asked, store)
        start = time.perf_counter()
        measure_cells(plan_measuring(asked, "measure"), store, share_gpu=True)
        return (time.perf_counter() - start) / len(asked.cells)


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--beside", type=int, help="So many cells are also measured in new processes.  [default: all]")
def main(*, device: str, beside: int | None) -> None:
    """Print seconds per cell of both ways, and the ratio."""
    asked = scenario(device)
    here = usable_gpus()
    cells = list(asked.cells)
    step = max(len(cells) // (beside or len(cells)), 1)
    fresh: list[float] = []
    in_forks: list[float] = []
    differs = []
    with measuring_server() as server:
        for place, cell in enumerate(cells):
            choice = choose_gpu(cell, here, builtin_catalogue(), device=device)
            run = Run(choice=choice, memory_only=True)
            found, seconds = timed(replace(run, launcher=forked(server)).measure, cell)
            in_forks.append(seconds)
            if place % step == 0:
                alone, seconds = timed(run.measure, cell)
                fresh.append(seconds)
                if without_times(found) != without_times(alone):
                    differs.append(cell)
    one, other, later = mean(fresh), mean(in_forks), mean(in_forks[1:])
    print(f"{len(cells)} cells on {device}, {len(fresh)} of them also in new processes")
    print(f"new process      {one:6.2f} s a cell")
    print(f"fork             {other:6.2f} s a cell, the first {in_forks[0]:.2f} s, which imports lerobot")
    print(f"ratio            {one / other:6.2f}; after the first {one / later:.2f}")
    if device == "cuda":
        together = shared_seconds(asked)
        print(f"sharing the GPU  {together:6.2f} s a cell, ratio {one / together:.2f}")
    for cell in differs:
        print(f"differs: {cell.to_json()}")
    raise SystemExit(bool(differs))


if __name__ == "__main__":
    main()
