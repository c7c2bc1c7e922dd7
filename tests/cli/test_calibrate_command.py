"""`actprof calibrate`, `--calibration` of other commands, and contributions, without measuring anything."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from actprof.ledger.keep import read_rows
from actprof.measurement import DeviceFacts, Measurement
from actprof.prediction.predict import predict_cell
from actprof.step_time.calibration import (
    GROUPS,
    VARIABLE,
    Calibration,
    ProbeTime,
    calibration_of,
    own_calibration_file,
)
from actprof.step_time.host import default_host
from actprof.versions import package_version

HOST = replace(default_host().faster(2.0), name="Fast (calibrated)", processor="Fast")
PASSES = {"forward": 0.004, "backward": 0.005, "optimizer": 0.001}
ON_GPU = Calibration(
    gpu="RTX 3090",
    host=HOST,
    factors=dict.fromkeys(GROUPS, 1.25),
    probes=tuple(
        ProbeTime(name=f"a piece of {group}", group=group, seconds=5e-4, predicted=4e-4) for group in GROUPS
    ),
    launching=PASSES,
    dispatching=PASSES,
    notes=("dropout was left out: not enough free memory",),
    date="2026-11-26T18:00:00+00:00",
    versions={"actprof": package_version("actprof"), "driver": "580.1"},
)
ON_CPU = Calibration(host=HOST, dispatching=PASSES, date=ON_GPU.date, versions=ON_GPU.versions)


@pytest.fixture(autouse=True)
def _configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv(VARIABLE, "")  # a command may set it: what was there comes back
    monkeypatch.setattr("actprof.measuring.nvml.usable_gpus", lambda: ())


@pytest.fixture
def measured(monkeypatch):
    """Return a function that says what calibrating finds."""

    def finds(calibration):
        monkeypatch.setattr("actprof.measuring.calibrate.calibrate", lambda *_gpus, **_options: calibration)

    return finds


def write(path, calibration=ON_GPU):
    """Write a file for `--calibration`."""
    path.write_text(json.dumps(calibration.to_json()))
    return path


@pytest.mark.parametrize("columns", [80, 120])
def test_every_group_is_shown_measured_beside_predicted(run, measured, monkeypatch, columns):
    """And the host beside the usual one; lines fit the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    measured(ON_GPU)
    shown = run("calibrate")
    lines = shown.out.splitlines()

    assert 0 == shown.code
    assert shown.out.startswith("RTX 3090: 6 pieces of work")
    assert [
        group for group in GROUPS if [*group.split(), "1.25"] not in [line.split() for line in lines]
    ] == []
    assert "  a piece of memory" in shown.out
    assert ["a", "kernel,", "forward", "9.5", "us", "19.0", "us"] in [line.split() for line in lines]
    assert "dropout was left out" in shown.out
    assert columns >= max(map(len, lines))
    assert "calibration.json" in shown.err
    assert ON_GPU == calibration_of("RTX 3090")


def test_without_a_gpu_it_says_what_is_not_known(run, measured):
    """The launch itself, and how fast the usual host is on its CPU."""
    measured(ON_CPU)
    shown = run("calibrate").out

    assert shown.startswith("No GPU was measured")
    assert "leaves out what CUDA's libraries and the launch itself take" in " ".join(shown.split())
    assert calibration_of("T4") is None


def test_json_is_the_file(run, measured, tmp_path):
    """With --output the user's own stays as it is."""
    measured(ON_GPU)
    shown = run("calibrate", "--output", tmp_path / "mine.json", "--json")

    assert ON_GPU.to_json() == json.loads(shown.out) == json.loads((tmp_path / "mine.json").read_text())
    assert not own_calibration_file().exists()


def test_a_device_that_is_not_there_is_refused(run):
    """Before anything is started."""
    shown = run("calibrate", "--device", "cuda:2")

    assert 2 == shown.code
    assert "there is no cuda:2" in shown.err


@pytest.mark.parametrize("command", ["predict", "explain", "suggest", "preflight", "sweep", "run"])
def test_commands_that_predict_take_a_calibration(run, command):
    """One option, for all of them."""
    assert "--calibration FILE" in run(command, "--help").out


def test_a_prediction_with_a_shared_file_rests_on_it(run, seed, tmp_path):
    """Without the option it is another; processes that are started find the file too."""
    seed()
    question = "predict", "--set", "chunk_size=7", "--json"
    before = json.loads(run(*question).out)
    shared = write(tmp_path / "shared.json")
    after = json.loads(run(*question, "--calibration", shared).out)

    assert str(shared) == os.environ[VARIABLE]
    assert before["step_seconds"] != after["step_seconds"]
    assert any("Fast (calibrated)" in sentence for sentence in after["assumptions"])


def test_a_file_that_is_no_calibration_is_refused(run, seed, tmp_path):
    """With what to do."""
    seed()
    (tmp_path / "other.json").write_text("{")
    shown = run("predict", "--set", "chunk_size=7", "--calibration", tmp_path / "other.json")

    assert 2 == shown.code
    assert "other.json is no calibration" in shown.err


@pytest.fixture
def result_file(tmp_path, seed):
    """What `actprof measure --json` printed, of somebody who has paths in commands and settings."""
    cell = seed(batch_size=8, overrides={"chunk_size": 7, "pretrained_backbone_weights": "/home/me/w.pt"})
    result = replace(
        predict_cell(cell),
        source="measured",
        device=DeviceFacts(type="cuda", name="NVIDIA GeForce RTX 3090", driver="580.1"),
        measurement=Measurement(
            command="actprof measure --snapshot /home/me/x.pickle", date="2026-11-26T17:00:00+00:00"
        ),
    )
    (tmp_path / "result.json").write_text(json.dumps(result.to_json(curve=False)))
    return tmp_path / "result.json"


def test_a_contribution_has_rows_and_calibration_and_nothing_personal(run, result_file, tmp_path):
    """No path, command, user or host name; what had to be left out is said."""
    own_calibration_file().parent.mkdir()
    write(own_calibration_file())
    shown = run("accuracy", "--add", result_file, "--contribute", tmp_path / "mine.json")
    text = (tmp_path / "mine.json").read_text()
    found = json.loads(text)

    assert 0 == shown.code
    assert "calibration of the GPU RTX 3090, 2026-11-26" in shown.out
    assert "/home" not in text
    assert ON_GPU.to_json() == found["calibration"]
    (row,) = found["rows"]
    assert {"chunk_size": 7} == row["cell"]["overrides"]
    assert "left out of the cell: pretrained_backbone_weights" == row["notes"]
    assert {"driver": "580.1"}.items() <= row["versions"].items()


def test_the_ledger_takes_what_others_contribute(run, result_file, tmp_path):
    """Rows among its rows, calibrations beside them; twice is as once."""
    own_calibration_file().parent.mkdir()
    write(own_calibration_file())
    run("accuracy", "--add", result_file, "--contribute", tmp_path / "mine.json")
    for _ in range(2):
        assert 0 == run("accuracy", tmp_path / "ledger", "--add", tmp_path / "mine.json").code

    (row,) = read_rows(tmp_path / "ledger")
    assert ("NVIDIA GeForce RTX 3090", "2026-11-26T17:00:00+00:00") == (row.gpu, row.run)
    (line,) = (tmp_path / "ledger" / "calibrations.jsonl").read_text().splitlines()
    assert ON_GPU.to_json() == json.loads(line)


def test_there_must_be_something_to_contribute(run, tmp_path):
    """With what makes it."""
    shown = run("accuracy", "--contribute", tmp_path / "mine.json")

    assert 2 == shown.code
    assert "actprof calibrate" in shown.err
