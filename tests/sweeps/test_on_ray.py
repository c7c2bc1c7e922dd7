"""Sweeps on Ray: two nodes of one core on this machine, real in everything but the network between them."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from unittest import mock

import pytest
from processes import wait_until

from actprof.errors import DiedError, UsageError
from actprof.processes.pool import Workers
from actprof.processes.remote import Errand, Needs
from actprof.results import MEASURED
from actprof.scenario.loading import load_scenario
from actprof.sweeps import executors_ray
from actprof.sweeps.executors_ray import RayExecutor, _check_answers, ray
from actprof.sweeps.measure_elsewhere import measure_elsewhere, plan_elsewhere
from actprof.sweeps.runner import run_sweep
from actprof.sweeps.status import status_of
from actprof.sweeps.store import ResultsStore

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what Ray warns of is its own affair
BATCHES = list(range(8, 88))
IMPORTED = "sorted({'torch', 'lerobot'} & set(__import__('sys').modules))"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes, whose machines have no trace: an empty cache."""
    from ray.cluster_utils import Cluster

    empty = str(tmp_path_factory.mktemp("nothing"))
    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    with mock.patch.dict(os.environ, {"ACTPROF_CACHE_DIR": empty, "RAY_enable_metrics_collection": "0"}):
        nodes = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        nodes.second = nodes.add_node(**small, num_gpus=1, resources={"RTX 4090": 1})
    ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def on_ray(cluster):
    with RayExecutor() as executor:
        yield executor


@pytest.fixture
def many(tmp_path, seed):
    """So many runs of one trace, which this machine has."""
    seed()
    path = tmp_path / "many.yaml"
    path.write_text(f"set: {{chunk_size: 7}}\ngpu: RTX 3090\nsweep: {{batch_size: {BATCHES}}}\n")
    return load_scenario(path)


def rows(results):
    """Everything that a result says, less how long it took."""
    return [json.dumps({**result.to_json(), "timing": None}) for result in results]


def test_rows_are_those_of_this_machine(on_ray, scenario, store, tmp_path):
    """Byte for byte, in the scenario's order; nobody there has imported torch."""
    here = run_sweep(scenario, store, workers=Workers(jobs=1))
    with ResultsStore(tmp_path / "ray") as other:
        there = run_sweep(scenario, other, workers=Workers(executor=on_ray))

    assert rows(here) == rows(there)
    assert [[]] * 4 == [future.result() for future in [on_ray.submit(eval, IMPORTED) for _ in range(4)]]


def test_what_a_task_raises_comes_home_as_it_is(on_ray):
    """Type and text, without what Ray says of it."""
    error = on_ray.submit(int, "seven").exception(30)

    assert (ValueError, "invalid literal for int() with base 10: 'seven'") == (type(error), str(error))


def test_a_task_that_no_process_survives_is_given_up(on_ray):
    """After a few tries; the next one is answered."""
    died = on_ray.submit(os._exit, 1)

    assert 7 == on_ray.submit(int, 7).result(30)
    with pytest.raises(DiedError, match="Ray lost it: The worker died unexpectedly"):
        died.result(60)


def test_cancelled_tasks_make_room(on_ray):
    """Those that wait and those that run."""
    futures = [on_ray.submit(time.sleep, 60) for _ in range(6)]
    for future in futures:
        future.cancel()

    assert 7 == on_ray.submit(int, 7).result(30)
    assert all(future.cancelled() for future in futures)


def test_progress_says_how_many_cores_are_busy(on_ray):
    """Of how many machines."""
    running = on_ray.submit(time.sleep, 60)

    assert wait_until(lambda: on_ray.doing == "1 of 2 cores busy on 2 machines", 20)
    assert 8 == on_ray.window
    running.cancel()


def test_a_run_is_measured_where_the_card_is(on_ray, seed, tmp_path, store):
    """The machine has none in truth, and says so; what failed is tried again."""
    cells = [seed(gpu=gpu) for gpu in ("RTX 4090", "RTX 3060 12 GB", "H100")]
    scenario = replace(load_scenario(write(tmp_path)), cells=cells)
    plan = plan_elsewhere(scenario, "measure", on_ray.resources)
    measure_elsewhere(plan, store, fresh=False, command="", workers=Workers(executor=on_ray))

    assert "measured: 2 of 3 runs, on the cluster's RTX 4090" == plan.reason
    assert ["RTX 4090", "RTX 4090", None] == [getattr(plan.needs(cell), "named", None) for cell in cells]
    reasons = [(result.verdict, result.reason.partition(";")[0]) for result in store.results(source=MEASURED)]
    assert [("error", "device 'cuda' cannot run this cell: no NVIDIA GPU here")] * 2 == reasons


def write(folder):
    path = folder / "one.yaml"
    path.write_text("batch_size: 8\n")
    return path


def test_a_killed_driver_is_resumed(cluster, many, tmp_path):
    """What was stored stays as it was; the same command does the rest, and --status tells of both."""
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "actprof", "sweep", str(many.path), "--mode", "predict", "--out", folder]
    command += ["--no-cpu-check", "--executor", "ray", "--ray-address", cluster.address]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: 20 <= stored(folder), 60)
    driver.kill()
    driver.wait()
    before = times(folder)
    killed = status_of(folder)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    after = times(folder)

    assert (False, "") == (killed.working.is_alive, killed.working.ended)
    assert 20 <= len(before) < len(BATCHES) == len(after)
    assert before.items() <= after.items()
    assert "done" == status_of(folder).working.ended
    assert f"{len(BATCHES)} runs: " in again.stdout


def stored(folder):
    return len(times(folder)) if (folder / "results.sqlite").is_file() else 0


def times(folder):
    """The row and the time of each stored result."""
    with sqlite3.connect(folder / "results.sqlite") as connection:
        try:
            return dict(connection.execute("SELECT cell, rowid || stored_at FROM results").fetchall())
        except sqlite3.OperationalError:  # it has no table yet
            return {}


def test_a_lost_node_costs_nothing_but_time(cluster, on_ray, many, store, monkeypatch):
    """It dies with work in hand: every run is answered, and stored once."""
    put, killed = [], []
    real = ResultsStore.put_result

    def note(self, result, stamp):
        put.append(result.cell)
        real(self, result, stamp)

    def kill(progress):
        if progress.done >= 10 and not killed:
            killed.append(progress.done)
            sleeping = on_ray.submit(Errand(time.sleep, Needs(cores=1)), 3)
            assert not sleeping.done()
            cluster.remove_node(cluster.second, allow_graceful=False)

    monkeypatch.setattr(ResultsStore, "put_result", note)
    results = run_sweep(many, store, workers=Workers(executor=on_ray, listener=kill))

    assert [10] == killed
    assert [*many.cells] == [result.cell for result in results]
    assert {"fits"} == {result.verdict for result in results}
    assert len(many.cells) == len(put)


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    """By its address, with what Ray says."""

    def refuse(**_told):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(executors_ray.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(executors_ray.ray, "init", refuse)
    with pytest.raises(UsageError, match="the Ray cluster at ray://here:1 cannot be used: nobody there"):
        RayExecutor("ray://here:1")


def test_an_address_where_nobody_answers_is_said_at_once():
    """Ray itself would try for minutes; what is no plain address is left to it."""
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        _check_answers("127.0.0.1:1")
    for address in ("", "auto", "local", "ray://127.0.0.1:1"):
        _check_answers(address)
