"""Predicted step times of the real ACT, against published ones and against torch's own count of FLOPs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actprof.accuracy_ledger import read_rows
from actprof.analysis.step_time import predict_step_time, update_rows
from actprof.hardware import find_gpu
from actprof.scenario.cell import Cell
from actprof.trace.cache import trace_for

LEDGER = Path(__file__).resolve().parents[1] / "reports" / "accuracy"
ROWS = [row for row in read_rows(LEDGER) if row.measured.step_seconds]
ALONE = [row for row in ROWS if row.gpu != "B200"]  # that run was one of eight processes under DDP


def step_time(cell):
    trace, _cached = trace_for(cell)
    return predict_step_time(trace, cell.batch_size, find_gpu(cell.gpu))


def test_the_ledger_has_the_published_step_times():
    """Two cards with one process, and a B200 under DDP."""
    assert (5, 4) == (len(ROWS), len(ALONE))


@pytest.mark.parametrize("row", ALONE, ids=lambda row: row.name)
def test_published_step_times_are_met(row):
    """Within a factor of 1.4, and inside the band that is stated."""
    found = step_time(row.cell)
    observed = row.measured.step_seconds

    assert observed / 1.4 < found.seconds.median < observed * 1.4
    assert found.seconds.low < observed < found.seconds.high
    assert found.limited_by == "arithmetic"


def test_act_on_a_b200_is_launch_bound():
    """One camera and state 14, as in lerobot's issue 4612: about 1,150 kernels, the GPU busy for a third.

    The measured step has DDP's waits in it, so the prediction of one process is shorter.
    """
    (row,) = [row for row in ROWS if row not in ALONE]
    one = step_time(row.cell)
    two = step_time(Cell(batch_size=8, gpu="B200"))

    assert one.seconds.median < row.measured.step_seconds
    assert ("launches", "launches") == (one.limited_by, two.limited_by)
    assert 1000 < one.kernel_launches < 1200
    assert 0.15 < one.work.busy_share < 0.45


def test_flops_equal_those_of_torchs_flop_counter(small_cell):
    """Forward, backward and optimizer of one real update."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from actprof.policies.workload import build_workload

    workload = build_workload(small_cell, torch.device("cpu"))
    workload.step()
    with FlopCounterMode(display=False) as counter:
        workload.step()
    trace, _cached = trace_for(small_cell)
    rows = update_rows(trace)
    size = small_cell.batch_size
    traced = trace.ops.flops_constant[rows] + size * trace.ops.flops_per_sample[rows]

    assert counter.get_total_flops() == int(traced.sum())


def test_bytes_are_inputs_once_and_outputs_once(small_cell):
    """What an op makes is counted in its bytes, by shape and dtype; no op but a wait moves nothing."""
    trace, _cached = trace_for(small_cell)
    size = small_cell.batch_size
    details = trace.details()
    made = np.zeros(len(trace.ops.names))
    for tensor, (row, shape) in enumerate(zip(trace.tensors.op, details.shapes, strict=True)):
        if shape is not None:
            made[row] += trace.tensors.requested_bytes(size)[tensor]
    moved = trace.ops.bytes_constant + size * trace.ops.bytes_per_sample
    short = {trace.ops.names[row] for row in np.flatnonzero(moved < made)}
    assert set() == short
    rows = update_rows(trace)
    idle = {trace.ops.names[row] for row in rows if moved[row] == 0}
    assert idle <= {"aten._local_scalar_dense.default"}


def test_half_precision_is_faster_where_there_are_tensor_cores(small_cell):
    """The same work at the rate of bf16."""
    gpu = find_gpu("A100 40 GB")
    trace, _cached = trace_for(replace(small_cell, resolution="64x64"))
    full, half = (predict_step_time(trace, 512, gpu, precision=name) for name in ("fp32", "bf16"))
    assert half.work.device_seconds <= full.work.device_seconds
