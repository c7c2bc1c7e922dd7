"""A backbone that does not learn."""

from __future__ import annotations

from typing import Any

OFFER = {
    "title": "frozen backbone",
    "family": "backbone",
    "needs": "backbone",
    "kind": "changes the model",
    "burden": 3,
    "note": "only with pretrained_backbone_weights, which are lerobot's default for ACT",
}


def frozen_backbone(policy: Any, place: str) -> None:
    """Leave the backbone as it is, so that nothing of its forward pass is kept for a backward pass."""
    policy.get_submodule(place).requires_grad_(False)  # noqa: FBT003 - positional in torch
