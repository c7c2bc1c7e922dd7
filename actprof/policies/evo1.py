"""EVO1, `lerobot/policies/evo1/modeling_evo1.py`."""

from __future__ import annotations

from typing import Any

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

# config.json of that repository on the Hub, as far as it decides shapes and dtypes.
_INTERNVL3: dict[str, Any] = {
    "model_type": "internvl",
    "downsample_ratio": 0.5,
    "image_seq_length": 256,
    "image_token_id": 151667,
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rope_theta": 1000000.0,
        "vocab_size": 151674,
    },
    "vision_config": {
        "model_type": "internvl_vision",
        "hidden_size": 1024,
        "image_size": [448, 448],
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": [14, 14],
    },
}
_IDS = {"<img>": 151665, "</img>": 151666, "<IMG_CONTEXT>": 151667}


def _tokens(_cell: Cell) -> Any:
    from actprof.policies.qwen import word_tokenizer

    return word_tokenizer(_IDS)


SPEC = PolicySpec(
    name="evo1",
    title="EVO1",
    history=lambda _config: 1,
    extra="evo1",
    use_amp=True,
    models={"OpenGVLab/InternVL3-1B-hf": _INTERNVL3},
    tokens=_tokens,
    reads_task=True,
    reads_all=True,
    follows_values=True,
    options={"image_resolution": (448, 448)},
    resized_by="image_resolution",
    components=(
        ("model.embedder.model.vision_tower", "vision tower"),
        ("model.embedder", "language model"),
        ("model.action_head", "action head"),
    ),
)
