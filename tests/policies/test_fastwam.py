"""FastWAM: experts of video and action in one transformer, beside a frozen autoencoder and text encoder."""

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.policies import fastwam
from actprof.trace.record import record

_DIT = {"hidden_dim": 32, "ffn_dim": 32, "num_heads": 2, "attn_head_dim": 16, "num_layers": 1, "text_dim": 32}
_BOTH = {**_DIT, "freq_dim": 16, "eps": 1e-6, "use_gradient_checkpointing": False, "fp32_attention": True}
_VIDEO = {
    **_BOTH,
    "patch_size": [1, 2, 2],
    "in_dim": 48,
    "out_dim": 48,
    "seperated_timestep": True,
    "video_attention_mask_mode": "first_frame_causal",
    "action_conditioned": False,
    "action_dim": 7,
    "action_group_causal_mask_mode": "group_diagonal",
}
CELL = Cell(
    policy="fastwam",
    cameras=1,
    resolution="64x64",
    batch_size=2,
    state_dim=8,
    action_dim=7,
    overrides={
        "image_size": [64, 64],
        "num_video_frames": 17,
        "action_horizon": 16,
        "n_action_steps": 16,
        "video_dit_config": _VIDEO,
        "action_dit_config": {**_BOTH, "action_dim": 7},
    },
)


@pytest.fixture
def small(monkeypatch):
    """Make its encoders small ones."""
    (name, model), *_ = fastwam.SPEC.models.items()
    text = {"d_ff": 32, "d_kv": 16, "d_model": 32, "num_heads": 2, "num_layers": 1, "vocab_size": 50}
    monkeypatch.setattr(fastwam, "SPEC", replace(fastwam.SPEC, models={name: {**model, **text}}))
    monkeypatch.setitem(fastwam._VAE, "base_dim", 8)
    monkeypatch.setitem(fastwam._VAE, "decoder_base_dim", 8)


def test_its_experts_learn_and_what_encodes_is_there_beside_them(small):
    """The encoders are no parameters of the policy, but they hold memory on the device."""
    recording = record(CELL)
    rows = [row for row in recording.policy.parameters if not row.is_buffer]
    assert {"video expert", "action expert", "other"} == {row.component for row in rows}
    assert all(row.trainable for row in rows)
    recorder = recording.recorder
    setup = {abs(event) - 1 for event in recorder.events[: recorder.step_starts[0]]}
    assert sum(recorder.sizes[tensor] for tensor in setup) > sum(row.bytes for row in rows)


def test_the_video_expert_may_be_frozen(small):
    """Then only the action expert learns, and what it is told of the state."""
    recording = record(replace(CELL, overrides={**CELL.overrides, "freeze_video_expert": True}))
    rows = [row for row in recording.policy.parameters if not row.is_buffer]
    assert {"action expert", "other"} == {row.component for row in rows if row.trainable}
