"""The attention of PaliGemma and its action expert without stored maps."""

from __future__ import annotations

from typing import Any

import torch

OFFER = {
    "title": "attention without stored maps",
    "family": "attention",
    "needs": "attention of two Gemmas",
    "note": "lerobot has no flag for it; only tokens of padding come out otherwise, which nothing reads",
}


def fused_gemma_attention(policy: Any, place: str) -> None:
    """Let a kernel of torch do what transformers spells out step by step, in the layers of this policy."""
    from transformers.models.gemma import modeling_gemma

    plain = modeling_gemma.eager_attention_forward
    for layer in policy.get_submodule(place):
        layer.self_attn.keeps_no_maps = True

    def attend(module: Any, query: Any, *others: Any, **options: Any) -> Any:
        if not hasattr(module, "keeps_no_maps"):
            return plain(module, query, *others, **options)
        key, value, mask, scale = others
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
        bias = mask.clamp(min=-1e4).to(query.dtype)  # exp(-1e4) is 0, and a row of it is no row of NaN
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, bias, scale=scale)
        return out.transpose(1, 2).contiguous(), None

    modeling_gemma.eager_attention_forward = attend
