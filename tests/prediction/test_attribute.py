"""Who holds the memory: everything adds up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from handmade import make_device

from actprof.allocator import AllocatorConfig
from actprof.hardware import Workspaces
from actprof.prediction.attribution import EMBEDDINGS, attribute, group_of, is_map, maps_of
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
        ("model.encoder.layers.0.self_attn", "aten.addmm.default", "projections"),
        ("model.decoder.layers.0.multihead_attn", "aten.clone.default", "projections"),
        ("vlm.model.text_model.layers.0.self_attn.q_proj", "aten.mm.default", "projections"),
        ("vlm.model.text_model.layers.0.mlp.act_fn", "aten.silu.default", "feed-forward"),
        ("vlm.model.text_model.layers.0.mlp", "aten.mul.Tensor", "feed-forward"),
        ("vlm.model.text_model.layers.0.input_layernorm", "aten.rsqrt.default", "norms and residuals"),
        ("vlm.model.vision_model.embeddings.patch_embedding", "aten.convolution.default", EMBEDDINGS),
        ("transformer.h.0.attn.attn_dropout", "aten.native_dropout.default", "projections"),
        ("transformer.h.0.mlp.dropout", "aten.native_dropout.default", "feed-forward"),
        (
            "noise_predictor.transformer_blocks.0.norm1",
            "aten.native_layer_norm.default",
            "norms and residuals",
        ),
        ("backbone.model.language_model.layers.0.mlp.down_proj", "aten.mm.default", "feed-forward"),
        ("rgb_encoder.conv1", "aten.cudnn_batch_norm.default", "feature maps"),
        ("model.encoder.layers.0.linear1", "aten.addmm.default", "feed-forward"),
        ("model.encoder.layers.0", "aten.relu.default", "feed-forward"),
        ("model.encoder.layers.0.dropout", "aten.native_dropout.default", "feed-forward"),
        ("model.encoder.layers.0.dropout1", "aten.native_dropout.default", "norms and residuals"),
        ("model.encoder.layers.0.norm1", "aten.native_layer_norm.default", "norms and residuals"),
        ("model.backbone.layer1.0.conv1", "aten.convolution.default", "feature maps"),
        ("model.action_head", "aten.addmm.default", EMBEDDINGS),
    ],
)
def test_groups_follow_the_transformer_layer(module, op, group):
    """Projections are told from embeddings, feed-forward parts from norms and residuals."""
    assert group == group_of(module, op)


@pytest.mark.parametrize(("dimensions", "group"), [(4, "projections"), (3, "norms and residuals")])
def test_a_module_that_attends_for_those_inside_it_holds_their_heads(dimensions, group):
    """SmolVLA and pi0 attend in a module around those that project: what has heads is attention's."""
    assert group == group_of(
        "model.vlm_with_expert", "aten.clone.default", attends=True, dimensions=dimensions
    )


QUERIES, KEYS, HEADS = (50, 0), (177, 0), (0, 15)
MAPS = {"vlm_with_expert": {(QUERIES, KEYS)}, "layers.0.self_attn": {(KEYS, KEYS)}, "vision.attn": set()}


@pytest.mark.parametrize(
    ("module", "op", "shape"),
    [
        ("vlm_with_expert", "aten._softmax.default", ((0, 1), (15, 0), QUERIES, KEYS)),
        ("vlm_with_expert", "aten.bmm.default", (HEADS, QUERIES, KEYS)),
        ("vlm_with_expert", "aten._to_copy.default", ((0, 1), (15, 0), QUERIES, KEYS)),
        ("vlm_with_expert", "aten.where.self", ((0, 1), (1, 0), QUERIES, KEYS)),
        ("layers.0.self_attn.dropout", "aten.native_dropout.default", (HEADS, KEYS, KEYS)),
        ("somewhere", "aten._softmax.default", None),
    ],
    ids=["softmax", "product", "cast", "mask", "dropout in a module of its own", "shape unknown"],
)
def test_attention_maps_are_found_by_their_softmax(module, op, shape):
    """A softmax says how many queries and keys there are; what has both beside it is a map as well."""
    assert is_map(module, op, shape, MAPS)


def test_a_module_attends_where_a_softmax_follows_a_product_of_batches():
    """A softmax over classes makes no map; a kernel attends, and makes none either."""
    ops = [
        ("joint", "aten.bmm.default", (HEADS, QUERIES, KEYS)),
        ("joint", "aten._softmax.default", ((0, 1), (15, 0), QUERIES, KEYS)),
        ("layers.0.self_attn.softmax", "aten._softmax.default", (HEADS, KEYS, KEYS)),
        ("head", "aten.mm.default", ((0, 8), (16, 0))),
        ("head", "aten._softmax.default", ((0, 8), (2, 0), (16, 0))),
        ("vision.attn", "aten._scaled_dot_product_flash_attention.default", ((0, 1), (12, 0), KEYS, (64, 0))),
    ]
    modules, names, shapes = zip(*ops, strict=True)
    trace = SimpleNamespace(
        tensors=SimpleNamespace(op=np.arange(len(ops))),
        ops=SimpleNamespace(modules=modules, names=names),
        details=lambda: SimpleNamespace(shapes=shapes),
    )
    assert {"joint": {(QUERIES, KEYS)}, "vision.attn": set()} == maps_of(trace)


@pytest.mark.parametrize(
    ("module", "op", "shape"),
    [
        ("vlm_with_expert", "aten.clone.default", ((0, 1), (15, 0), KEYS, (64, 0))),
        ("layers.0.mlp", "aten.mm.default", (HEADS, KEYS, KEYS)),
        ("layers.0.self_attn", "aten.bmm.default", (HEADS, QUERIES, KEYS)),
        ("vision.attn", "aten._scaled_dot_product_flash_attention.default", ((0, 1), (12, 0), KEYS, KEYS)),
        ("head", "aten._softmax.default", ((0, 1), (4, 0))),
        ("layers.0.self_attn", "aten.native_dropout.default", None),
    ],
    ids=["values", "elsewhere", "another's size", "a kernel's output", "classes", "shape unknown"],
)
def test_what_has_no_queries_and_keys_is_no_attention_map(module, op, shape):
    """Values, outputs of attention kernels, and softmaxes over classes are not called maps."""
    assert not is_map(module, op, shape, MAPS)
