"""Indexing by masks: how many elements a mask picks is data, which no trace has.

Mirrors `expandTensors` (aten/src/ATen/native/IndexingUtils.h), which replaces a mask by the positions of its
elements: as many as are known to be true, else all, the most that there can be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses import FakeTensor

from actprof.trace.values import count_true

aten = torch.ops.aten

BY_INDEX = frozenset(
    {
        aten.index.Tensor,
        aten._unsafe_index.Tensor,
        aten.index_put.default,
        aten.index_put_.default,
        aten._index_put_impl_.default,
    }
)


def as_without_modes(func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return the op that the reverse of an index is where tensors have data: one that writes in place.

    Mirrors `index_backward` (torch/csrc/autograd/FunctionsManual.cpp), which adds up out of place for tensors
    of a class of their own.
    """
    if func is aten.index_put.default and len(args) > 3 and args[3]:
        place = args[0].device
        # Positions on the host are copied to where the tensor is (`make_info` in TensorAdvancedIndexing.cpp).
        indices = [index if index is None else index.to(place) for index in args[1]]
        return aten._index_put_impl_.default, (args[0], indices, *args[2:4], True)
    return func, args


def without_masks(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of `func` with positions in place of masks; `args` itself where it has none."""
    if func not in BY_INDEX or not any(map(is_mask, args[1])):
        return args
    indices: list[Any] = []
    for index in args[1]:
        if is_mask(index):
            positions = torch.empty(index.dim(), count_true(index), dtype=torch.int64, device=index.device)
            indices += positions.unbind()
        else:
            indices.append(index)
    return (args[0], indices, *args[2:])


def masks_of(func: Any, args: tuple[Any, ...]) -> list[torch.Tensor]:
    """Return the tensors whose values decide the size of what `func` returns."""
    return [index for index in args[1] if is_mask(index)] if func in BY_INDEX else [args[-1]]


def is_mask(index: Any) -> bool:
    """Tell whether an index is a mask, not positions."""
    return isinstance(index, FakeTensor) and index.dtype in (torch.bool, torch.uint8)
