"""X-VLA: Florence-2's tower and text encoder, and a transformer with soft prompts for each robot."""

from dataclasses import replace

import pytest
import torch
from small_cells import check_every_batch_size, with_overrides

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.grounding import check_grounding, ground
from actprof.policies import policy_spec
from actprof.policies.precision import autocast_of
from actprof.policies.workload import build_workload
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record, record_trace
from actprof.trace.recorder import Recorder

TINY_FLORENCE = {
    "pad_token_id": 1,
    "text_config": {
        "vocab_size": 50,
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_layers": 1,
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 2,
        "max_position_embeddings": 64,
    },
    "vision_config": {
        "dim_embed": [8, 8, 16, 16],
        "num_heads": [1, 1, 2, 2],
        "num_groups": [1, 1, 2, 2],
        "depths": [1, 1, 1, 1],
        "window_size": 4,
        "projection_dim": 16,
    },
}
SMALL = {
    "florence_config": TINY_FLORENCE,
    "chunk_size": 4,
    "n_action_steps": 4,
    "hidden_size": 16,
    "depth": 2,
    "num_heads": 2,
    "num_domains": 3,
    "len_soft_prompts": 2,
    "dim_time": 8,
    "tokenizer_max_length": 6,
    "action_mode": "auto",
}
# Actions, one frame of 64x64 and its average beside the text, as much of the second camera, soft prompts.
TOKENS = 4 + (5 + 6) + 5 + 2


@pytest.fixture(scope="module")
def cell():
    """A cell whose X-VLA is small enough to run anywhere in seconds."""
    return Cell(policy="xvla", overrides=SMALL, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(scope="module")
def trace(cell):
    """Return the trace of the small X-VLA."""
    return record_trace(cell)


def test_one_trace_serves_every_batch_size(cell, trace):
    """Sizes are affine, and the last step repeats."""
    check_every_batch_size(cell, trace)


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [({}, 879_851_096), (policy_spec("xvla").bases["lerobot/xvla-base"], 879_482_456)],
)
def test_the_full_policy_has_the_parameters_that_others_count(overrides, parameters):
    """By lerobot's defaults as an H100 counted, with the checkpoints' config as is published of one.

    The embedding that encoder and text share counts once.
    """
    with fake_cuda(), Recorder("cuda"):
        policy = build_workload(Cell(policy="xvla", overrides=overrides), torch.device("cuda")).policy
    assert parameters == sum(parameter.numel() for parameter in policy.parameters())


def test_the_trace_is_what_a_run_on_the_cpu_does(cell, trace):
    """The same parameters, tokens and output, which has `max_action_dim` figures an action."""
    check_grounding(ground(cell), trace.policy)
    assert (TOKENS, (4, 20)) == (trace.policy.encoder_tokens, trace.policy.output_shape)


def test_every_parameter_learns(cell):
    """No layer of the text encoder is skipped, as LayerDrop would by a draw that nobody has."""
    recorder = record(cell, steps=1).recorder
    gradients = {recorder.owners.get(t) for t, kind in enumerate(recorder.kinds) if kind == 4}
    assert {f"model.vlm.language_model.encoder.layers.{layer}.fc1.weight" for layer in (0, 1)} <= gradients


def test_its_parts_are_named_as_people_do(trace):
    """Every parameter belongs to one of them."""
    assert {"vision tower", "language model", "soft prompts", "action transformer"} == {
        parameter.component for parameter in trace.policy.parameters
    }


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "fp32"), ("bfloat16", "bf16")])
def test_its_dtype_decides_autocast(cell, dtype, precision):
    """And that of the weights; a launcher's precision is refused where it says otherwise."""
    cell = with_overrides(cell, dtype=dtype)
    assert precision == autocast_of(cell)
    with pytest.raises(UsageError, match="set dtype=float16"):
        autocast_of(replace(cell, precision="fp16"))


def test_in_half_precision_the_weights_take_half(cell, trace):
    """All of them; the state of the optimizer too."""
    half = record(with_overrides(cell, dtype="bfloat16"), steps=1).policy
    assert sum(p.bytes for p in trace.policy.parameters if not p.is_buffer) == 2 * sum(
        p.bytes for p in half.parameters if not p.is_buffer
    )


@pytest.mark.parametrize(
    ("overrides", "frozen"),
    [
        (
            {"freeze_vision_encoder": True, "freeze_language_encoder": True},
            ("vision tower", "language model"),
        ),
        ({"train_policy_transformer": False}, ("action transformer",)),
        ({"train_soft_prompts": False}, ("soft prompts",)),
    ],
    ids="-".join,
)
def test_what_is_frozen_has_no_gradient(cell, overrides, frozen):
    """As lerobot's flags say; projections stay as they are."""
    facts = record(with_overrides(cell, **overrides), steps=1).policy
    assert set(frozen) == {p.component for p in facts.parameters if not (p.trainable or p.is_buffer)}


def test_a_view_without_a_camera_is_not_looked_at(cell, trace):
    """It is padding: its tokens are there, and the vision tower works as much as without it."""
    padded = record_trace(with_overrides(cell, num_image_views=3))
    assert TOKENS + 5 == padded.policy.encoder_tokens
    assert seen(trace) == seen(padded)


def seen(trace):
    """Return the FLOPs of each op of the vision tower, forward and backward, for one sample more."""
    pairs = zip(trace.ops.modules, trace.ops.flops_per_sample.tolist(), strict=True)
    return [flops for module, flops in pairs if module.startswith("model.vlm.vision_tower")]


@pytest.mark.parametrize(
    "overrides",
    [
        {"action_mode": "ee6d"},
        {"resize_imgs_with_padding": [32, 32]},
        {"use_hetero_proj": True},
        {"pad_language_to": "longest"},
    ],
    ids="-".join,
)
def test_its_variants_trace_as_well(cell, overrides):
    """One trace for all batch sizes."""
    assert record_trace(with_overrides(cell, **overrides)).fixed_batch_size is None
