"""ACT (Action Chunking Transformer), `lerobot/policies/act/modeling_act.py`."""

from __future__ import annotations

from actprof.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="act",
    fixed={"pretrained_backbone_weights": None},
    sizeless=frozenset({"optimizer_lr", "optimizer_lr_backbone"}),
    changes={
        "accumulate_2": "",
        "channels_last": "",
        "checkpoint_backbone": "model.backbone",
        "checkpoint_encoder": "model.encoder.layers",
        "frozen_backbone": "model.backbone",
        "fused_adamw": "",
        "fused_attention": "",  # ACT throws the attention weights away
    },
    components=(
        ("model.backbone", "backbone"),
        ("model.vae_encoder", "vae_encoder"),
        ("model.encoder", "encoder"),
        ("model.decoder", "decoder"),
    ),
    other_component="projections and embeddings",
    # ACT.forward stacks latent, state and image tokens as (tokens, batch, dim) and calls `encoder` on them.
    token_module="model.encoder",  # noqa: S106 - a module path, no password
    token_dim=0,
    output_module="model",
    # ACT.forward, and ACTEncoderLayer.forward, which is also that of the VAE encoder's layers.
    line_modules=("model", "model.encoder.layers.0"),
)
