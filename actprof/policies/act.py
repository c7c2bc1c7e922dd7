"""ACT (Action Chunking Transformer), `lerobot/policies/act/modeling_act.py`."""

from __future__ import annotations

from actprof.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="act",
    title="ACT",
    fixed={"pretrained_backbone_weights": None},
    sizeless=frozenset({"optimizer_lr", "optimizer_lr_backbone"}),
    units=("ACTDecoderLayer", "ACTEncoderLayer"),
    parts={
        "backbone": "model.backbone",
        "convolutions": "",
        "encoder layers": "model.encoder.layers",
        "samples apart": "",  # no statistics of a whole batch: its batch norm is frozen
        "unused attention maps": "",
    },
    components=(
        ("model.backbone", "backbone"),
        ("model.vae_encoder", "VAE encoder"),
        ("model.encoder", "encoder"),
        ("model.decoder", "decoder"),
    ),
    other_component="projections and embeddings",
    # ACT.forward stacks latent, state and image tokens as (tokens, batch, dim) and calls `encoder` on them.
    token_module="model.encoder",  # noqa: S106 - a module path, no password
    token_dim=0,
    token_pixels=32,  # of the ResNet's last feature map
    output_module="model",
    # ACT.forward, and ACTEncoderLayer.forward, which is also that of the VAE encoder's layers.
    line_modules=("model", "model.encoder.layers.0"),
)
