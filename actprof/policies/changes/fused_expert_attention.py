"""SmolVLA's attention without stored maps."""

from __future__ import annotations

from typing import Any

import torch

OFFER = {
    "title": "attention without stored maps",
    "family": "attention",
    "needs": "spelled-out attention",
    "note": "lerobot has no flag for it; only tokens of padding come out otherwise, which nothing reads",
}


def fused_expert_attention(policy: Any, place: str) -> None:
    """Let a kernel of torch do in fp32, as before, what lerobot spells out step by step."""
    model = policy.get_submodule(place)

    def attend(mask: Any, batch: Any, size: Any, *parts: Any) -> Any:
        heads, dtype = parts[0].shape[2], parts[2].dtype
        query, key, value = (part.float().transpose(1, 2) for part in parts)
        key, value = (part.repeat_interleave(heads // part.shape[1], 1) for part in (key, value))
        bias = torch.where(mask[:, None], 0.0, -1e4)  # exp(-1e4) is 0, and a row of it is no row of NaN
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, bias)
        return out.transpose(1, 2).reshape(batch, -1, heads * size).to(dtype)

    model.eager_attention_forward = attend
