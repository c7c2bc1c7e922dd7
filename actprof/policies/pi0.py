"""pi0, `lerobot/policies/pi0/modeling_pi0.py`: PaliGemma and an action expert, built by lerobot's own code.

The specs of pi0.5 and pi0-FAST are this one with what differs.
"""

from __future__ import annotations

from typing import Any

from actprof.policies.spec import PolicySpec

_BOTH = "model.paligemma_with_expert"
_PALIGEMMA = f"{_BOTH}.paligemma"
_LAYERS = f"{_PALIGEMMA}.model.language_model.layers"

# What the config.json of lerobot/pi0_base and of lerobot/pi05_base say otherwise than lerobot's defaults.
BASE: dict[str, Any] = {
    "input_features": {
        **{
            f"observation.images.{name}_0_rgb": {"type": "VISUAL", "shape": [3, 224, 224]}
            for name in ("base", "left_wrist", "right_wrist")
        },
        "observation.state": {"type": "STATE", "shape": [32]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [32]}},
}

SPEC = PolicySpec(
    name="pi0",
    title="pi0",
    sizeless=frozenset(
        {
            "min_period", "max_period", "n_action_steps", "num_inference_steps", "optimizer_betas",
            "optimizer_eps", "optimizer_grad_clip_norm", "optimizer_lr", "optimizer_weight_decay",
            "relative_exclude_joints", "rtc_config", "scheduler_decay_lr", "scheduler_decay_steps",
            "scheduler_warmup_steps", "time_sampling_beta_alpha", "time_sampling_beta_beta",
            "time_sampling_offset", "time_sampling_scale",
        }
    ),
    extra="pi",
    bases={"lerobot/pi0_base": BASE},
    absent_cameras="empty",
    reads_task=True,
    pads_task=True,
    dtype="float32",
    options={
        "gradient_checkpointing": False,
        "freeze_vision_encoder": False,
        "train_expert_only": False,
        "tokenizer_max_length": 48,
        "image_resolution": (224, 224),
    },
    resized_by="image_resolution",
    lora=True,
    parts={"samples apart": "", "attention of two Gemmas": _LAYERS},
    components=(
        (f"{_PALIGEMMA}.model.vision_tower", "vision tower"),
        (f"{_PALIGEMMA}.model.multi_modal_projector", "projections"),
        (_PALIGEMMA, "language model"),
        (f"{_BOTH}.gemma_expert", "action expert"),
        (_BOTH, "joint attention"),
    ),
    other_component="projections",
    # Images and text, (batch, tokens, width): its forward calls the parts of a layer, never the layer.
    token_module=f"{_LAYERS}.0.input_layernorm",
    tokens_called="prefix tokens",
    output_module="model.action_out_proj",
    # A layer of both is a function beside them, `compute_layer_complete`.
    line_modules=("", "model", _BOTH),
    grounded=False,
)  # fmt: skip
