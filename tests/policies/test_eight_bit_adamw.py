"""`adamw_8bit` takes the memory that bitsandbytes' AdamW8bit takes."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from lerobot.optim.optimizers import AdamConfig, AdamWConfig, SGDConfig

from actprof.errors import UsageError
from actprof.policies.eight_bit_adamw import build_8_bit
from actprof.policies.workload import build_workload
from actprof.trace.recorder import Recorder

SMALL, LARGE = 4095, 4096


def parameter(count, dtype=torch.float32):
    made = torch.nn.Parameter(torch.zeros(count, dtype=dtype))
    made.grad = torch.ones_like(made)
    return made


def state_bytes(optimizer, *, shared=()):
    tensors = (t for state in optimizer.state.values() for name, t in state.items() if name not in shared)
    return sum(tensor.nbytes for tensor in tensors)


@given(st.integers(1, 20_000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_state_is_two_bytes_an_element_and_eight_a_block(count, dtype):
    """Small parameters have two figures of 32 bits; the dtype of the parameter does not matter."""
    optimizer = build_8_bit(AdamWConfig(), [parameter(count, dtype)])
    optimizer.step()
    expected = 8 * count if count < LARGE else 2 * count + 8 * -(-count // 256)
    assert expected == state_bytes(optimizer, shared=("qmap1", "qmap2"))


def test_all_parameters_share_two_tables():
    """256 figures of 32 bits each."""
    optimizer = build_8_bit(AdamWConfig(), [parameter(LARGE), parameter(LARGE), parameter(SMALL)])
    optimizer.step()
    tables = {id(t): t for state in optimizer.state.values() for n, t in state.items() if "qmap" in n}
    assert [1024, 1024] == [table.nbytes for table in tables.values()]


def test_a_step_allocates_nothing():
    """Unlike torch's own, whose foreach kernels take copies of all parameters."""
    with Recorder("cpu") as recorder:
        optimizer = build_8_bit(AdamWConfig(), [parameter(SMALL), parameter(LARGE, torch.bfloat16)])
        optimizer.step()
        tensors, ops = len(recorder.sizes), len(recorder.op_names)
        optimizer.step()
        recorder.stop()
    assert tensors == len(recorder.sizes)
    assert ops < len(recorder.op_names)


def test_parameters_without_gradient_have_no_state():
    """As a frozen part has none."""
    frozen = parameter(LARGE)
    frozen.grad = None
    optimizer = build_8_bit(AdamWConfig(), [frozen, parameter(LARGE)])
    optimizer.step()
    assert frozen not in optimizer.state


def test_groups_and_rates_are_those_of_the_preset():
    """The optimizer stands where the preset's does, whether Adam or AdamW."""
    groups = [{"params": [parameter(8)]}, {"params": [parameter(8)], "lr": 1e-5}]
    optimizer = build_8_bit(AdamConfig(lr=1e-4), groups)
    assert [1e-4, 1e-5] == [group["lr"] for group in optimizer.param_groups]


def test_a_preset_of_another_kind_is_refused():
    """Adam is not what it asks for."""
    with pytest.raises(UsageError, match="preset is sgd"):
        build_8_bit(SGDConfig(), [parameter(8)])


def test_a_gpu_needs_the_real_one(monkeypatch):
    """What is measured is not a stand-in."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(UsageError, match="bitsandbytes"):
        build_8_bit(AdamWConfig(), [on_gpu])


def test_a_cell_asks_for_it(small_cell):
    """The rest of the preset stays: what gradients are clipped to, and what is trained at which rate."""
    plain, short = (
        build_workload(replace(small_cell, optimizer=optimizer), torch.device("cpu"))
        for optimizer in ("preset", "adamw_8bit")
    )
    assert plain.grad_clip_norm == short.grad_clip_norm
    assert [g["lr"] for g in plain.optimizer.param_groups] == [g["lr"] for g in short.optimizer.param_groups]
    assert type(plain.optimizer) is not type(short.optimizer)
