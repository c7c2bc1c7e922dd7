"""What picking by indices and masks takes inside, and adding up by them.

A mask is first replaced by the positions of its elements (`expandTensors` in
aten/src/ATen/native/IndexingUtils.h), which is `nonzero`. How much scratch that and
sorting indices need is worked out at replay (`actprof.kernels.indexing`).
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from actprof.kernels.indexing import EmbeddingGradient, IndexSort, Selection
from actprof.trace.rules.masks import is_mask
from actprof.trace.rules.steps import (
    Give,
    Output,
    Step,
    Take,
    bytes_of,
    dense_copies,
    outputs,
    with_temporaries,
)
from actprof.trace.values import count_true

aten = torch.ops.aten

_INDEX_BYTES = 8


def nonzero(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Tensor) -> list[Step]:
    """Mirror `nonzero_cuda_out_impl` in cuda/Nonzero.cu: count, allocate, write."""
    return _positions([], args[0], Output(0))


def index(args: tuple[Any, ...], _kwargs: dict[str, Any], out: Tensor) -> list[Step]:
    """The positions of each mask come first; an index that is written through has no output of its own."""
    steps = _positions_of_masks(args[1])
    return [*steps, *([] if out is args[0] else [Output(0)]), *_gives(steps)]


def masked_select(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Tensor) -> list[Step]:
    """It is an index by the mask, expanded (`masked_select_out_cuda_impl` in cuda/IndexKernel.cpp)."""
    _tensor, mask = torch.broadcast_tensors(*args[:2])  # type: ignore[no-untyped-call]
    steps = _positions_of_masks([mask])
    return [*steps, Output(0), *_gives(steps)]


def masked_scatter(args: tuple[Any, ...], _kwargs: dict[str, Any], out: Tensor) -> list[Step]:
    """How many true ones are before each place (`masked_scatter__cuda` in cuda/IndexKernel.cpp)."""
    mask = args[1].expand(out.shape)
    return with_temporaries([Output(0)], Take(out.numel() * _INDEX_BYTES), *dense_copies(mask))


def index_put(args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> list[Step]:
    """What is added up is sorted first (`index_put_with_sort_kernel` in cuda/Indexing.cu).

    Each index is tested, unless it is known to be good, and made part of one that counts through the tensor.
    """
    if not (args[3] if len(args) > 3 else kwargs.get("accumulate", False)):
        return index(args, kwargs, out)
    tensor, indices, values = args[:3]
    given = [i for i in indices if i is not None]
    steps = [*([] if out is tensor else [Output(0)]), *_positions_of_masks(given)]
    count = prod(torch.broadcast_shapes(*map(_picked, given)))  # type: ignore[no-untyped-call]
    safe = len(args) > 4 and args[4]
    each = Take(count * _INDEX_BYTES)
    linear, dims = None, sum(one.dim() if is_mask(one) else 1 for one in given)
    for _ in range(dims):
        for _extreme in range(0 if safe else 2):
            steps = with_temporaries(steps, Take(_INDEX_BYTES), Take(1))
        place = _count(steps)
        steps += [each, each, Give(place)]
        if linear is None:
            linear = place + 1
        else:
            steps += [each, Give(linear), Give(place + 1)]
            linear = place + 2
    rows = prod(tensor.shape[:dims])
    steps += [*dense_copies(values), each, each]
    steps = with_temporaries(steps, each, Take(problem=IndexSort(count, rows)))
    return [*steps, *_gives(steps)]


def embedding_gradient(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Tensor) -> list[Step]:
    """Of more than 3,072 indices, what `EmbeddingGradient` names; its result comes among them."""
    gradient, indices, rows = args[:3]
    problem = EmbeddingGradient(indices.numel(), rows, gradient.shape[-1])
    part = [Take(problem=problem, part=number) for number in range(14)]
    steps: list[Step] = dense_copies(gradient)  # type: ignore[assignment]
    steps = [*steps, *part[:2]]
    steps = with_temporaries(steps, *part[2:4])
    steps = [*steps, Output(0), *part[4:6]]
    steps = with_temporaries(steps, *part[6:8])
    steps = [*steps, *part[8:10]]
    steps = with_temporaries(steps, part[10])
    return [*steps, *part[11:]]


def cumulate(args: tuple[Any, ...], _kwargs: dict[str, Any], out: Tensor) -> list[Step]:
    """What is summed up is first made as wide as the result, and dense (`cumsum` in ReduceOps.cpp)."""
    tensor = args[0]
    copies = dense_copies(tensor) if tensor.dtype == out.dtype else [Take(bytes_of(out))]
    return with_temporaries(outputs(1), *copies)


def _positions_of_masks(indices: Any) -> list[Step]:
    steps: list[Step] = []
    for one in indices:
        if is_mask(one):
            steps = _positions(steps, one, Take(count_true(one) * one.dim() * _INDEX_BYTES))
    return steps


def _positions(steps: list[Step], mask: Tensor, result: Take | Output) -> list[Step]:
    """Return `steps` with those of `nonzero`, whose result is allocated between counting and writing."""
    kept = [*dense_copies(mask), Take(4)]
    first, problem = _count(steps), Selection(mask.numel())
    steps = with_temporaries([*steps, *kept], Take(problem=problem, part=0))
    steps = with_temporaries([*steps, result], Take(problem=problem, part=1))
    return [*steps, *(Give(first + number) for number in reversed(range(len(kept))))]


def _picked(one: Tensor) -> tuple[int, ...]:
    return (count_true(one),) if is_mask(one) else tuple(one.shape)


def _count(steps: list[Step]) -> int:
    return sum(isinstance(step, Take) for step in steps)


def _gives(steps: list[Step]) -> list[Step]:
    """Return what gives back, the last first, whatever `steps` has taken and not given back."""
    given = {step.index for step in steps if isinstance(step, Give)}
    return [Give(number) for number in reversed(range(_count(steps))) if number not in given]
