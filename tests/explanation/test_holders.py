"""Tensors, ops and modules that hold the memory: every sum is the allocated bytes of the moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from handmade import make_device

from actprof.allocator import AllocatorConfig
from actprof.explanation.holders import SLACK, WORKSPACES, by_op, list_tensors, module_tree
from actprof.hardware import Workspaces
from actprof.prediction.attribution import attribute
from actprof.replay.program import build_program
from actprof.replay.replay import ReplayConditions, replay
from actprof.trace.calls import UNKNOWN_CALL
from actprof.trace.model import TraceDetails
from actprof.units import MIB

SPACES = Workspaces(cublas_bytes=8 * MIB, cublaslt_bytes=MIB, cublaslt_lifetime="handle")


def nodes_of(node):
    """Yield a node and all nodes beneath it."""
    yield node
    for child in node.children:
        yield from nodes_of(child)


def assert_everything_adds_up(trace, profile, workspaces=SPACES):
    """Hold list, tree and ops to the allocated bytes, to each other, and to what `attribute` says."""
    program = build_program(trace, profile.batch_size, workspaces)
    breakdown = attribute(trace, profile, program)
    held = list_tensors(trace, profile, program)
    root = module_tree(trace, profile, program)
    ops = by_op(trace, profile, program)
    slack = breakdown.by_kind.get(SLACK, 0)

    assert breakdown.allocated_bytes == root.total_bytes == sum(ops.values())
    assert breakdown.allocated_bytes == slack + sum(tensor.bytes for tensor in held)
    assert dict(breakdown.by_kind) == dict(root.by_kind)
    assert ops.get(WORKSPACES, 0) == breakdown.by_kind.get(WORKSPACES, 0)
    assert sorted((tensor.bytes for tensor in held), reverse=True) == [tensor.bytes for tensor in held]
    for tensor in held:
        assert tensor.bytes == tensor.constant + tensor.per_sample * profile.batch_size
    for node in nodes_of(root):
        assert node.total_bytes == node.own_bytes + sum(child.total_bytes for child in node.children)
        assert node.total_bytes == sum(node.by_kind.values())
        reconstructed = node.constant + node.per_sample * profile.batch_size
        assert node.total_bytes == reconstructed + node.by_kind.get(SLACK, 0)
        assert sorted(node.children, key=lambda child: -child.total_bytes) == list(node.children)
    modules = [node.path for node in nodes_of(root) if node.path]
    assert len(set(modules)) == len(modules)
    return root


@pytest.mark.parametrize("batch_size", [2, 5, 64])
@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
def test_everything_adds_up_at_the_peak(make_trace, batch_size, conf):
    """At every level of the tree, over all ops and over all tensors; slack and workspaces included."""
    trace = make_trace(activation=(1 << 20) + 300)
    conditions = ReplayConditions(config=AllocatorConfig.parse(conf), workspaces=SPACES)
    profile = replay(trace, batch_size, conditions, detail=True)
    assert_everything_adds_up(trace, profile)


def test_everything_adds_up_where_it_runs_out(make_trace):
    """At an out-of-memory moment the sum is what was allocated then."""
    trace = make_trace()
    conditions = ReplayConditions(device=make_device(30 * MIB))
    profile = replay(trace, 20, conditions, detail=True)
    assert profile.oom is not None
    assert_everything_adds_up(trace, profile, Workspaces())


@pytest.mark.parametrize("resolution", ["64x64", "96x128"])
def test_everything_adds_up_for_act(small_cell, resolution):
    """The real policy at two resolutions, with its modules as the tree's branches."""
    from actprof.trace.record import record_trace

    trace = record_trace(replace(small_cell, resolution=resolution))
    for batch_size, capacity in ((2, None), (32, None), (32, 100 * MIB)):
        device = None if capacity is None else make_device(capacity)
        profile = replay(trace, batch_size, ReplayConditions(device=device, workspaces=SPACES), detail=True)
        assert (capacity is None) == (profile.oom is None)
        root = assert_everything_adds_up(trace, profile)
        paths = {node.path for node in nodes_of(root)}
        assert {"model", "model.encoder.layers.0.self_attn", "model.backbone.layer1.0.conv1"} <= paths
        others = {child.name for child in root.children} - {"model"}
        # With few samples the peak is in the optimizer, whose temporaries are nobody's.
        assert {"inputs", "buffers", WORKSPACES, SLACK} == others - {"temporaries"}


