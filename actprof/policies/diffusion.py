"""Diffusion Policy, `lerobot/policies/diffusion/modeling_diffusion.py`; lerobot wants diffusers for it."""

from __future__ import annotations

from actprof.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="diffusion",
    title="Diffusion Policy",
    history=lambda config: config["n_obs_steps"],
    extra="diffusion",
    fixed={"pretrained_backbone_weights": None},
    sizeless=frozenset(
        {
            "optimizer_lr", "optimizer_betas", "optimizer_eps", "scheduler_name", "scheduler_warmup_steps",
            "n_action_steps", "drop_n_last_frames", "num_inference_steps", "beta_start", "beta_end",
            "beta_schedule", "clip_sample", "clip_sample_range",
        }
    ),
    options={"gradient_checkpointing": False, "resize_shape": None},
    resized_by="resize_shape",
    # Its ResNets have batch norm (`use_group_norm` is off): halves of a batch would have statistics of
    # their own, and a backbone that runs twice would count each batch twice.
    parts={"convolutions": ""},
    components=(("diffusion.rgb_encoder", "image encoder"), ("diffusion.unet", "U-Net")),
    other_component="stacked images",
    groups=(("diffusion.unet", "feature maps"),),
    # DiffusionConditionalUnet1d.forward returns what it denoises: (batch, horizon, action_dim).
    output_module="diffusion.unet",
    # DiffusionPolicy.forward, DiffusionConditionalUnet1d.forward and that of its residual blocks.
    line_modules=("", "diffusion.unet", "diffusion.unet.mid_modules.0"),
)  # fmt: skip
