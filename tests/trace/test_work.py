"""Bytes and kernels of single ops, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from actprof.trace.fake import fake_cuda
from actprof.trace.recorder import Recorder
from actprof.trace.rules.work import bytes_moved, count_launches, launches_of_lists

aten = torch.ops.aten


def moved(func, *args, **kwargs):
    return bytes_moved(func, args, kwargs, func(*args, **kwargs))


def launches(func, *args):
    return launches_of_lists(func, args, func(*args))


def test_an_op_in_place_reads_and_writes_what_it_changes():
    """Two reads and a write of 10 floats."""
    assert 3 * 40 == moved(aten.add_.Tensor, torch.zeros(10), torch.ones(10))


def test_an_op_on_lists_in_place_writes_them_although_it_returns_nothing():
    """Read and written: 2 tensors of 10 floats each."""
    assert 2 * 80 == moved(aten._foreach_mul_.Scalar, [torch.zeros(10), torch.ones(10)], 2.0)


def test_what_is_overwritten_is_not_read():
    """A copy reads its source and writes its target; a fill only writes."""
    assert 2 * 40 == moved(aten.copy_.default, torch.zeros(10), torch.ones(10))
    assert 40 == moved(aten.fill_.Scalar, torch.zeros(10), 1.0)


def test_a_shape_is_not_read():
    """What is like another tensor reads nothing of it, and empty memory moves nothing."""
    assert 40 == moved(aten.zeros_like.default, torch.zeros(10))
    assert 0 == moved(aten.empty.memory_format, [10])


def test_an_expanded_tensor_is_read_once():
    """Ten rows that are one row in memory: 4 floats read, 40 read, 40 written."""
    row = torch.zeros(1, 4).expand(10, 4)
    assert 4 * (4 + 40 + 40) == moved(aten.add.Tensor, row, torch.ones(10, 4))


def test_a_tensor_given_twice_is_read_once():
    """A square reads 10 floats and writes 10."""
    values = torch.ones(10)
    assert 80 == moved(aten.mul.Tensor, values, values)


@pytest.mark.parametrize(
    ("sizes", "depth", "expected"),
    [
        ([], 1, 0),
        ([0, 0], 1, 0),
        ([1], 1, 1),
        ([1] * 110, 1, 1),  # 110 tensors of one chunk fill a launch
        ([1] * 111, 1, 2),
        ([1] * 49, 3, 2),  # of three lists, 48 tensors
        ([320 * 65_536], 1, 1),  # 320 chunks
        ([320 * 65_536 + 1], 1, 2),
        ([319 * 65_536, 2 * 65_536], 1, 2),  # the second tensor goes on in the second launch
        ([320 * 65_536, *[1] * 110], 1, 2),  # the full launch leaves no tensor behind
    ],
)
def test_a_launch_takes_so_many_tensors_and_chunks(sizes, depth, expected):
    """As `multi_tensor_apply` divides a list."""
    assert expected == count_launches(sizes, depth=depth)


def test_a_list_of_numbers_takes_room_for_tensors():
    """96 tensors with a number each, where 110 have room without."""
    assert (1, 2) == (
        count_launches([1] * 97, depth=1),
        count_launches([1] * 97, depth=1, with_scalars=True),
    )


def test_a_norm_of_a_list_has_its_sums_added_up():
    """Zeros for partial sums, one launch, and the kernel that adds them."""
    assert 3 == launches(aten._foreach_norm.Scalar, [torch.ones(10), torch.ones(3)], 2)


def test_a_factor_of_another_dtype_goes_through_a_list_one_by_one():
    """As PyTorch's slow route does: a launch for each tensor."""
    tensors = [torch.ones(10, dtype=torch.bfloat16) for _ in range(5)]

    assert 5 == launches(aten._foreach_mul_.Tensor, tensors, torch.ones(()))
    assert 1 == launches(aten._foreach_mul_.Tensor, tensors, torch.ones((), dtype=torch.bfloat16))


def test_an_op_on_single_tensors_is_none_on_lists():
    """Its kernels are worked out for the GPU at hand."""
    assert 0 == launches(aten.cat.default, [torch.ones(3), torch.ones(4)])


def test_heads_that_share_keys_work_as_much_as_others():
    """`enable_gqa` saves keys and values, no products; torch's own count refuses it."""
    with fake_cuda(), Recorder("cuda") as recorder:
        for heads in (4, 2):
            query = torch.randn(2, 4, 8, 16, device="cuda", dtype=torch.bfloat16)
            key = torch.randn(2, heads, 8, 16, device="cuda", dtype=torch.bfloat16)
            torch.nn.functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    flops = [
        flops for name, flops in zip(recorder.op_names, recorder.op_flops, strict=True) if "flash" in name
    ]
    assert [2 * (2 * 2 * 4 * 8 * 8 * 16)] * 2 == flops
