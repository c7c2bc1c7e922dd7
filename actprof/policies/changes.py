"""Changes to a policy or its optimizer that a cell can name, as one would paste them into a script.

Each is one function of its name that changes what it is given; `actprof suggest` prints these very lines
(`actprof.policies.change_code` reads them here), so each stands on its own. One that changes a part takes the
part's path, which the policy's spec knows. `set_to_none` is not among them: lerobot calls
`optimizer.zero_grad()`, whose default it is since torch 2.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from actprof.errors import UsageError


def fused_attention(policy: Any) -> None:
    """Ask for no attention weights, which ACT throws away: torch has a kernel that never stores them."""
    for module in policy.modules():
        if isinstance(module, torch.nn.MultiheadAttention):
            module.forward = partial(module.forward, need_weights=False)  # type: ignore[method-assign]


def checkpoint_backbone(policy: Any, place: str) -> None:
    """Let the backward pass run the backbone again, camera by camera, instead of keeping what it made."""
    backbone = policy.get_submodule(place)
    backbone.forward = partial(checkpoint, backbone.forward, use_reentrant=False)


def checkpoint_encoder(policy: Any, place: str) -> None:
    """Let the backward pass run each layer again instead of keeping what it made."""
    for layer in policy.get_submodule(place):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def channels_last(policy: Any) -> None:
    """Lay weights out as convolutions on tensor cores want them; what they put out follows."""
    policy.to(memory_format=torch.channels_last)


def frozen_backbone(policy: Any, place: str) -> None:
    """Leave the backbone as it is, so that nothing of its forward pass is kept for a backward pass."""
    policy.get_submodule(place).requires_grad_(False)  # noqa: FBT003 - positional in torch


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


def fused_adamw(optimizer: Any) -> None:
    """Update in one kernel, without temporary copies of all parameters."""
    for group in optimizer.param_groups:
        group.update(fused=True, foreach=False)


_OF_PARTS: dict[str, Callable[[Any, str], None]] = {
    change.__name__: change for change in (checkpoint_backbone, checkpoint_encoder, frozen_backbone)
}
_OF_POLICIES: dict[str, Callable[[Any], None]] = {
    change.__name__: change for change in (fused_attention, channels_last)
}


def change_policy(
    policy: Any, names: Iterable[str], *, places: Mapping[str, str], backward: Callable[[Any], None]
) -> None:
    """Make the changes of `names` that concern the policy, before its optimizer is built.

    Args:
        policy: lerobot's, on its device.
        names: of `actprof.cell.CHANGES`.
        places: of `PolicySpec.changes`.
        backward: computes the gradients of a part of the batch.

    Raises:
        UsageError: a change does not fit the policy.
    """
    for name in names:
        if name not in places:
            raise UsageError(f"{name} does not fit this policy, which can take {', '.join(places)}")
        try:
            if name in _OF_PARTS:
                _OF_PARTS[name](policy, places[name])
            elif name in _OF_POLICIES:
                _OF_POLICIES[name](policy)
            elif name == accumulate_2.__name__:
                accumulate_2(policy, backward)
        except AttributeError as error:
            raise UsageError(f"{name} does not fit this policy: {error}; leave it out") from error


def change_optimizer(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> None:
    """Make the changes of `names` that concern the optimizer, before its first step.

    Raises:
        UsageError: the optimizer has no fused implementation.
    """
    if fused_adamw.__name__ in names:
        if "fused" not in optimizer.defaults:
            kind = type(optimizer).__name__
            raise UsageError(f"{kind} has no fused implementation; leave out fused_adamw")
        fused_adamw(optimizer)
