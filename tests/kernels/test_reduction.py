"""The global buffer of ATen's reductions: by hand for each branch, and against what an H100 recorded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from actprof.cudnn import Architecture
from actprof.kernels.reduction import Reduction, reduction_buffers

H100 = Architecture(
    compute_capability=(9, 0), multiprocessors=132, threads_per_multiprocessor=2048,
    clock_khz=1_980_000, memory_clock_khz=2_619_000,
)  # fmt: skip
RTX_3090 = Architecture(
    compute_capability=(8, 6), multiprocessors=82, threads_per_multiprocessor=1536, clock_khz=1_695_000,
    memory_clock_khz=9_751_000,
)  # fmt: skip
RECORDED = Path(__file__).parents[2] / "reports/accuracy/h100/reductions.json.gz"
_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "i64": 8, "b": 1}
_WELFORD = ("var", "std", "var_mean")
_PAIRS = ("argmax", "max", "min")


def dense(*shape):
    """Return the strides of a contiguous tensor."""
    strides = [1] * len(shape)
    for index in reversed(range(len(shape) - 1)):
        strides[index] = strides[index + 1] * shape[index + 1]
    return tuple(strides)


@pytest.mark.parametrize(
    ("shape", "dims", "expected"),
    [
        # Four columns a thread and 128 threads a row leave blocks of 32 x 4: 4,816 rows over 4 are 1,204 a
        # thread, and 16 blocks of 128 threads on each multiprocessor, 2,112 in all, over 4 groups of columns
        # are 528 blocks for each; 1,204 in parts of at least 16 are 76.
        ((4816, 512), (0,), (4 * 512 * 76 * 32 * 4, 16)),
        ((3200, 512), (0,), (4 * 512 * 50 * 32 * 4, 16)),
    ],
)
def test_a_sum_over_many_rows_is_split_over_blocks(shape, dims, expected):
    """The bias gradient of a linear layer: vectorised outputs, a buffer for every block's part."""
    assert expected == reduction_buffers(Reduction(shape=shape, strides=dense(*shape), dims=dims), H100)


def test_a_sum_of_everything_is_split_over_blocks():
    """One output: 2**22 elements, four at once by 512 threads, so 2,048 iterations of a block.

    512 x 4 = 2,048 elements wide at once is `input_vec_size` beside the step; of 8,192 values a thread,
    parts of at least 16 would be 512, but four blocks of 512 threads fill each multiprocessor: 528.
    """
    size = 2**22
    problem = Reduction(shape=(size,), strides=(1,))
    assert (4 * min(528, size // 512 // 16), 4) == reduction_buffers(problem, H100)
    assert (4 * min(246, size // 512 // 16), 4) == reduction_buffers(problem, RTX_3090)


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((512, 1024), (1,)),  # 512 rows of 1,024: a row is summed up by the warps of a block
        ((100_000, 32), (1,)),  # rows of 32: by one warp
        ((100_000, 8), (1,)),  # rows of 8: by lanes of a warp
        ((8, 4096), (0,)),  # eight rows: each thread adds up a column of its own
        ((4096,), ()),  # 4,096 values: eight a thread, too few to split
    ],
)
def test_short_sums_stay_inside_a_block(shape, dims):
    """No buffer where a block finishes its outputs itself."""
    assert (0, 0) == reduction_buffers(Reduction(shape=shape, strides=dense(*shape), dims=dims), H100)


def test_outputs_are_vectorised_only_where_everything_is_a_multiple():
    """With 510 columns a thread has two, with 511 one, and a view that starts in the middle one."""
    buffers = [
        reduction_buffers(Reduction(shape=(4816, n), strides=(n, 1), dims=(0,), offset=offset), H100)
        for n, offset in ((512, 0), (510, 0), (511, 0), (512, 1))
    ]
    grids = [semaphores // 4 for _parts, semaphores in buffers]
    assert [4, 8, 16, 16] == grids


def test_more_than_two_gib_is_reduced_in_parts():
    """Offsets beyond 32 bits split the longest dimension; each part has a buffer of its own."""
    whole = Reduction(shape=(1_200_000, 512), strides=(512, 1), dims=(0,))
    half = Reduction(shape=(600_000, 512), strides=(512, 1), dims=(0,))
    assert reduction_buffers(half, H100) == reduction_buffers(whole, H100)


def test_parts_that_are_equal_are_worked_out_once():
    """An exbibyte is two kinds of half, four of quarter at most; it takes no longer than a gibibyte."""
    huge = Reduction(shape=(10**15 + 7, 300), strides=dense(10**15 + 7, 300), dims=(0,))

    assert reduction_buffers(huge, RTX_3090)[0] > 0


def test_nothing_is_needed_for_nothing():
    """An empty tensor, and one number."""
    assert (0, 0) == reduction_buffers(Reduction(shape=(0, 5), strides=(5, 1)), H100)
    assert (0, 0) == reduction_buffers(Reduction(shape=(), strides=()), H100)


def test_what_an_h100_recorded_comes_out_exactly():
    """3,000 reductions of random shapes, strides, dims and dtypes: no byte more, no byte less."""
    with gzip.open(RECORDED) as file:
        rows = json.load(file)["rows"]
    different = [row for row in rows if _expected(row) != sorted(row[5])]
    assert [] == different
    assert 1800 == sum(bool(row[5]) for row in rows)


def _expected(row):
    op, dtype, shape, strides, dims, _recorded = row
    element = _BYTES[dtype]
    if op in _WELFORD or op in _PAIRS:
        accumulator = 16
    elif op in ("any", "all", "amax", "amin"):
        accumulator = element
    else:
        accumulator = max(4, element)
    copied = []
    if op.startswith("sum") and dtype == "b":  # made as wide as its sum first, and dense
        element = accumulator = 8
        count = 1
        for size in shape:
            count *= size
        copied, strides = [8 * count], _strides_of_copy(shape, strides)
    problem = Reduction(
        shape=tuple(shape), strides=tuple(strides), dims=tuple(dims), element_bytes=element,
        accumulator_bytes=accumulator, vector=2 if op in _WELFORD else 4,
    )  # fmt: skip
    return sorted(copied + [size for size in reduction_buffers(problem, H100) if size])


def _strides_of_copy(shape, strides):
    """Return the strides that `to` gives a copy: dense, in the order of the original's."""
    order = sorted(range(len(shape)), key=lambda dim: (-strides[dim], dim))
    result, step = [0] * len(shape), 1
    for dim in reversed(order):
        result[dim] = step
        step *= shape[dim]
    return result
