"""Ops whose output size depends on data that no one has: what gives the largest that it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from actprof.trace.values import count_true


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
