"""Policies with few and narrow layers: a step on the CPU takes a moment."""

from __future__ import annotations

from dataclasses import replace

from actprof.cell import Cell
from actprof.policies import smolvla

_MODEL = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_attention_heads": 4,
    "num_hidden_layers": 4, "num_key_value_heads": 2,
}  # fmt: skip
_VISION = {
    "hidden_size": 48, "intermediate_size": 64, "image_size": 64, "num_attention_heads": 4,
    "num_hidden_layers": 2,
}  # fmt: skip

DIFFUSION = Cell(
    policy="diffusion",
    overrides={
        "down_dims": [16, 32], "horizon": 8, "n_action_steps": 4, "spatial_softmax_num_keypoints": 4,
    },
    cameras=1, resolution="64x64", batch_size=2, gpu=None,
)  # fmt: skip
SMOLVLA = Cell(
    policy="smolvla",
    overrides={
        "num_vlm_layers": 2, "chunk_size": 8, "n_action_steps": 8, "resize_imgs_with_padding": [64, 64],
    },
    task_tokens=12, cameras=1, resolution="64x64", batch_size=2, gpu=None,
)  # fmt: skip


def shrink_smolvla(monkeypatch):
    """Have SmolVLA built of a small language model and vision tower."""
    whole = smolvla.SPEC.models[_MODEL]
    small = {
        **whole,
        "text_config": {**whole["text_config"], **_TEXT},
        "vision_config": {**whole["vision_config"], **_VISION},
    }
    monkeypatch.setattr(smolvla, "SPEC", replace(smolvla.SPEC, models={_MODEL: small}))
