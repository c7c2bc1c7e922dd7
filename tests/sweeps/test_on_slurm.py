"""Sweeps as jobs of Slurm: with submitit's processes of this machine for jobs, as there is no Slurm here."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from unittest import mock

import pytest
from processes import wait_until

from actprof.errors import DiedError, UsageError
from actprof.processes.pool import Workers
from actprof.processes.remote import Errand, Needs
from actprof.sweeps import executors_slurm
from actprof.sweeps.executors import Engine, opened
from actprof.sweeps.executors_slurm import SlurmExecutor
from actprof.sweeps.runner import run_sweep
from actprof.sweeps.store import ResultsStore

LOCAL = {"cluster": "local"}


def once(marker: Path) -> str:
    """Die the first time, as a node does that is taken away."""
    if not marker.exists():
        marker.touch()
        os.abort()
    return "twice"


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Jobs of three tasks, which find the functions of these tests."""
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*folders, os.getenv("PYTHONPATH", "")]))
    with SlurmExecutor(tmp_path / "jobs", LOCAL, runs_per_job=3) as executor:
        yield executor


def test_rows_are_those_of_this_machine(scenario, store, tmp_path):
    """Byte for byte; nothing is left of the jobs' answers."""
    here = run_sweep(scenario, store, workers=Workers(jobs=1))
    engine = Engine(name="slurm", slurm=LOCAL, runs_per_job=2)
    with ResultsStore(tmp_path / "slurm") as other, opened(engine, tmp_path / "slurm") as executor:
        there = run_sweep(scenario, other, workers=Workers(executor=executor))

    def rows(results):
        return [json.dumps({**result.to_json(), "timing": None}) for result in results]

    assert rows(here) == rows(there)
    assert [] == list((tmp_path / "slurm/jobs").glob("answers-*"))


def test_a_job_that_is_lost_runs_again_with_what_it_had_not_answered(jobs, tmp_path):
    """What it had is known already, and comes once."""
    first, lost, last = (
        jobs.submit(int, 7), jobs.submit(once, tmp_path / "marker"), jobs.submit(time.time),
    )  # fmt: skip

    assert (7, "twice") == (first.result(60), lost.result(60))
    assert time.time() > last.result(60)


def test_a_task_that_ends_every_job_is_given_up_and_no_other(jobs):
    """With the last that the job printed."""
    deadly, other = jobs.submit(os.abort), jobs.submit(int, 7)

    with pytest.raises(DiedError, match="the job that worked on it ended 3 times without an answer"):
        deadly.result(120)
    assert 7 == other.result(60)


def test_long_tasks_have_jobs_of_their_own(jobs):
    """Others share one, however few come."""
    alone = Errand(time.sleep, Needs(alone=True))
    futures = [jobs.submit(alone, 60), jobs.submit(alone, 60), jobs.submit(time.sleep, 60)]
    futures += [jobs.submit(time.sleep, 60)]

    assert wait_until(lambda: jobs.doing == "3 local jobs", 30)
    assert 3 * 16 == jobs.window


def test_a_job_whose_sweep_is_gone_ends(jobs, tmp_path):
    """It looks for the folder of its answers before it goes on."""
    jobs.submit(time.sleep, 1)
    jobs.submit(Path(tmp_path / "late").touch)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for folder in (tmp_path / "jobs").glob("answers-*"):
            shutil.rmtree(folder)
        time.sleep(0.02)

    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "--executor slurm cannot be used: .*srun"),
        ({"cluster": "grid"}, "--slurm cluster=grid is none of slurm, local"),
        ({**LOCAL, "colour": "red"}, "--executor slurm cannot be used: .*colour"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path, monkeypatch, settings, words):
    """Before any task is taken; what is in the folder stays there."""
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "notes").touch()
    with pytest.raises(UsageError, match=words):
        SlurmExecutor(tmp_path, settings, runs_per_job=3)

    assert (tmp_path / "notes").exists()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (Engine(name="dask"), "'dask' is not an executor; choose one of local, ray, slurm"),
        (Engine(ray_address="here:1"), "--ray-address is for --executor ray"),
        (Engine(name="ray", slurm=LOCAL), "--slurm is for --executor slurm"),
    ],
)
def test_engines_that_cannot_be_are_refused(engine, words):
    """In a sentence."""
    with pytest.raises(UsageError, match=words):
        engine.check()


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch, name, package):
    """And how to get it."""
    monkeypatch.setattr("actprof.sweeps.executors.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=rf"needs {package}, .*pip install 'actprof\[{name}\]'"):
        Engine(name=name).check()


def test_settings_of_jobs_that_measure_are_theirs_alone(tmp_path):
    """Beside what a task needs, which they replace."""
    settings = {**LOCAL, "partition": "cpu", "mem_gb": "8", "gpu.partition": "gpu", "gpu.gres": "gpu:a100:1"}
    with (
        SlurmExecutor(tmp_path, settings, runs_per_job=3) as executor,
        mock.patch.object(executors_slurm.submitit.AutoExecutor, "update_parameters") as told,
    ):
        executor._submitter(Needs(memory_bytes=400_000_000))
        executor._submitter(Needs(gpus=1))
    predicting, measuring = (call.kwargs for call in told.call_args_list)

    assert ("cpu", 8, None) == (
        predicting["slurm_partition"],
        predicting["mem_gb"],
        predicting["gpus_per_node"],
    )
    assert ("gpu", "gpu:a100:1") == (measuring["slurm_partition"], measuring["slurm_gres"])
    assert "gpus_per_node" not in measuring
