"""Who holds the memory: everything adds up."""

from __future__ import annotations

import pytest
from handmade import make_device

from actprof.allocator import AllocatorConfig
from actprof.hardware import Workspaces
from actprof.prediction.attribution import attribute, group_of
from actprof.replay.program import build_program
from actprof.replay.replay import ReplayConditions, replay
from actprof.units import MIB

SPACES = Workspaces(cublas_bytes=8 * MIB)


@pytest.mark.parametrize("batch_size", [2, 5, 64])
@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
def test_kinds_add_up_to_the_allocated_peak(make_trace, batch_size, conf):
    """Parameters, activations, …, workspaces and slack together are the allocated bytes at the peak."""
    trace = make_trace(activation=(1 << 20) + 300)
    conditions = ReplayConditions(config=AllocatorConfig.parse(conf), workspaces=SPACES)
    profile = replay(trace, batch_size, conditions, detail=True)

    breakdown = attribute(trace, profile, build_program(trace, batch_size, SPACES))

    assert profile.peak_allocated_bytes == breakdown.allocated_bytes == sum(breakdown.by_kind.values())
    assert min(breakdown.by_kind.values()) > 0


def test_activations_add_up_to_their_kind(make_trace):
    """Components and groups of activations are the activations, no more and no less."""
    trace = make_trace()
    profile = replay(trace, 8, ReplayConditions(), detail=True)

    breakdown = attribute(trace, profile, build_program(trace, profile.batch_size, Workspaces()))

    total = sum(size for parts in breakdown.activations.values() for size in parts.values())
    assert breakdown.by_kind["activations"] == total
    assert {"encoder"} == set(breakdown.activations)
    assert "forward" == breakdown.phase


def test_where_it_runs_out_is_broken_down_too(make_trace):
    """At an out-of-memory moment the sum is what was allocated then."""
    trace = make_trace()
    conditions = ReplayConditions(device=make_device(30 * MIB))
    profile = replay(trace, 20, conditions, detail=True)

    breakdown = attribute(trace, profile, build_program(trace, profile.batch_size, Workspaces()))

    assert profile.oom.allocated_bytes == sum(breakdown.by_kind.values())


def test_a_profile_without_detail_is_refused(make_trace):
    """Without knowing who is alive nothing can be attributed."""
    trace = make_trace()
    profile = replay(trace, 8, ReplayConditions())

    with pytest.raises(ValueError, match="without detail"):
        attribute(trace, profile, build_program(trace, profile.batch_size, Workspaces()))


@pytest.mark.parametrize(
    ("module", "op", "group"),
    [
        ("model.encoder.layers.0.self_attn", "aten._softmax.default", "attention maps"),
        ("model.encoder.layers.0.self_attn", "aten.native_dropout.default", "attention maps"),
        ("model.encoder.layers.0.self_attn", "aten.addmm.default", "projections"),
        ("model.decoder.layers.0.multihead_attn", "aten._softmax.default", "attention maps"),
        ("model.encoder.layers.0.linear1", "aten.addmm.default", "feed-forward"),
        ("model.encoder.layers.0", "aten.relu.default", "feed-forward"),
        ("model.encoder.layers.0.dropout", "aten.native_dropout.default", "feed-forward"),
        ("model.encoder.layers.0.dropout1", "aten.native_dropout.default", "norms and residuals"),
        ("model.encoder.layers.0.norm1", "aten.native_layer_norm.default", "norms and residuals"),
        ("model.backbone.layer1.0.conv1", "aten.convolution.default", "feature maps"),
        ("model.action_head", "aten.addmm.default", "embeddings and outputs"),
    ],
)
def test_groups_follow_the_transformer_layer(module, op, group):
    """Attention maps are told from projections, feed-forward from norms and residuals."""
    assert group == group_of(module, op)
