"""The script that takes the ground truth: resumable at every point, within its minutes. No GPU is asked."""

from __future__ import annotations

import importlib.util
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from stand_ins import CARD, WHOLE, Launcher, Watcher

from actprof.cell import Cell
from actprof.ledger.keep import read_rows
from actprof.measuring.measure_cell import Run
from actprof.processes.worker import WorkerError
from actprof.results import Result
from actprof.units import MIB

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ground_truth.py"


@pytest.fixture
def script(monkeypatch):
    """The script as a module, on a card of 1 GiB that counts its seconds by being asked."""
    spec = importlib.util.spec_from_file_location("ground_truth", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.launcher = Launcher(100 * MIB)
    choice = replace(WHOLE, plays="RTX 3090", reason="it plays")
    monkeypatch.setattr(
        module, "run_of", lambda cell: (
            Run(choice=choice if cell.gpu else WHOLE, launcher=module.launcher, watcher=Watcher), cell,
        ),
    )  # fmt: skip
    monkeypatch.setattr(module, "usable_gpus", lambda: (CARD,))
    return module


def sizes(script):
    """Return the batch sizes that were run, in order."""
    return [request.cell.batch_size for request in script.launcher.requests]


def measure(script, folder, *options):
    """Run the script without what comes after measuring; return what it printed."""
    done = CliRunner().invoke(script.main, [str(folder), "--only-measure", *options])
    assert 0 == done.exit_code, done.output
    return done.output


def test_the_pieces_are_those_of_the_plan(script):
    """A file each, no name twice: the card as it is, four boundaries, four snapshots, the thinned grid."""
    names = [name for name, _take in script.pieces()]

    assert len(set(names)) == len(names)
    count = {kind: sum(name.startswith(kind) for name in names) for kind in ("here", "bound", "snap", "as")}
    assert {"here": 16, "bound": 4, "snap": 4, "as": 24} == count


def test_a_second_call_repeats_nothing(script, tmp_path):
    """What is a file is known; every file is whole."""
    first = measure(script, tmp_path)
    runs = len(sizes(script))
    second = measure(script, tmp_path)

    assert 48 == first.count(": done after")
    assert (runs, 0) == (len(sizes(script)), second.count(": done after"))
    results = [Result.from_json(json.loads(path.read_text())) for path in tmp_path.glob("*.json")]
    assert {"measured"} == {result.source for result in results}
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert 4 == len(list(tmp_path.glob("*.pickle"))) == len(list(tmp_path.glob("*.cell")))


def test_a_played_card_needs_ten_steps_only(script, tmp_path):
    """No seconds of it count, and its command says so."""
    script.one(tmp_path / "as.json", 0.0, cell=Cell(gpu="RTX 3090", batch_size=4))
    script.one(tmp_path / "here.json", 0.0, cell=Cell(gpu=None, batch_size=4))

    played, here = (json.loads((tmp_path / name).read_text()) for name in ("as.json", "here.json"))
    assert (0, 10) == (played["measurement"]["warmup_steps"], played["measurement"]["steps"])
    assert (2, 5) == (here["measurement"]["warmup_steps"], here["measurement"]["steps"])
    assert played["measurement"]["command"].endswith("--as 'RTX 3090' --steps 10")


def test_a_search_that_was_cut_off_goes_on_with_what_it_tried(script, tmp_path):
    """No batch size is tried twice; the answer is that of a search in one go."""
    path = tmp_path / "boundary.json"
    cell = Cell(gpu="RTX 3090")
    script.boundary(tmp_path / "whole.json", float("inf"), cell=cell, guess=30)
    whole = sizes(script)
    script.launcher.requests.clear()

    for _ in whole:
        with pytest.raises(script.NoTimeLeftError):
            script.boundary(path, 0.0, cell=cell, guess=30)
    script.boundary(path, 0.0, cell=cell, guess=30)

    assert whole == sizes(script)
    found, expected = (json.loads((tmp_path / name).read_text()) for name in ("boundary.json", "whole.json"))
    assert expected["max_batch_size"] == found["max_batch_size"] == found["cell"]["batch_size"]
    largest = found["max_batch_size"]
    assert (tmp_path / f"boundary-batch-{largest + 1}.json").exists()
    assert not (tmp_path / f"boundary-batch-{largest}.json").exists()


def test_nothing_is_begun_after_the_minutes(script, tmp_path, monkeypatch):
    """The rest is told, and had by further calls, each of which gets on."""
    clock = itertools.count(step=30)  # each look at the clock takes half a minute
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    told = [measure(script, tmp_path, "--minutes", "2")]
    runs = [len(sizes(script))]
    while "no time left" in told[-1]:
        told.append(measure(script, tmp_path, "--minutes", "2"))
        runs.append(len(sizes(script)))

    assert "no time left; call again for the last 46" in told[0]
    assert runs == sorted(set(runs))
    assert all((tmp_path / name).exists() for name, _take in script.pieces())


def test_three_failures_and_nothing_known_end_the_call(script, tmp_path):
    """A GPU that cannot be used is not paid for 48 times; nothing is stored of it."""

    def fails(*_asked):
        raise WorkerError("the worker ended with exit code 1", ("RuntimeError: no CUDA",))

    script.launcher = fails
    told = measure(script, tmp_path)

    assert 3 == told.count("RuntimeError: no CUDA")
    assert "3 failures and nothing known" in told
    assert [] == list(tmp_path.iterdir())


def test_settings_that_this_machine_cannot_have_do_not_end_the_call(script, tmp_path):
    """Where expandable segments cannot be mapped, all else is measured; so it is in a later call."""
    launcher = script.launcher

    def fails(request, conditions):
        if request.cell.alloc_conf:
            raise WorkerError("CUDA driver error: operation not supported")
        return launcher(request, conditions)

    script.launcher = fails
    told, again = measure(script, tmp_path), measure(script, tmp_path)

    failed = [name for name, _take in script.pieces() if not (tmp_path / name).exists()]
    assert failed
    assert all("expandable" in name for name in failed)
    assert len(failed) == told.count("operation not supported") == again.count("operation not supported")
    assert 0 == again.count(": done after")


def test_the_rows_of_a_folder_get_into_the_ledger(script, tmp_path, seed, monkeypatch):
    """In a call without GPU too; a boundary has the largest batch size, a bad snapshot costs a line."""
    for resolution in script.RESOLUTIONS:
        seed(overrides=script.CHUNK, resolution=resolution)
    ledger = tmp_path / "ledger"
    monkeypatch.setattr(script, "LEDGER", ledger)
    folder = tmp_path / "truth"
    measure(script, folder)
    for path in folder.glob("here-*"):  # of a card that the catalogue does not know
        path.unlink()
    monkeypatch.setattr(script, "usable_gpus", tuple)
    done = CliRunner().invoke(script.main, [str(folder)])

    assert 0 == done.exit_code, done.output
    rows = read_rows(ledger)
    results = [Result.from_json(json.loads(path.read_text())) for path in folder.glob("*.json")]
    assert {result.cell.identity() for result in results} == {row.cell.identity() for row in rows}
    assert 4 == sum(row.measured.max_batch_size is not None for row in rows)
    assert {"oom", "fits", "tight"} >= {row.measured.verdict for row in rows}
    assert 4 == done.output.count(".pickle: ")


def test_without_gpu_and_files_there_is_nothing_to_do(script, tmp_path, monkeypatch):
    """It says so."""
    monkeypatch.setattr(script, "usable_gpus", tuple)
    done = CliRunner().invoke(script.main, [str(tmp_path)])

    assert 2 == done.exit_code
    assert "no NVIDIA GPU here" in done.output
