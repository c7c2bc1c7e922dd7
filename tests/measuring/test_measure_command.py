"""`actprof measure` on a card that does not exist: what is refused, tried, printed and left behind."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from stand_ins import CARD, Launcher, Watcher

from actprof.cli.commands.measure import command
from actprof.errors import UsageError
from actprof.measuring import measure_cell, nvml
from actprof.measuring.measure_cell import Run
from actprof.processes.worker import WorkerError


@pytest.fixture
def measure(monkeypatch):
    """A function that runs the command on an H100 whose processes are stand-ins, or with no GPU."""

    def call(*arguments, launcher=None, gpus=(CARD,)):
        launcher = launcher or Launcher()
        monkeypatch.setattr(nvml, "usable_gpus", lambda: gpus)
        monkeypatch.setattr(measure_cell, "Run", partial(Run, launcher=launcher, watcher=Watcher))
        done = CliRunner().invoke(command, arguments, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.return_value, done.stdout

    return call


def dies(request, _conditions):
    """Stand for a worker that is killed, in the midst of writing its snapshot if it has one to write."""
    if request.snapshot:
        Path(request.snapshot).write_bytes(b"half of")
    raise WorkerError("the worker was killed by SIGKILL", ("last words",))


def test_the_sizes_of_a_boundary_are_tried_in_forks(measure, monkeypatch):
    """The first run has an interpreter of its own; ten steps each of the others."""
    alone, in_forks = Launcher(), Launcher()
    monkeypatch.setattr("actprof.measuring.worker.forked", lambda _server: in_forks)
    _code, printed = measure("--batch-size", "4", "--boundary", "--json", launcher=alone)

    largest = json.loads(printed)["max_batch_size"]
    assert [4] == [request.cell.batch_size for request in alone.requests]
    assert {largest, largest + 1} <= {request.cell.batch_size for request in in_forks.requests}
    assert {10} == {request.steps for request in in_forks.requests}


def test_one_object_is_printed(measure):
    """Its source, device and seconds stand where a script looks for them."""
    code, printed = measure("--batch-size", "4", "--json")

    found = json.loads(printed)
    assert (0, "measured", "fits", "cuda") == (
        code, found["source"], found["verdict"], found["device"]["type"],
    )  # fmt: skip
    assert {"low", "median", "high"} == set(found["step_seconds"])
    assert "H100 80 GB" == found["cell"]["gpu"]


@pytest.mark.parametrize("more", [("--boundary",), ("--snapshot", "act.pickle")])
def test_nothing_more_is_tried_after_a_run_that_failed(measure, more, tmp_path, monkeypatch):
    """The row, with the worker's last lines, and exit code 1; no snapshot, nor half of one."""
    monkeypatch.chdir(tmp_path)
    code, printed = measure("--batch-size", "4", *more, "--json", launcher=dies)
    told, text = measure("--batch-size", "4", *more, launcher=dies)

    found = json.loads(printed)
    assert (1, 1, "error", ["last words"]) == (
        code, told, found["verdict"], found["measurement"]["stderr"],
    )  # fmt: skip
    assert "last words" in text
    assert [] == list(tmp_path.iterdir())


def test_a_snapshot_without_a_folder_is_refused_before_anything_runs(measure, tmp_path):
    """A run takes minutes."""
    launcher = Launcher()
    with pytest.raises(UsageError, match=r"there is no folder .*missing; make it first"):
        measure("--snapshot", str(tmp_path / "missing" / "act.pickle"), launcher=launcher)
    assert [] == launcher.requests


@pytest.mark.parametrize(
    "more", [("--json",), ("--steps", "3"), ("--boundary",), ("--snapshot", "act.pickle")]
)
def test_lines_come_alone(measure, more):
    """What would be left undone is named."""
    with pytest.raises(UsageError, match=f"leave out {more[0]}"):
        measure("--lines", *more)


@pytest.mark.parametrize("option", ["--boundary", "--lines"])
def test_what_needs_a_gpu_says_so(measure, option):
    """With the reason that no GPU will do."""
    with pytest.raises(UsageError, match=f"{option} needs a CUDA GPU: no NVIDIA GPU here"):
        measure(option, gpus=())


def test_a_larger_card_plays_a_smaller_one(measure):
    """The cap leaves room for the played card's context; cuBLAS takes what it takes there."""
    launcher = Launcher()
    _code, printed = measure("--as", "RTX 3090", "--batch-size", "4", "--json", launcher=launcher)

    found, request = json.loads(printed), launcher.requests[0]
    assert found["gpu"]["capacity_bytes"] - found["gpu"]["context_bytes"] == request.cap_bytes
    assert ":4096:2:16:8" == launcher.environments[0]["CUBLAS_WORKSPACE_CONFIG"]
    assert "plays the RTX 3090" in found["assumptions"][0]
