"""An optimizer of one kernel."""

from __future__ import annotations

from typing import Any

OFFER = {
    "title": "fused AdamW",
    "family": "optimizer",
    "on": "optimizer",
    "needs": "fused",
}


def fused_adamw(optimizer: Any) -> None:
    """Update in one kernel, without temporary copies of all parameters."""
    for group in optimizer.param_groups:
        group.update(fused=True, foreach=False)
