"""Running ops without data: one whose output size depends on data gives the largest that it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses import FakeTensor

from actprof.trace.rules.masks import masks_of, without_masks
from actprof.trace.values import count_true, known_values


def run_op(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], notes: dict[str, None]) -> Any:
    """Run an op; one whose output size depends on data that no one has gives the largest it can be.

    What is assumed is added to `notes`.
    """
    bound = UPPER_BOUNDS.get(func)
    known = without_masks(func, args)
    if known is args and (bound is None or not isinstance(args[0], FakeTensor)):
        out = func(*args, **kwargs)
        return torch.empty_like(out, memory_format=_DENSE) if func in _MADE_DENSE else out
    if any(known_values(mask) is None for mask in masks_of(func, args)):
        notes[f"{func} has a size that depends on the data; the largest that it can be was assumed"] = None
    return func(*known, **kwargs) if bound is None else bound(*args)


def _nonzero_bound(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.new_empty((count_true(tensor), tensor.dim()), dtype=torch.int64)


def _masked_select_bound(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    _tensor, mask = torch.broadcast_tensors(tensor, mask)  # type: ignore[no-untyped-call]
    return tensor.new_empty(count_true(mask))


def _unique_bound(tensor: torch.Tensor, *options: bool) -> tuple[torch.Tensor, ...]:
    """Options are, as far as they are given: sorted, return_inverse, return_counts."""
    count = (tensor.numel(),)
    return tensor.new_empty(count), *_places(tensor, options, tuple(tensor.shape), count)


def _unique_dim_bound(tensor: torch.Tensor, dim: int, *options: bool) -> tuple[torch.Tensor, ...]:
    count = (tensor.shape[dim],)
    return torch.empty_like(tensor), *_places(tensor, options, count, count)


def _places(
    tensor: torch.Tensor, options: tuple[bool, ...], *shapes: tuple[int, ...]
) -> Iterator[torch.Tensor]:
    """Yield the places of the elements among the distinct ones, and how often each is there, if asked for."""
    for shape, wanted in zip(shapes, (*options, *(False,) * 3)[1:3], strict=True):
        yield tensor.new_empty(shape if wanted else (0,), dtype=torch.int64)


UPPER_BOUNDS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.nonzero.default: _nonzero_bound,
    torch.ops.aten.masked_select.default: _masked_select_bound,
    torch.ops.aten._unique2.default: _unique_bound,
    torch.ops.aten.unique_dim.default: _unique_dim_bound,
}
# On a GPU their result is dense whatever their inputs are, and so is what follows (`mse_loss_backward` in
# BinaryOps.cpp: `zeros_like` in contiguous format).
_MADE_DENSE = {torch.ops.aten.mse_loss_backward.default}
_DENSE = torch.contiguous_format
