"""Adapters are lerobot's own, around a policy that keeps its paths."""

from dataclasses import replace

import pytest
import torch

from actprof.errors import UsageError
from actprof.policies.adapter import own_modules, own_path
from actprof.policies.workload import build_workload
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record_trace

RANK, TARGETS = 4, ["linear1", "linear2"]


@pytest.fixture(scope="module")
def cell(small_cell):
    """The small ACT with low-rank adapters on its feed-forward layers."""
    return replace(small_cell, peft={"r": RANK, "target_modules": TARGETS})


@pytest.fixture(scope="module")
def trace(cell):
    """Return its trace."""
    return record_trace(cell)


def trained(trace):
    return [
        parameter for parameter in trace.policy.parameters if parameter.trainable and not parameter.is_buffer
    ]


def test_one_trace_serves_every_batch_size(trace):
    """Sizes are affine, and the last step repeats."""
    assert trace.fixed_batch_size is None
    assert trace.carried is not None


def test_the_adapter_alone_is_trained(trace):
    """Two matrices of that rank for each target, of 64 and 96: two in each of four transformer layers."""
    assert all(".lora_" in parameter.path for parameter in trained(trace))
    assert 4 * 2 * RANK * (64 + 96) == sum(parameter.count for parameter in trained(trace))


def test_paths_are_those_of_the_policy(trace):
    """So that components are found, of what is added too."""
    assert not [p.path for p in trace.policy.parameters if p.path.startswith("base_model")]
    assert {"encoder", "decoder", "VAE encoder"} == {parameter.component for parameter in trained(trace)}


def test_what_does_not_learn_has_neither_gradient_nor_state(trace, small_cell):
    """The optimizer's state is twice what learns, and a number for each of its tensors."""
    state = [i for i, kind in enumerate(trace.tensors.kind) if kind == 5]
    expected = sum(2 * parameter.bytes for parameter in trained(trace))
    assert expected == trace.tensors.requested_bytes(2)[state].sum()
    whole = replay(record_trace(small_cell), 8, ReplayConditions()).peak_allocated_bytes
    assert replay(trace, 8, ReplayConditions()).peak_allocated_bytes < whole


def test_modules_have_the_paths_of_the_policy(cell):
    """With or without an adapter around it."""
    with fake_cuda():
        wrapped, plain = (
            own_modules(build_workload(c, torch.device("cuda")).policy)
            for c in (cell, replace(cell, peft={}))
        )
    assert set(plain) <= set(wrapped)
    assert type(plain[""]) is type(wrapped[""])
    assert "model.encoder" == own_path("base_model.model.model.encoder") == own_path("model.encoder")


@pytest.mark.parametrize(
    ("peft", "words"),
    [
        ({"rr": 4}, "PeftConfig has no field 'rr'; did you mean r"),
        ({"r": 4}, "Please pass --peft.target_modules"),
    ],
)
def test_what_lerobot_would_refuse_is_refused(small_cell, peft, words):
    """A field of another name; no targets where a policy has no defaults."""
    with pytest.raises(UsageError, match=words):
        build_workload(replace(small_cell, peft=peft), torch.device("cpu"))
