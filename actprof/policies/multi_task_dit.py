"""Multitask DiT, `lerobot/policies/multi_task_dit/modeling_multi_task_dit.py`."""

from __future__ import annotations

from typing import Any

from actprof.policies.spec import PolicySpec

# config.json of that repository on the Hub, as far as it decides shapes: CLIP's ViT-B/16 and its text tower.
_CLIP: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 512,
    "text_config": {
        "model_type": "clip_text_model",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "max_position_embeddings": 77,
        "num_attention_heads": 8,
        "num_hidden_layers": 12,
        "pad_token_id": 1,
        "projection_dim": 512,
        "vocab_size": 49408,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 768,
        "image_size": 224,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "patch_size": 16,
        "projection_dim": 512,
    },
}

SPEC = PolicySpec(
    name="multi_task_dit",
    title="Multitask DiT",
    history=lambda config: config["n_obs_steps"],
    extra="multi_task_dit",
    models={"openai/clip-vit-base-patch16": _CLIP},
    reads_task=True,
    pads_task=True,
    options={"image_crop_shape": (224, 224)},
    resized_by="image_crop_shape",
    parts={"samples apart": ""},
    sizeless=frozenset(
        {
            "optimizer_lr", "optimizer_betas", "optimizer_eps", "optimizer_weight_decay", "scheduler_name",
            "scheduler_warmup_steps", "vision_encoder_lr_multiplier", "n_action_steps", "drop_n_last_frames",
            "beta_schedule", "beta_start", "beta_end", "clip_sample", "clip_sample_range",
            "num_inference_steps", "num_integration_steps", "integration_method", "rope_base",
        }
    ),
    components=(
        ("observation_encoder.vision_encoder", "vision tower"),
        ("observation_encoder.vision_encoders", "vision tower"),
        ("observation_encoder.text_encoder", "language model"),
        ("noise_predictor", "diffusion transformer"),
    ),
    other_component="stacked images",
    output_module="noise_predictor",
    line_modules=("", "noise_predictor", "noise_predictor.transformer_blocks.0"),
)  # fmt: skip
