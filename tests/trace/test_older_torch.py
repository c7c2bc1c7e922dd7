"""Where torch would ask the driver, or hides what it saved, a trace is what it is where torch does not."""

import pytest
import torch

from actprof.replay.replay import ReplayConditions, replay
from actprof.trace import device_guard
from actprof.trace.record import record_trace
from actprof.trace.saved_tensors import _release_unseen, saving_tensors


def test_a_trace_does_not_depend_on_the_guard(small_cell, monkeypatch):
    """Ops, sizes and peaks are those without it, to the byte."""
    usual = record_trace(small_cell)
    monkeypatch.setattr(device_guard, "torch_version", lambda: (2, 8))
    guarded = record_trace(small_cell)
    assert usual.ops.names == guarded.ops.names
    expected, actual = (replay(trace, 4, ReplayConditions()) for trace in (usual, guarded))
    assert expected == actual


def test_the_guard_is_put_back(monkeypatch):
    """As soon as nothing pretends to be on CUDA."""
    monkeypatch.setattr(device_guard, "torch_version", lambda: (2, 8))
    registry = device_guard._registry()
    before = list(registry)
    with device_guard.driver_not_asked():
        assert registry[14] == registry[1] != before[1]
    assert before == list(registry)


def test_what_a_node_saved_is_let_go_of_where_its_handles_cannot_be_seen():
    """As up to torch 2.9: a list of tensors, one, and those of a function in Python."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            ctx.save_for_backward(value)
            return 2 * value

        @staticmethod
        def backward(_ctx, gradient):
            return 2 * gradient

    leaf = torch.ones(3, requires_grad=True)
    with saving_tensors():
        outputs = (
            torch.relu(leaf),
            torch.stack([leaf]).index_put((torch.tensor([0]),), leaf),
            Twice.apply(leaf),
        )
    for output, raw, shown in zip(
        outputs,
        ("_raw_saved_result", "_raw_saved_indices", "_raw_saved_tensors"),
        ("_saved_result", "_saved_indices", "saved_tensors"),
        strict=True,
    ):
        assert getattr(output.grad_fn, shown) is not None
        _release_unseen(output.grad_fn, raw)
        with pytest.raises(RuntimeError, match="after its node had run"):
            getattr(output.grad_fn, shown)
