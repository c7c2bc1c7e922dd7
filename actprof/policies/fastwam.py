"""FastWAM, `lerobot/policies/fastwam/modeling_fastwam.py`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

_WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
# text_encoder/config.json of that repository on the Hub, and vae/config.json, as far as they decide shapes.
_UMT5: dict[str, Any] = {
    "model_type": "umt5",
    "d_ff": 10240,
    "d_kv": 64,
    "d_model": 4096,
    "feed_forward_proj": "gated-gelu",
    "num_heads": 64,
    "num_layers": 24,
    "torch_dtype": "bfloat16",
    "vocab_size": 256384,
}
_CHANNELS = 48
_KINDS = ("video", "action")
_VAE: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "in_channels": 12,
    "is_residual": True,
    "latents_mean": [0.0] * _CHANNELS,
    "latents_std": [1.0] * _CHANNELS,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "z_dim": _CHANNELS,
}


def _stand_ins(_cell: Cell) -> AbstractContextManager[object]:
    """Build the autoencoder, which is a model of diffusers."""
    from diffusers import AutoencoderKLWan

    def build(_name: str, *, torch_dtype: Any, **_options: Any) -> Any:
        made: Any = AutoencoderKLWan(**_VAE)  # type: ignore[no-untyped-call]
        return made.to(torch_dtype).eval()

    return mock.patch.object(AutoencoderKLWan, "from_pretrained", build)


SPEC = PolicySpec(
    name="fastwam",
    title="FastWAM",
    history=lambda config: -(-config["num_video_frames"] // config["action_video_freq_ratio"]),
    fixed={"base_model_id": None},
    extra="fastwam",
    example={"state_dim": 8, "action_dim": 7},  # as many as lerobot's defaults for them
    models={_WAN: _UMT5},
    stand_ins=_stand_ins,
    reads_task=True,
    pads_task=True,
    follows_values=True,
    options={
        "use_gradient_checkpointing": False,
        "freeze_video_expert": False,
        "image_size": (224, 448),
    },
    resized_by="image_size",
    units=("MoTLayer",),
    components=(
        ("model.mot.mixtures.video", "video expert"),
        ("model.mot.mixtures.action", "action expert"),
        *((f"model.mot.layers.{n}.blocks.{kind}", f"{kind} expert") for n in range(30) for kind in _KINDS),
    ),
    grounded=False,
)
