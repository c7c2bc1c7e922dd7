"""Encoder layers that run again in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

OFFER = {
    "title": "gradient checkpointing (encoder)",
    "family": "encoder checkpoints",
    "needs": "encoder layers",
}


def checkpoint_encoder(policy: Any, place: str) -> None:
    """Let the backward pass run each layer again instead of keeping what it made."""
    for layer in policy.get_submodule(place):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
