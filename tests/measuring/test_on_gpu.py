"""On a real GPU: the twins of what the other files here test on stand-ins. `pytest -m gpu` runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import actprof
from actprof.measuring.boundary import STEPS, measure_boundary
from actprof.measuring.choose_device import choose_gpu, on_this_card
from actprof.measuring.measure_cell import Run
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.run_device import CudaDevice
from actprof.measuring.worker import forked, measuring_server
from actprof.scenario.grid import build_scenario
from actprof.sweeps.measure_cells import measure_cells, plan_measuring
from actprof.sweeps.runner import run_sweep
from actprof.sweeps.store import ResultsStore
from actprof.units import GIB, MIB

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

SMALL = {"batch_size": 2, "resolution": "224x224"}


def test_the_measured_peak_is_the_predicted_one():
    """ACT: allocated within a hundredth of a GiB of the prediction; no later step differs from the last."""
    result = actprof.measure(**SMALL)
    predicted = actprof.predict(**SMALL, gpu=result.cell.gpu, capacity=result.cell.capacity_bytes)
    run = result.measurement

    assert ("measured", 100, "fits") == (result.source, result.encoder_tokens, result.verdict)
    assert predicted.peak_allocated_bytes == pytest.approx(result.peak_allocated_bytes, abs=GIB / 100)
    assert (2, True) == (run.warmup_steps, run.steps >= 5)
    assert 1 == len({step.peak_allocated_bytes for step in run.step_memory[2:]})
    assert 0 < run.forward_seconds.median + run.backward_seconds.median < 2 * result.step_seconds.median


def test_nvml_sees_the_context_beside_the_segments():
    """A CUDA context is 100 MiB to 2 GiB; 0 where NVML does not name the process."""
    run = actprof.measure(**SMALL).measurement

    assert run.card is not None
    assert run.card.samples > 0
    assert run.context_bytes == 0 or 100 * MIB <= run.context_bytes <= 2 * GIB


def test_a_cap_is_where_it_runs_out():
    """A card that plays one of 2 GiB runs out at batch size 64, with PyTorch's message, read."""
    result = actprof.measure(batch_size=64, resolution="224x224", capacity=2 * GIB)

    assert ("oom", 1) == (result.verdict, result.oom.step)
    assert result.oom.message.startswith("CUDA out of memory. Tried to allocate")
    assert 0 < result.oom.segment_bytes <= result.measurement.cap_bytes
    assert 0 < result.oom.reserved_bytes <= result.measurement.cap_bytes + 10 * MIB  # two decimals of a GiB
    assert result.oom.module.startswith("model.")
    assert result.measurement.allocator_ooms > 0


def test_the_cap_is_met_to_the_byte():
    """`set_per_process_memory_fraction` cuts to whole bytes as the fake does."""
    total = torch.cuda.get_device_properties(0).total_memory
    CudaDevice().prepare(cap_bytes=GIB + 1, cudnn_benchmark=True)
    try:
        assert GIB + 1 == int(torch.cuda.get_per_process_memory_fraction() * total)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_counters_and_clock_are_those_of_torch():
    """Peaks, and the seconds between two events."""
    device = CudaDevice()
    start = device.mark()
    tensor = torch.zeros(GIB, dtype=torch.uint8, device="cuda")
    end = device.mark()
    device.synchronize()

    assert device.memory().peak_allocated_bytes == torch.cuda.max_memory_allocated() >= tensor.numel()
    assert device.memory().peak_reserved_bytes == torch.cuda.max_memory_reserved()
    assert 0 < device.seconds_between(start, end) < 10
    assert torch.cuda.get_device_properties(0).total_memory == device.facts().total_bytes


@pytest.mark.parametrize("alloc_conf", ["", "expandable_segments:True"])
def test_a_snapshot_begins_with_nothing_and_is_replayed(tmp_path, alloc_conf):
    """The simulated allocator lands on its addresses; each request is predicted where plans are fixed."""
    path = tmp_path / "act.pickle"
    result = actprof.measure(**SMALL, snapshot=path, alloc_conf=alloc_conf, cudnn_benchmark=False)

    assert [path] == list(tmp_path.iterdir())
    checked = actprof.verify_snapshot(path)
    assert checked.from_empty
    assert checked.allocations == checked.allocations_matching
    unmatched = actprof.compare_snapshot(path, result.cell)
    assert sum(row.size_bytes for row in unmatched if row.side == "predicted") < GIB / 100


