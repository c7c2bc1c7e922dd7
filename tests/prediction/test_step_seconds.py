"""Predicted step times of the real ACT, against published ones and against torch's own count of FLOPs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actprof.cell import Cell
from actprof.hardware import builtin_catalogue, find_gpu
from actprof.hardware.step_band import EVIDENCE
from actprof.ledger.keep import read_rows
from actprof.prediction.step_time import predict_step_time, update_rows
from actprof.trace.cache import trace_for

LEDGER = Path(__file__).resolve().parents[2] / "reports" / "accuracy"
ROWS = [row for row in read_rows(LEDGER) if row.measured.step_seconds and row.origin == "published"]
ALONE = [row for row in ROWS if row.gpu != "B200"]  # that run was one of eight processes under DDP


def step_time(cell):
    trace, _cached = trace_for(cell)
    return predict_step_time(trace, cell.batch_size, find_gpu(cell.gpu))


def test_the_ledger_has_the_published_step_times():
    """Two cards with one process, and a B200 under DDP."""
    assert (5, 4) == (len(ROWS), len(ALONE))


def test_the_band_rests_on_the_step_times_of_the_ledger():
    """Measured over predicted seconds of each, to a hundredth, on the GPU itself; see `step_band.py`."""
    known = [row for row in ROWS if row.gpu in {gpu.name for gpu in builtin_catalogue().gpus}]
    ratios = [row.measured.step_seconds / step_time(row.cell).seconds.median for row in known]

    expected = sorted(
        (row.gpu, round(ratio, 2), row.origin) for row, ratio in zip(known, ratios, strict=True)
    )
    assert expected == sorted((item.gpu, item.ratio, item.origin) for item in EVIDENCE)


@pytest.mark.parametrize("row", ALONE, ids=lambda row: row.name)
def test_published_step_times_are_met(row):
    """Within a factor of 1.4, and inside the band that is stated."""
    found = step_time(row.cell)
    observed = row.measured.step_seconds

    assert observed / 1.4 < found.seconds.median < observed * 1.4
    assert found.seconds.low < observed < found.seconds.high
    assert found.limited_by == "arithmetic"


@pytest.mark.parametrize(
    ("gpu", "batch_size", "least", "most"),
    [("RTX 3090", 32, 0.33, 0.66), ("RTX 5060 Ti 16 GB", 8, 0.12, 0.26)],
)
def test_the_step_times_of_the_two_known_cards_are_met(gpu, batch_size, least, most):
    """0.47 s and 0.182 s were observed."""
    (row,) = [row for row in ROWS if (row.gpu, row.cell.batch_size) == (gpu, batch_size)]
    assert least < step_time(row.cell).seconds.median < most


def test_act_on_a_b200_is_launch_bound():
    """One camera and state 14, as in lerobot's issue 4612: about 1,150 kernels, the GPU busy for a third.

    Those that cuDNN adds to change layouts are not counted; a second camera has 323 of its own. The measured
    step has DDP's waits in it, so the prediction of one process is shorter.
    """
    (row,) = [row for row in ROWS if row not in ALONE]
    one = step_time(row.cell)
    two = step_time(Cell(batch_size=8, gpu="B200"))

    assert one.seconds.median < row.measured.step_seconds < one.seconds.high
    assert ("launches", "launches") == (one.limited_by, two.limited_by)
    assert 1080 < one.kernel_launches < 1200
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


# Ops that do not read all that they are given, by what they are given and do not read.
UNREAD = {
    "aten.zeros_like": "a tensor for its shape",
    "aten.ones_like": "a tensor for its shape",
    "aten.randn_like": "a tensor for its shape",
    "aten.max_pool2d_with_indices_backward": "the input; the indices say enough of it",
}


def memory(tensors):
    """Return the bytes of each piece of memory among the tensors, repeated elements once."""
    import torch

    pieces = {}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor):
            once = tensor[tuple(slice(0, 1 if step == 0 else None) for step in tensor.stride())]
            key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride())
            pieces[key] = once.numel() * tensor.element_size()
    return pieces


def law(func, args, kwargs, out):
    """Return (bytes of all inputs, bytes of all outputs); `(a!)` marks arguments that an op changes."""
    from torch.utils._pytree import tree_leaves

    given = [*args, *kwargs.values()]
    signs = [part.split(" ")[0] for part in str(func._schema).split("(", 1)[1].split(", ")]
    changed = [value for value, sign in zip(args, signs, strict=False) if "!" in sign]
    return sum(memory(tree_leaves(given)).values()), sum(memory(tree_leaves([changed, out])).values())


def test_bytes_are_inputs_once_and_outputs_once(monkeypatch):
    """Worked out anew from the tensors of every op of the ACT trace; the exceptions read less, not other."""
    from actprof.trace import record, recorder

    counted = recorder.bytes_moved
    seen = set()

    def checked(func, args, kwargs, out):
        name = str(func._overloadpacket)
        found = counted(func, args, kwargs, out)
        read, written = law(func, args, kwargs, out)
        seen.add(name)
        if name in UNREAD:
            assert written <= found < read + written, name
        else:
            assert read + written == found, name
        return found

    monkeypatch.setattr(recorder, "bytes_moved", checked)
    recording = record.record(Cell(batch_size=8), sources=False)

    assert 2500 < len(recording.recorder.op_bytes)
    assert set(UNREAD) <= seen


def test_half_precision_is_faster_where_there_are_tensor_cores(small_cell):
    """The same work at the rate of bf16."""
    gpu = find_gpu("A100 40 GB")
    trace, _cached = trace_for(replace(small_cell, resolution="64x64"))
    full, half = (predict_step_time(trace, 512, gpu, precision=name) for name in ("fp32", "bf16"))
    assert half.work.device_seconds <= full.work.device_seconds
