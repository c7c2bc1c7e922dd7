"""The global buffer of ATen's reductions (`sum`, `mean`, `norm`, the bias gradient of a linear layer …).

A reduction with few outputs and long inputs is split over blocks; each block leaves its part in a buffer that
`gpu_reduce_kernel` takes from the caching allocator, with a counter per group of blocks beside it. How many
blocks that are depends on the multiprocessors of the GPU. Mirrors `setReduceConfig` and `ReduceConfig` in
aten/src/ATen/native/cuda/Reduce.cuh, and the ordering of dimensions in aten/src/ATen/TensorIterator.cpp, of
PyTorch 2.6 to 2.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from actprof.cudnn.problem import Architecture
from actprof.units import ceil_div

_MOST_THREADS = 512
_WARP = 32
_LEAST_PER_THREAD, _MOST_PER_THREAD = 16, 256
_MOST_OFFSET = 2**31 - 1
_SEMAPHORE_BYTES = 4
_OUTPUT_BYTES = 4  # of an output element


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """One reduction, as the kernel sees it.

    Attributes:
        shape, strides: of the input, in elements.
        dims: that are reduced; empty for all.
        element_bytes: of an input element.
        accumulator_bytes: of what a thread carries; 4 for a float, 16 for Welford's or an arg-max's.
        vector: `input_vec_size`, elements that a thread loads at once along a contiguous reduced dimension.
        offset: of the input in its storage, in elements.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dims: tuple[int, ...] = ()
    element_bytes: int = 4
    accumulator_bytes: int = 4
    vector: int = 4
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Dimension:
    """A dimension of the iterator: its size, and the strides of output and input in elements."""

    size: int
    output: int
    input: int


@lru_cache(maxsize=4096)
def reduction_buffers(problem: Reduction, gpu: Architecture) -> tuple[int, int]:
    """Return the bytes of the global buffer and of its semaphores; (0, 0) for a reduction within blocks.

    A tensor of more than 2 GiB is reduced in parts one after another: the largest buffer is returned.
    """
    if 0 in problem.shape:
        return 0, 0
    parts = (_buffers(part, problem, gpu) for part in _parts(_iterator(problem), problem))
    return max(parts, default=(0, 0))


def _iterator(problem: Reduction) -> list[_Dimension]:
    """Return the dimensions as `TensorIterator` leaves them: reduced ones first, sorted, merged."""
    reduced = {dim % max(len(problem.shape), 1) for dim in problem.dims} or set(range(len(problem.shape)))
    dense = 1
    dimensions: list[_Dimension] = []
    for dim in reversed(range(len(problem.shape))):  # the last one first, as the iterator starts
        size = problem.shape[dim]
        dimensions.append(_Dimension(size, 0 if dim in reduced else dense, problem.strides[dim]))
        dense *= 1 if dim in reduced else size
    return _merged(_sorted(dimensions))


def _sorted(dimensions: list[_Dimension]) -> list[_Dimension]:
    """Mirror `reorder_dimensions`: an insertion sort in which two dimensions may be incomparable."""
    for index in range(1, len(dimensions)):
        moving = index
        for before in reversed(range(index)):
            comparison = _compare(dimensions[before], dimensions[moving])
            if comparison > 0:
                dimensions[before], dimensions[moving] = dimensions[moving], dimensions[before]
                moving = before
            elif comparison < 0:
                break
    return dimensions


def _compare(first: _Dimension, second: _Dimension) -> int:
    if (first.output == 0) != (second.output == 0):
        return 1 if second.output == 0 else -1
    for one, other in ((first.output, second.output), (first.input, second.input)):
        if one == 0 or other == 0:
            continue
        if one != other:
            return -1 if one < other else 1
        if first.size > second.size:
            return 1
    return 0


def _merged(dimensions: list[_Dimension]) -> list[_Dimension]:
    """Mirror `coalesce_dimensions`."""
    merged: list[_Dimension] = dimensions[:1]
    for dimension in dimensions[1:]:
        last = merged[-1]
        adjoin = last.size * last.output == dimension.output and last.size * last.input == dimension.input
        if last.size == 1 or dimension.size == 1 or adjoin:
            strides = dimension if last.size == 1 else last
            merged[-1] = replace(strides, size=last.size * dimension.size)
        else:
            merged.append(dimension)
    return merged


