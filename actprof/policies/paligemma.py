"""What pi0, pi0.5 and pi0-FAST share: PaliGemma, with an action expert or alone, all built in lerobot's code.

`gradient_checkpointing` covers the vision tower, the language model and the action expert.
"""

from __future__ import annotations

# Whatever a run says of these, its tensors are the same.
SIZELESS = frozenset(
    {
        "min_period", "max_period", "n_action_steps", "num_inference_steps", "optimizer_betas", "optimizer_eps",
        "optimizer_grad_clip_norm", "optimizer_lr", "optimizer_weight_decay", "relative_exclude_joints",
        "rtc_config", "scheduler_decay_lr", "scheduler_decay_steps", "scheduler_warmup_steps",
        "time_sampling_beta_alpha", "time_sampling_beta_beta", "time_sampling_offset", "time_sampling_scale",
    }
)  # fmt: skip

_WHOLE = "model.paligemma_with_expert"
_PALIGEMMA = f"{_WHOLE}.paligemma"
_LANGUAGE_MODEL = f"{_PALIGEMMA}.model.language_model"

COMPONENTS = (
    (f"{_PALIGEMMA}.model.vision_tower", "vision tower"),
    (f"{_PALIGEMMA}.model.multi_modal_projector", "projections"),
    (_PALIGEMMA, "language model"),
    (f"{_WHOLE}.gemma_expert", "action expert"),
    (_WHOLE, "joint attention"),
)
OTHER = "projections"
# Images and text, (batch, tokens, width): pi0 calls the parts of a layer, never the layer itself.
TOKENS_ENTER = f"{_LANGUAGE_MODEL}.layers.0.input_layernorm"
# What each layer does: pi0's and pi0.5's is a function beside the model, `compute_layer_complete`.
LINES = ("", "model", _WHOLE)
# Each sample's loss is its own.
PARTS = {"samples apart": ""}
