"""SmolVLA, `lerobot/policies/smolvla/modeling_smolvla.py`."""

from __future__ import annotations

from typing import Any

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

# config.json of that repository on the Hub, as far as it decides shapes and dtypes.
_SMOLVLM2: dict[str, Any] = {
    "model_type": "smolvlm",
    "image_token_id": 49190,
    "pad_token_id": 128002,
    "scale_factor": 4,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": False,
    "text_config": {
        "model_type": "llama",
        "head_dim": 64,
        "hidden_size": 960,
        "intermediate_size": 2560,
        "max_position_embeddings": 8192,
        "num_attention_heads": 15,
        "num_hidden_layers": 32,
        "num_key_value_heads": 5,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000,
        "torch_dtype": "bfloat16",
        "vocab_size": 49280,
    },
    "vision_config": {
        "model_type": "smolvlm_vision",
        "hidden_size": 768,
        "image_size": 512,
        "num_attention_heads": 12,
        "patch_size": 16,
        "tie_word_embeddings": False,
    },
}
# config.json of lerobot/smolvla_base on the Hub (revision c83c316), as far as lerobot's defaults differ.
_BASE: dict[str, Any] = {
    "input_features": {
        "observation.state": {"type": "STATE", "shape": [6]},
        **{
            f"observation.images.camera{number}": {"type": "VISUAL", "shape": [3, 256, 256]}
            for number in (1, 2, 3)
        },
    },
    "output_features": {"action": {"type": "ACTION", "shape": [6]}},
    "load_vlm_weights": True,
    "pad_language_to": "max_length",
    "prefix_length": 0,
    "num_expert_layers": 0,
}


def _tokens(cell: Cell) -> Any:
    from actprof.policies.hub import Tokens

    return Tokens(cell.task_tokens, fake_image_token_id=49189, global_image_token_id=49152)


SPEC = PolicySpec(
    name="smolvla",
    title="SmolVLA",
    history=lambda _config: 1,
    extra="smolvla",
    models={"HuggingFaceTB/SmolVLM2-500M-Video-Instruct": _SMOLVLM2},
    bases={"lerobot/smolvla_base": _BASE},
    absent_cameras="skipped",
    tokens=_tokens,
    reads_task=True,
    options={
        "train_expert_only": True,
        "freeze_vision_encoder": True,
        "tokenizer_max_length": 48,
        "pad_language_to": "longest",
        "resize_imgs_with_padding": (512, 512),
    },
    resized_by="resize_imgs_with_padding",
    lora=True,
    parts={"samples apart": "", "spelled-out attention": "model.vlm_with_expert"},
    components=(
        ("model.vlm_with_expert.vlm.model.vision_model", "vision tower"),
        ("model.vlm_with_expert.vlm", "language model"),
        ("model.vlm_with_expert.lm_expert", "action expert"),
        ("model.vlm_with_expert", "joint attention"),
    ),
    other_component="projections",
    # Images, task and state, (batch, tokens, width): its forward calls the parts of a layer, never the layer.
    token_module="model.vlm_with_expert.vlm.model.text_model.layers.0.input_layernorm",  # noqa: S106 - a path
    tokens_called="prefix tokens",
    # The velocity of each action of the chunk: (batch, chunk, max_action_dim).
    output_module="model.action_out_proj",
    line_modules=("", "model", "model.vlm_with_expert"),
)
