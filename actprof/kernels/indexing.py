"""Scratch of the kernels that find positions and add up rows by them: cub's, beside ATen's own copies.

cub lays its buffers out in units of 256 bytes and asks for 255 more, to align them itself. How many elements
one of its tiles has follows from what an H100 recorded (`reports/accuracy/h100/ops.json.gz`).
"""

from __future__ import annotations

from dataclasses import dataclass

from actprof.cudnn.problem import Architecture
from actprof.units import ceil_div

_UNIT = 256
_INDEX_BYTES = 8
_SUM_THREADS, _SUM_TILE, _BLOCKS_EACH = 256, 4096, 5  # DeviceReduce: five blocks wait for each that runs
_STATE_BYTES, _STATES_MORE = 16, 32  # DeviceSelect, DeviceScan: a state for each tile, and a warp's more
_SELECT_TILE, _SORT_TILE, _SCAN_TILE = 8192, 3584, 640
_DIGITS, _DIGIT_BITS = 256, 8  # of a radix sort


@dataclass(frozen=True, slots=True)
class Selection:
    """`nonzero` of so many elements, or the positions of a mask: see `selection_buffers`."""

    elements: int


@dataclass(frozen=True, slots=True)
class IndexSort:
    """So many indices, sorted, that pick among so many rows."""

    elements: int
    rows: int


@dataclass(frozen=True, slots=True)
class EmbeddingGradient:
    """`embedding_dense_backward`: a gradient of so many indices, for a table of rows of so many features."""

    indices: int
    rows: int
    features: int


def selection_buffers(problem: Selection, gpu: Architecture) -> tuple[int, int]:
    """Return the scratch of the sum that counts the elements, and of writing their positions.

    Mirrors `nonzero_cuda_out_impl` in aten/src/ATen/native/cuda/Nonzero.cu.
    """
    if not problem.elements:
        return 0, 0
    running = gpu.multiprocessors * (gpu.threads_per_multiprocessor // _SUM_THREADS)
    several = problem.elements > _SUM_TILE
    counted = _aligned(4 * _BLOCKS_EACH * running) if several else 1
    return counted, _by_tiles(problem.elements, _SELECT_TILE)


def sort_buffers(problem: IndexSort) -> tuple[int]:
    """Return the scratch of `radix_sort_pairs` of indices with their places (aten/src/ATen/cuda/cub.cuh)."""
    return (_sort_scratch(problem.elements, problem.rows),)


def _sort_scratch(count: int, rows: int) -> int:
    if count <= _SORT_TILE:
        return int(count > 0)
    passes = ceil_div((rows - 1).bit_length(), _DIGIT_BITS)
    tables = passes * _DIGITS * _INDEX_BYTES + ceil_div(count, _SORT_TILE) * _DIGITS * 4 + _UNIT
    return _aligned(2 * count * _INDEX_BYTES + tables)


# Fewer indices are added up without sorting them.
_MOST_UNSORTED = 3072
_ROWS_EACH = 10  # `NROWS_PER_THREAD`: so many rows are added up at once


def embedding_buffers(problem: EmbeddingGradient) -> tuple[int, ...]:
    """Return what sorting the indices and adding up their rows takes, in order; zeros for few indices.

    Mirrors `embedding_dense_backward_cuda` and `embedding_backward_cuda_kernel` in Embedding.cu and
    EmbeddingBackwardKernel.cu (aten/src/ATen/native/cuda/): sorted indices, their order, a range, the sort's
    scratch; where segments of equal ones begin, their number, the indices left over, scratch; the parts of
    each segment, their sums, scratch, their number; where parts begin, and each part's sum in fp32.
    """
    count = problem.indices
    if count <= _MOST_UNSORTED:
        return (0,) * 14
    each = count * _INDEX_BYTES
    segments = min(count, problem.rows)
    parts = count // _ROWS_EACH + segments
    of_segments = segments * _INDEX_BYTES
    return (
        *(each, each, each, _sort_scratch(count, problem.rows)),
        *(each, _INDEX_BYTES, each, _by_tiles(count, _SORT_TILE)),
        *(of_segments, of_segments, _by_tiles(segments, _SCAN_TILE), _INDEX_BYTES),
        *(parts * _INDEX_BYTES, parts * problem.features * 4),
    )


def _by_tiles(elements: int, tile: int) -> int:
    return _aligned(_STATE_BYTES * (_STATES_MORE + ceil_div(elements, tile)))


def _aligned(size: int) -> int:
    return ceil_div(size, _UNIT) * _UNIT + _UNIT - 1
