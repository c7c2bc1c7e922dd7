"""A problem whose numbers grow with the batch size: what a trace keeps instead of bytes.

How much a reduction or a convolution takes inside depends on the GPU, and not in a straight line on the batch
size. Its dimensions do, so they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

from actprof.cudnn.problem import Architecture, Convolution
from actprof.kernels.growing import Growing
from actprof.kernels.indexing import (
    EmbeddingGradient,
    IndexSort,
    Selection,
    embedding_buffers,
    selection_buffers,
    sort_buffers,
)
from actprof.kernels.reduction import Reduction, reduction_buffers

Solved: TypeAlias = Reduction | Selection | IndexSort | EmbeddingGradient
Problem: TypeAlias = Solved | Convolution
# A problem without the numbers that may grow: its class, and (field, value), or (field, how many numbers).
Form: TypeAlias = tuple[str, tuple[tuple[str, Any], ...]]

_KINDS: dict[str, type[Problem]] = {
    "reduction": Reduction,
    "convolution": Convolution,
    "selection": Selection,
    "sort": IndexSort,
    "embedding": EmbeddingGradient,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_GROWING = {
    "reduction": ("shape", "strides", "offset"),
    "convolution": ("image", "weight", "output", "image_strides", "weight_strides", "output_strides"),
    "selection": ("elements",),
    "sort": ("elements", "rows"),
    "embedding": ("indices",),
}


def buffers_of(problem: Solved, gpu: Architecture) -> tuple[int, ...]:
    """Return the bytes of each part of a problem that a rule solves; 0 for one that is not needed."""
    match problem:
        case Reduction():
            return reduction_buffers(problem, gpu)
        case Selection():
            return selection_buffers(problem, gpu)
        case IndexSort():
            return sort_buffers(problem)
        case EmbeddingGradient():
            return embedding_buffers(problem)


def take_apart(problem: Problem) -> tuple[Form, tuple[int, ...]]:
    """Return the form of `problem` and the numbers that may grow, in a row."""
    kind = _NAMES[type(problem)]
    form: list[tuple[str, Any]] = []
    numbers: list[int] = []
    for field in fields(problem):
        value = getattr(problem, field.name)
        if field.name in _GROWING[kind]:
            part = value if isinstance(value, tuple) else (value,)
            numbers += part
            form.append((field.name, len(part) if isinstance(value, tuple) else -1))
        else:
            form.append((field.name, value))
    return (kind, tuple(form)), tuple(numbers)


@lru_cache(maxsize=8192)
def put_together(form: Form, numbers: tuple[int, ...]) -> Problem:
    """Return the problem that `take_apart` took apart."""
    kind, named = form
    left = iter(numbers)
    values: dict[str, Any] = {
        name: _taken(left, value) if name in _GROWING[kind] else value for name, value in named
    }
    return _KINDS[kind](**values)


def _taken(numbers: Iterator[int], count: int) -> int | tuple[int, ...]:
    return next(numbers) if count < 0 else tuple(next(numbers) for _ in range(count))


@dataclass(frozen=True, slots=True)
class GrowingProblem(Growing):
    """A problem as a function of the batch size."""

    def at(self, batch_size: int) -> Problem:
        """Return the problem at `batch_size`."""
        return put_together(self.form, self.numbers_at(batch_size))
