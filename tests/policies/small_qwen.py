"""Configurations of Qwen's vision-language models with two layers, tiny widths and their own vocabulary."""

from __future__ import annotations

import copy
from typing import Any

from actprof.policies.qwen import QWEN2_5_VL, QWEN3_VL

HIDDEN = 64
_TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
}
_VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": HIDDEN}


def small_qwen2_5() -> dict[str, Any]:
    """Return a Qwen2.5-VL whose second vision layer sees a whole image."""
    text = {**_TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}}
    return _smaller(QWEN2_5_VL, text, {**_VISION, "fullatt_block_indexes": [1]})


def small_qwen3() -> dict[str, Any]:
    """Return a Qwen3-VL that hands its language model features of its first vision layer too."""
    rope = {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"}
    text = {**_TEXT, "head_dim": 32, "rope_scaling": rope}
    return _smaller(QWEN3_VL, text, {**_VISION, "deepstack_visual_indexes": [0]})


def _smaller(model: dict[str, Any], text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(model)
    made["text_config"] |= text
    made["vision_config"] |= vision
    return made