@pytest.fixture
def described(make_trace):
    """Return the hand-made trace with details, and the profile of a replay whose peak is in forward."""
    trace = make_trace()
    # 0 weights; per step: input, activation, temporary, gradient. Op t makes tensor t.
    weight = ((512, 0), (512, 0))
    details = TraceDetails(
        op_lines=tuple(f"torch/nn/modules/linear.py:{row} forward" for row in range(9)),
        op_callers=("",) + ("lerobot/policies/act/modeling_act.py:7 forward",) * 8,
        shapes=(weight, *(((0, 1), (1024, 0)), ((0, 7), (3, 0)), None, weight) * 2),
        dtypes=("float32", "float32", "float32", "", "float32", "float32", "float32", "", "float32"),
        owners=("model.encoder.layers.0.weight",) + ("", "", "", "model.encoder.layers.0.weight") * 2,
        freed_by=np.array([-1, 5, 4, 3, 4, -1, 8, 7, 8]),
        calls=(UNKNOWN_CALL,),
        op_calls=np.zeros(9, dtype=np.int64),
    )  # fmt: skip
    trace = replace(trace, load_details=details.itself)
    profile = replay(trace, 8, ReplayConditions(workspaces=SPACES), detail=True)
    return trace, profile, build_program(trace, 8, SPACES)


def test_a_tensor_says_what_it_is(described):
    """Shape, dtype, who made it where, and who frees it."""
    trace, profile, program = described
    (activation,) = [t for t in list_tensors(trace, profile, program) if t.kind == "activations"]
    assert ("(B·7, 3)", "float32", "model.encoder") == (activation.shape, activation.dtype, activation.module)
    assert (8 * MIB, 0, MIB) == (activation.bytes, activation.constant, activation.per_sample)
    assert ("aten.mm.default", "forward") == (activation.made_by.op, activation.phase)
    assert "torch/nn/modules/linear.py:6 forward" == activation.made_by.line
    assert "lerobot/policies/act/modeling_act.py:7 forward" == activation.made_by.caller
    assert ("aten.mm.default", "backward") == (activation.freed_by.op, activation.freed_by.phase)


def test_what_the_last_step_leaves_is_freed_as_its_twin_was(described):
    """The next step frees it, by the op by which this step freed what it found; parameters stay."""
    trace, profile, program = described
    by_kind = {tensor.kind: tensor for tensor in list_tensors(trace, profile, program)}
    assert "data" == by_kind["inputs"].freed_by.phase
    assert by_kind["parameters"].freed_by is None
    assert by_kind[WORKSPACES].freed_by is None


def test_a_parameter_belongs_to_the_module_that_owns_it(described):
    """Not to whoever copied it to the device; its gradient, at the end of the reverse pass, likewise."""
    trace, profile, program = described
    held = list_tensors(trace, profile, program)
    (weight,) = [tensor for tensor in held if tensor.kind == "parameters"]
    assert ("model.encoder.layers.0.weight", "model.encoder.layers.0", "") == (
        weight.owner, weight.module, weight.made_by.module,
    )  # fmt: skip
    later = replace(profile, alive_at_peak=np.array([0, 8]))
    assert {"model.encoder.layers.0"} == {tensor.module for tensor in list_tensors(trace, later, program)}


def test_what_belongs_to_no_module_is_a_leaf_with_its_name(described):
    """Inputs, workspaces and slack stand beneath the root, without a path."""
    trace, profile, program = described
    root = module_tree(trace, profile, program)
    leaves = {child.name: child.path for child in root.children}
    assert {"model": "model", "inputs": "", WORKSPACES: "", SLACK: ""}.items() >= leaves.items()
    assert ("allocated", "", 0) == (root.name, root.path, root.own_bytes)
    (model,) = [child for child in root.children if child.path]
    (encoder,) = model.children
    assert ["model.encoder", "model.encoder.layers", "model.encoder.layers.0"] == [
        node.path for node in nodes_of(encoder)
    ]
    assert 0 == model.own_bytes < encoder.own_bytes


def test_without_details_everything_is_still_counted(make_trace):
    """A trace of which only the bytes are known says nothing of shapes, lines and frees."""
    trace = make_trace()
    profile = replay(trace, 8, ReplayConditions(), detail=True)
    for tensor in list_tensors(trace, profile, build_program(trace, 8, Workspaces())):
        assert ("", "", "", "") == (tensor.shape, tensor.dtype, tensor.owner, tensor.made_by.line)
        assert tensor.freed_by is None


@pytest.mark.parametrize("question", [list_tensors, module_tree, by_op])
def test_a_profile_without_detail_is_refused(make_trace, question):
    """Without knowing who is alive nothing can be listed."""
    trace = make_trace()
    profile = replay(trace, 8, ReplayConditions())
    with pytest.raises(ValueError, match="without detail"):
        question(trace, profile, build_program(trace, 8, Workspaces()))
