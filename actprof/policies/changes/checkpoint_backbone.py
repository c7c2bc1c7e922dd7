"""A backbone that runs again in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

OFFER = {
    "title": "gradient checkpointing (backbone)",
    "family": "backbone",
    "needs": "backbone",
}


def checkpoint_backbone(policy: Any, place: str) -> None:
    """Let the backward pass run the backbone again, camera by camera, instead of keeping what it made."""
    backbone = policy.get_submodule(place)
    backbone.forward = partial(checkpoint, backbone.forward, use_reentrant=False)
