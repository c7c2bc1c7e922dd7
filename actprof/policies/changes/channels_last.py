"""Weights as convolutions on tensor cores want them."""

from __future__ import annotations

from typing import Any

import torch

OFFER = {
    "title": "channels last",
    "family": "layout",
    "needs": "convolutions",
}


def channels_last(policy: Any) -> None:
    """Lay weights out as convolutions on tensor cores want them; what they put out follows."""
    policy.to(memory_format=torch.channels_last)
