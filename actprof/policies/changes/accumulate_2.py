"""Gradient accumulation: each batch in two halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

OFFER = {
    "title": "gradient accumulation (2 parts)",
    "family": "batch",
    "needs": "samples apart",
    "halves": True,
    "note": "the mean of the halves is that of the batch where both have as many padded actions; "
    "with one process only, as the first backward pass is the policy's own",
}


def accumulate_2(policy: Any, backward: Callable[[Any], None] = torch.Tensor.backward) -> None:
    """Run the first half of each batch forward and backward before the second half; clip and step once."""
    whole = policy.forward

    def forward(batch: dict[str, Any]) -> Any:
        size = len(batch["action"])
        half = size // 2
        if not half or not torch.is_grad_enabled():
            return whole(batch)
        halves = [
            {
                key: value[part] if hasattr(value, "__len__") and len(value) == size else value
                for key, value in batch.items()
            }
            for part in (slice(half), slice(half, size))
        ]
        share = half / size  # the last batch of an epoch may be odd
        first, _ = whole(halves[0])
        backward(share * first)
        second, logged = whole(halves[1])
        return share * first.detach() + (1 - share) * second, logged

    policy.forward = forward
