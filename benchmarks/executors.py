"""What running a sweep elsewhere costs, and what it takes of this machine's memory.

    python benchmarks/executors.py             seconds of scenarios/3090.yaml by Ray beside local, as a ratio
    python benchmarks/executors.py memory      memory of the driver for 10³, 10⁴ and 10⁵ runs

The second hands a stand-in for a prediction through the real machinery: one real result, for every run. Ray
has two nodes of one core on this machine, and the local sweep two workers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from actprof.api.scenarios import load_scenario
from actprof.cell import Cell
from actprof.prediction import many
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import Workers
from actprof.processes.remote import Errand
from actprof.progress import Progress
from actprof.results import Result
from actprof.scenario.grid import Scenario, build_scenario
from actprof.sweeps.executors_ray import RayExecutor, ray
from actprof.sweeps.runner import answer_missing
from actprof.sweeps.store import ResultsStore

SCENARIO = Path(__file__).parents[1] / "scenarios/3090.yaml"
SIZES = (1_000, 10_000, 100_000)


@contextmanager
def two_nodes() -> Iterator[RayExecutor]:
    """Yield Ray on two nodes of one core each."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    cluster.add_node(**small)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield RayExecutor()
    finally:
        ray.shutdown()
        cluster.shutdown()


def sweep(scenario: Scenario, workers: Workers) -> tuple[float, list[str]]:
    """Answer all; return the seconds, and the rows less how long each took."""
    with tempfile.TemporaryDirectory() as folder, ResultsStore(Path(folder)) as store:
        start = time.perf_counter()
        answer_missing(scenario, store, workers=workers)
        seconds = time.perf_counter() - start
        results = store.each_result(scenario.cells)
        return seconds, [json.dumps({**result.to_json(), "timing": None}) for result in results]


def compare() -> None:
    """Print the seconds of each, and whether the rows are the same."""
    scenario = load_scenario(SCENARIO)
    here = Workers(jobs=2)
    sweep(scenario, here)  # so that traces and limits are cached for both
    start = time.perf_counter()
    with two_nodes() as on_ray:
        print(f"Ray, two nodes of one core: {time.perf_counter() - start:.1f} s to start")
        imported = "'torch' in __import__('sys').modules"
        ratios = []
        for _ in range(3):
            local, rows = sweep(scenario, here)
            remote, theirs = sweep(scenario, Workers(executor=on_ray))
            same = sum(a == b for a, b in zip(rows, theirs, strict=True))
            ratios.append(remote / local)
            print(f"{len(rows)} runs: local {local:.1f} s, Ray {remote:.1f} s, {same} rows the same")
        on_workers = {on_ray.submit(eval, imported).result() for _ in range(8)}
        said = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"Ray over local: {said}; torch imported there: {on_workers}")


def stand_in(result: Result) -> Errand:
    """Return a task that answers every cell with `result`."""

    def answer(cell: Cell, *_told: object) -> Result:
        return replace(result, cell=cell)

    return Errand(answer)


def memory() -> None:
    """Print what the driver holds at the end and at most, by the number of runs."""
    process = psutil.Process()
    sample = load_scenario(SCENARIO).cells[0]
    result = replace(predict_cell(sample), curve=None)
    fixed = {"gpu": sample.gpu, "set": dict(sample.overrides)}
    with two_nodes() as on_ray:
        many.PREDICT = stand_in(result)
        for size in SIZES:
            peak = [0]

            def look(progress: Progress, peak: list[int] = peak) -> None:
                if progress.done % 100 == 0:
                    peak[0] = max(peak[0], process.memory_full_info().uss)

            axes = {"resolution": ["640x480", "320x240"], "batch_size": list(range(8, 8 + size // 2))}
            start = time.perf_counter()
            scenario = build_scenario(fixed, axes)
            with tempfile.TemporaryDirectory() as folder, ResultsStore(Path(folder)) as store:
                answer_missing(scenario, store, workers=Workers(executor=on_ray, listener=look))
                seconds = time.perf_counter() - start
                stored = sum(store.counts().values())
            end, most = process.memory_full_info().uss >> 20, peak[0] >> 20
            print(f"{stored:>9,} runs: {end} MiB at the end, {most} MiB at most, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    memory() if sys.argv[1:] == ["memory"] else compare()
