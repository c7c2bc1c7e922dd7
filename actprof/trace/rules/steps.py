"""The order in which one op allocates: its outputs, and what its kernel takes and gives back inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch

from actprof.kernels.problem import Problem
from actprof.kernels.reduction import Reduction


@dataclass(frozen=True, slots=True)
class Output:
    """The op's output of this number, lists of outputs counted through, is allocated now."""

    index: int


@dataclass(frozen=True, slots=True)
class Take:
    """A temporary is allocated: of so many bytes, or a part of a problem whose bytes replay works out."""

    size: int = 0
    problem: Problem | None = None
    part: int = 0


@dataclass(frozen=True, slots=True)
class Give:
    """The op's temporary of this number is freed; what no step gives back goes when the op ends."""

    index: int


Step: TypeAlias = Output | Take | Give


def outputs(count: int) -> list[Step]:
    """Return the allocations of the first outputs, in order."""
    return [Output(index) for index in range(count)]


def with_temporaries(steps: list[Step], *inner: Take | Output) -> list[Step]:
    """Return `steps`, then `inner` one after another; its temporaries are given back in reverse."""
    first, count = (sum(isinstance(step, Take) for step in part) for part in (steps, inner))
    return [*steps, *inner, *(Give(first + index) for index in reversed(range(count)))]


def bytes_of(tensor: torch.Tensor) -> int:
    """Return the bytes of a dense tensor of this shape and dtype."""
    return tensor.numel() * tensor.element_size()


def dense_copies(*tensors: torch.Tensor, layout: torch.memory_format = torch.contiguous_format) -> list[Take]:
    """Return the copies of those of `tensors` that are not dense in `layout`."""
    return [Take(bytes_of(tensor)) for tensor in tensors if not tensor.is_contiguous(memory_format=layout)]


def reduction_of(
    tensor: torch.Tensor,
    dims: tuple[int, ...] = (),
    *,
    accumulator_bytes: int | None = None,
    vector: int = 4,
    element_bytes: int | None = None,
) -> tuple[Take, Take]:
    """Return the two temporaries of a reduction over `dims`, empty for all: parts and counters."""
    element = element_bytes or tensor.element_size()
    problem = Reduction(
        shape=tuple(tensor.shape),
        strides=tuple(tensor.stride()),
        dims=dims,
        element_bytes=element,
        accumulator_bytes=accumulator_bytes or max(4, element),
        vector=vector,
        offset=int(tensor.storage_offset()),
    )
    return Take(problem=problem, part=0), Take(problem=problem, part=1)
