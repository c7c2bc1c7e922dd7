"""X-VLA, `lerobot/policies/xvla/modeling_xvla.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

# microsoft/Florence-2-large's config.json, as X-VLA's checkpoints have it: a DaViT, and a BART of which X-VLA
# keeps the encoder. With _BASE that makes the 879,482,456 parameters published of lerobot/xvla-libero.
_FLORENCE_2_LARGE: dict[str, Any] = {
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "text_config": {
        "activation_dropout": 0.1,
        "activation_function": "gelu",
        "attention_dropout": 0.1,
        "bos_token_id": 0,
        "d_model": 1024,
        "decoder_attention_heads": 16,
        "decoder_ffn_dim": 4096,
        "decoder_layers": 12,
        "dropout": 0.1,
        "encoder_attention_heads": 16,
        "encoder_ffn_dim": 4096,
        "encoder_layers": 12,
        "eos_token_id": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": 1,
        "vocab_size": 51289,
    },
    "vision_config": {
        "model_type": "davit",
        "depths": [1, 1, 9, 1],
        "dim_embed": [256, 512, 1024, 2048],
        "drop_path_rate": 0.1,
        "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": 50},
        "num_groups": [8, 16, 32, 64],
        "num_heads": [8, 16, 32, 64],
        "patch_padding": [3, 1, 1, 1],
        "patch_prenorm": [False, True, True, True],
        "patch_size": [7, 3, 3, 3],
        "patch_stride": [4, 2, 2, 2],
        "projection_dim": 1024,
        "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": 100},
        "window_size": 12,
    },
}
# What config.json of lerobot/xvla-base (of texts: the pre-processor beside it) says otherwise than lerobot's
# defaults, as far as it decides sizes and others have written it down: the file itself was out of reach.
_BASE: dict[str, Any] = {
    "florence_config": _FLORENCE_2_LARGE,
    "chunk_size": 30,
    "n_action_steps": 30,
    "max_state_dim": 20,
    "resize_imgs_with_padding": [224, 224],
    "tokenizer_max_length": 50,
}


@contextmanager
def _with_florence(_cell: Cell) -> Iterator[None]:
    """Inside, a config without `florence_config`, which lerobot would refuse, has that of the checkpoints."""
    from lerobot.policies.xvla.configuration_xvla import XVLAConfig

    check = XVLAConfig.__post_init__

    def complete(config: Any) -> None:
        check(config)
        config.florence_config = config.florence_config or _FLORENCE_2_LARGE

    with mock.patch.object(XVLAConfig, "__post_init__", complete):
        yield


SPEC = PolicySpec(
    name="xvla",
    title="X-VLA",
    extra="xvla",
    stand_ins=_with_florence,
    bases={"lerobot/xvla-base": _BASE},
    needs_field="florence_config",
    absent_cameras="empty",
    reads_task=True,
    follows_values=True,
    dtype="float32",
    options={
        "dtype": "float32",
        "freeze_vision_encoder": False,
        "freeze_language_encoder": False,
        "tokenizer_max_length": 64,
        "pad_language_to": "max_length",
        "resize_imgs_with_padding": None,
    },
    resized_by="resize_imgs_with_padding",
    parts={"samples apart": ""},
    sizeless=frozenset(
        {
            "optimizer_lr", "optimizer_betas", "optimizer_eps", "optimizer_weight_decay",
            "optimizer_grad_clip_norm", "optimizer_soft_prompt_lr_scale",
            "optimizer_soft_prompt_warmup_lr_scale", "scheduler_warmup_steps", "scheduler_decay_steps",
            "scheduler_decay_lr", "n_action_steps", "num_denoising_steps", "tokenizer_padding_side",
        }
    ),
    components=(
        ("model.vlm.vision_tower", "vision tower"),
        ("model.vlm.multi_modal_projector", "vision tower"),
        ("model.vlm", "language model"),
        ("model.transformer.soft_prompt_hub", "soft prompts"),
        ("model.transformer", "action transformer"),
    ),
    other_component="stacked images",
    # Actions, text and first image, other images, soft prompts, (batch, tokens, width).
    token_module="model.transformer.blocks.0",  # noqa: S106 - a module path, no password
    tokens_called="tokens",
    output_module="model.transformer",
    line_modules=("model", "model.transformer", "model.transformer.blocks.0"),
)  # fmt: skip
