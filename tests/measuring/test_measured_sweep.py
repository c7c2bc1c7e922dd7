"""`actprof sweep` on a machine with a card: what it says that it did, and that a report has both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner
from stand_ins import CARD, Launcher, Watcher

from actprof.cli.commands.sweep import command
from actprof.measuring.measure_cell import Run
from actprof.processes.worker import WorkerError
from actprof.sweeps.measure_cells import plan_measuring

PLAYS = "the H100 80 GB here (GPU 0) plays the RTX 3090"


@pytest.fixture
def sweep(seed, tmp_path, monkeypatch):
    """A function that sweeps two batch sizes on a card that is not there, and returns what it printed."""
    seed()
    scenario = tmp_path / "both.yaml"
    scenario.write_text("set: {chunk_size: 7}\ngpu: RTX 3090\nsweep:\n  batch_size: [8, 16]\n")
    card = replace(CARD, index=0)

    def call(*options, launcher=None):
        make_run = partial(Run, watcher=Watcher)
        monkeypatch.setitem(plan_measuring.__kwdefaults__, "gpus", lambda: (card,))
        monkeypatch.setattr("actprof.sweeps.measure_cells.usable_gpus", lambda: (card,))
        monkeypatch.setattr("actprof.sweeps.measure_cells.Run", make_run)
        monkeypatch.setattr("actprof.sweeps.measure_cells.forked", lambda _server: launcher or Launcher())
        arguments = [str(scenario), "--no-cpu-check", "--jobs", "1", "--out", str(tmp_path / "out"), *options]
        done = CliRunner().invoke(command, arguments, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return call


def test_auto_measures_and_says_where(sweep, tmp_path):
    """Both tables, the decision, and a report with predicted beside measured."""
    shown = sweep()

    assert "by batch size, predicted" in shown
    assert "by batch size, measured" in shown
    assert f"\nmeasured: {PLAYS}, with" in shown
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Predicted and measured" in page
    assert "samples per second" in page.lower()


def test_predict_measures_nothing_and_shows_what_was(sweep):
    """It says which is which."""
    assert "not measured: predicted only, as asked\n" in sweep("--mode", "predict")
    sweep()
    launcher = Launcher()
    shown = sweep("--mode", "predict", launcher=launcher)

    assert [] == launcher.requests
    assert "not measured: predicted only, as asked; 2 measured earlier are shown\n" in shown


def test_a_run_that_dies_costs_its_row_only(sweep):
    """The other cell is measured; the next sweep tries the failed one again."""

    def dies_at_8(request, conditions):
        if request.cell.batch_size == 8:
            raise WorkerError("the worker was killed by SIGKILL", ("last words",))
        return Launcher()(request, conditions)

    first = json.loads(sweep("--mode", "measure", "--json", launcher=dies_at_8))
    again = Launcher()
    second = json.loads(sweep("--json", launcher=again))

    assert ["error", "fits"] == [row["verdict"] for row in first["measured"]]
    assert ["last words"] == first["measured"][0]["measurement"]["stderr"]
    assert [8] == [request.cell.batch_size for request in again.requests]
    assert ["fits", "fits"] == [row["verdict"] for row in second["measured"]]
