"""Attention without stored maps."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

OFFER = {
    "title": "attention without stored maps",
    "family": "attention",
    "needs": "unused attention maps",
    "note": "lerobot has no flag for it; ACT throws the attention weights away",
}


def fused_attention(policy: Any) -> None:
    """Ask for no attention weights, which ACT throws away: torch has a kernel that never stores them."""
    for module in policy.modules():
        if isinstance(module, torch.nn.MultiheadAttention):
            module.forward = partial(module.forward, need_weights=False)  # type: ignore[method-assign]
