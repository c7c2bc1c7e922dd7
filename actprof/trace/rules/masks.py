"""Indexing by masks: how many elements a mask picks is data, which no trace has.

Mirrors `expandTensors` (aten/src/ATen/native/IndexingUtils.h), which replaces a mask by the positions of its
elements: as many as are known to be true, else all, the most that there can be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses import FakeTensor

from actprof.trace.rules.steps import Output, Step, Take, with_temporaries
from actprof.trace.values import count_true

aten = torch.ops.aten

_POSITION_BYTES = 8  # an int64 for each dimension of the mask
BY_INDEX = frozenset(
    {
        aten.index.Tensor,
        aten._unsafe_index.Tensor,
        aten.index_put.default,
        aten.index_put_.default,
        aten._index_put_impl_.default,
    }
)


def without_masks(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of `func` with positions in place of masks; `args` itself where it has none."""
    if func not in BY_INDEX or not any(map(_is_mask, args[1])):
        return args
    indices: list[Any] = []
    for index in args[1]:
        if _is_mask(index):
            positions = torch.empty(index.dim(), count_true(index), dtype=torch.int64, device=index.device)
            indices += positions.unbind()
        else:
            indices.append(index)
    return (args[0], indices, *args[2:])


def masks_of(func: Any, args: tuple[Any, ...]) -> list[torch.Tensor]:
    """Return the tensors whose values decide the size of what `func` returns."""
    return [index for index in args[1] if _is_mask(index)] if func in BY_INDEX else [args[-1]]


def index_by_masks(args: tuple[Any, ...], _kwargs: dict[str, Any], out: torch.Tensor) -> list[Step]:
    """The positions of each mask come first; an index that is written through has no output of its own."""
    positions = [Take(count_true(i) * i.dim() * _POSITION_BYTES) for i in args[1] if _is_mask(i)]
    return with_temporaries([], *positions, *([] if out is args[0] else [Output(0)]))


def _is_mask(index: Any) -> bool:
    return isinstance(index, FakeTensor) and index.dtype in (torch.bool, torch.uint8)