def _parts(dimensions: Sequence[_Dimension], problem: Reduction) -> Iterator[Sequence[_Dimension]]:
    """Yield the iterators that `with_32bit_indexing` makes of one, equal ones once: halves within 32 bits."""
    wide: set[tuple[_Dimension, ...]] = {tuple(dimensions)}
    while wide:
        split = [part for part in wide if _furthest(part, problem) > _MOST_OFFSET]
        yield from wide.difference(split)
        wide = {half for part in split for half in _halves(part, problem)}


def _furthest(dimensions: Sequence[_Dimension], problem: Reduction) -> int:
    """Return the largest offset in bytes, of the input or the output."""
    inputs = sum((d.size - 1) * d.input for d in dimensions)
    outputs = sum((d.size - 1) * d.output for d in dimensions)
    return max(inputs * problem.element_bytes, outputs * _OUTPUT_BYTES)


def _halves(dimensions: tuple[_Dimension, ...], problem: Reduction) -> Iterator[tuple[_Dimension, ...]]:
    """Yield both halves along the dimension that reaches furthest."""
    split = max(range(len(dimensions)), key=lambda index: _furthest([dimensions[index]], problem))
    widest = dimensions[split]
    for size in (widest.size // 2, widest.size - widest.size // 2):
        yield (*dimensions[:split], replace(widest, size=size), *dimensions[split + 1 :])


def _buffers(dimensions: Sequence[_Dimension], problem: Reduction, gpu: Architecture) -> tuple[int, int]:
    """Mirror `setReduceConfig`, `global_memory_size` and `semaphore_size`."""
    reduced = sum(d.output == 0 for d in dimensions)
    outputs = prod(d.size for d in dimensions if d.output)
    inputs = prod(d.size for d in dimensions) // outputs
    along = reduced == len(dimensions) or dimensions[0].input < dimensions[reduced].input
    width, height = (inputs, outputs) if along else (outputs, inputs)
    fastest = dimensions[0 if along else reduced].input if dimensions else 1
    output_vector = 1
    if fastest == 1 and along and width >= 128 and reduced == 1:
        width //= problem.vector
    elif fastest == 1 and not along:
        output_vector = _output_vector(dimensions, reduced, problem.offset)
        width //= output_vector
    block_width, block_height = _block(width, height, _MOST_THREADS // output_vector)
    step_input, step_output = (block_width, 1) if along else (1, block_width)
    if ceil_div(inputs, step_input) < min(block_height * _LEAST_PER_THREAD, _MOST_PER_THREAD):
        return 0, 0  # every warp has outputs of its own
    step_input *= block_height
    each = ceil_div(inputs, step_input)
    grid = ceil_div(outputs // output_vector, step_output)
    target = gpu.multiprocessors * (gpu.threads_per_multiprocessor // (block_width * block_height))
    if each < _MOST_PER_THREAD or grid > target:
        return 0, 0
    blocks = max(
        min(ceil_div(target, grid), ceil_div(each, _LEAST_PER_THREAD)), ceil_div(each, _MOST_PER_THREAD)
    )
    if blocks <= 1:
        return 0, 0
    lanes = 1 if along else block_width * output_vector
    return problem.accumulator_bytes * outputs * blocks * lanes, _SEMAPHORE_BYTES * grid


def _block(width: int, height: int, most: int) -> tuple[int, int]:
    """Mirror `set_block_dimension`."""
    wide, high = _power_of_two(width, most), _power_of_two(height, most)
    block_width = min(wide, _WARP)
    block_height = min(high, most // block_width)
    return min(wide, most // block_height), block_height


def _output_vector(dimensions: Sequence[_Dimension], reduced: int, offset: int) -> int:
    """Mirror `get_output_vec_size`: four outputs a thread where everything is a multiple of four."""
    others = [d.input for index, d in enumerate(dimensions) if index != reduced]
    vector = 4
    for number in (offset, dimensions[reduced].size, *others):
        while number % vector:
            vector //= 2
    return vector


def _power_of_two(number: int, most: int) -> int:
    """Return the largest power of two that is at most `number`, and at most `most`."""
    return most if number >= most else 1 << (max(number, 1).bit_length() - 1)