@pytest.mark.parametrize("units", [["ACTEncoderLayer", "ACTDecoderLayer"], []])
def test_one_of_several_gpus_under_fsdp_takes_what_is_predicted(tmp_path, units):
    """FSDP2 on a real GPU whose others are pretended: each request, and reserved with its streams."""
    sharded = {"strategy": "fsdp", "world_size": 2, "wrap_modules": units, "cudnn_benchmark": False}
    path = tmp_path / "fsdp.pickle"
    result = actprof.measure(**SMALL, **sharded, snapshot=path)
    predicted = actprof.predict(**SMALL, **sharded, gpu=result.cell.gpu, capacity=result.cell.capacity_bytes)

    assert predicted.peak_allocated_bytes == pytest.approx(result.peak_allocated_bytes, abs=GIB / 100)
    assert predicted.peak_reserved_bytes == pytest.approx(result.peak_reserved_bytes, rel=0.02)
    unmatched = actprof.compare_snapshot(path, result.cell)
    assert sum(row.size_bytes for row in unmatched if row.side == "predicted") < GIB / 100


def test_lines_of_the_policy_have_bytes():
    """The table names ACT's forward."""
    table = actprof.measure_lines(**SMALL)

    assert "ACT.forward" in table
    assert "MiB" in table


def test_the_boundary_is_confirmed_on_both_sides():
    """A card that plays one of 3 GiB: the size runs ten steps, the next one does not."""
    from actprof.api.cells import make_cell
    from actprof.hardware import builtin_catalogue

    cell = make_cell(default_gpu=None, resolution="224x224", batch_size=8, capacity=3 * GIB)
    choice = choose_gpu(cell, usable_gpus(), builtin_catalogue())
    tried = []
    run = Run(choice=choice)
    guess = actprof.predict(resolution="224x224", batch_size=8, capacity=3 * GIB).max_batch_size
    boundary = measure_boundary(
        run, on_this_card(cell, choice, run.catalogue), guess=guess, tried=tried.append
    )

    found = {result.cell.batch_size: result for result in tried}
    assert (True, "oom") == (found[boundary].runs, found[boundary + 1].verdict)
    assert STEPS == len(found[boundary].measurement.step_memory)


def test_a_result_survives_its_way_through_json():
    """What `actprof measure --json` prints, the ledger reads."""
    result = actprof.measure(**SMALL, steps=3)
    again = type(result).from_json(json.loads(json.dumps(result.to_json(curve=False))))

    assert replace(result, curve=None) == again


def test_a_prediction_does_not_touch_the_gpu(tmp_path):
    """A CUDA context of the parent would be on the card while its worker measures."""
    code = (
        "import actprof, torch; found = actprof.predict(batch_size=2, resolution='224x224', gpu='RTX 3090'); "
        "print(torch.cuda.is_initialized(), found.peak_allocated_bytes)"
    )
    environment = {**os.environ, "ACTPROF_CACHE_DIR": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, **hidden},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for hidden in ({}, {"CUDA_VISIBLE_DEVICES": "", "ACTPROF_CACHE_DIR": str(tmp_path / "other")})
    ]
    assert ["False", "False"] == [touched for touched, _bytes in told]
    assert told[0] == told[1]


def test_a_fork_measures_what_a_new_process_does():
    """Peaks of every step, whatever the allocator's settings: each fork reads its own."""
    from actprof.api.cells import make_cell
    from actprof.hardware import builtin_catalogue

    with measuring_server() as server:
        for alloc_conf in ("", "expandable_segments:True", "max_split_size_mb:64"):
            cell = make_cell(default_gpu=None, alloc_conf=alloc_conf, cudnn_benchmark=False, **SMALL)
            choice = choose_gpu(cell, usable_gpus(), builtin_catalogue())
            run = Run(choice=choice, memory_only=True)
            alone, in_fork = run.measure(cell), replace(run, launcher=forked(server)).measure(cell)

            assert "fits" == alone.verdict == in_fork.verdict
            assert alone.measurement.step_memory == in_fork.measurement.step_memory


def test_runs_that_share_the_gpu_measure_what_they_do_alone(tmp_path):
    """Four on a card that plays one of 6 GiB."""
    grid = {"batch_size": [2, 3, 4, 6], "resolution": ["224x224"]}
    asked = build_scenario({"gpu": None, "capacity": 6 * GIB, "cudnn_benchmark": False}, grid)
    plan = plan_measuring(asked, "measure")
    with ResultsStore(tmp_path) as store:
        run_sweep(asked, store)
        measure_cells(plan, store, share_gpu=True)
        shared = store.results(asked.cells, source="measured")

    for found, (cell, choice) in zip(shared, plan.choices, strict=True):
        alone = Run(choice=choice, memory_only=True).measure(cell)
        assert found.step_seconds is None
        assert alone.measurement.step_memory == found.measurement.step_memory
