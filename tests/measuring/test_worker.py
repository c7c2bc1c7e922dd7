"""The worker on the real CPU: the real policy, and the tracer's own count of live tensors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.request import Request
from actprof.measuring.worker import highest_live_bytes, run_worker
from actprof.processes.worker import Conditions


def traced_on_a_cpu_without_data(cell):
    """Return the highest live bytes of the training step on fake CPU tensors."""
    from actprof.trace.fake import fake_cuda
    from actprof.trace.record import record

    with fake_cuda():
        return highest_live_bytes(record(cell, device_type="cpu").recorder)


def test_a_small_policy_is_measured_in_a_process_of_its_own(small_cell):
    """Tokens, seconds, resident memory; live tensor bytes equal the traced ones exactly."""
    told = []
    request = Request(cell=small_cell, device_type="cpu", most_seconds=0.0)
    answer = run_worker(request, Conditions(listener=told.append))

    assert "importing lerobot" == told[0].text
    assert (2, 5) == (answer.measurement.warmup_steps, answer.measurement.steps)
    assert 10 == answer.encoder_tokens  # latent, state, 2 cameras of 2 x 2
    assert 0 < answer.step_seconds.low <= answer.step_seconds.median <= answer.step_seconds.high
    assert answer.measurement.resident_bytes > answer.measurement.live_tensor_bytes
    assert traced_on_a_cpu_without_data(small_cell) == answer.measurement.live_tensor_bytes


def test_what_lerobot_refuses_comes_back_as_a_usage_error(small_cell):
    """In lerobot's words."""
    bad = replace(small_cell, overrides={**small_cell.overrides, "n_action_steps": 99})
    with pytest.raises(UsageError, match="lerobot refuses this policy"):
        run_worker(Request(cell=bad, device_type="cpu"), Conditions())


@pytest.mark.slow
@pytest.mark.parametrize(("resolution", "tokens"), [("640x480", 602), ("224x224", 100)])
def test_the_command_measures_act_on_the_cpu(resolution, tokens, capsys, monkeypatch):
    """`actprof measure --batch-size 2 --json`: one object; live tensors equal the traced ones exactly."""
    import sys

    from actprof.cli import main

    arguments = [
        "actprof",
        "measure",
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--resolution",
        resolution,
        "--steps",
        "1",
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as done:
        main()

    assert 0 == done.value.code
    found = json.loads(capsys.readouterr().out)
    assert ("measured", tokens, "cpu") == (found["source"], found["encoder_tokens"], found["device"]["type"])
    assert 0 < found["step_seconds"]["low"] <= found["step_seconds"]["median"] < float("inf")
    assert " ".join(arguments) == found["measurement"]["command"]
    expected = traced_on_a_cpu_without_data(Cell(batch_size=2, resolution=resolution))
    assert expected == found["peak_allocated_bytes"] == found["measurement"]["live_tensor_bytes"]
