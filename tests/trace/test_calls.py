"""What an op was called with, taken apart and put together again."""

from __future__ import annotations

import pytest
import torch

from actprof.trace.calls import UNKNOWN_CALL, Call, GrowingCall, Operand
from actprof.trace.rules.describe import describe

aten = torch.ops.aten
KEEP = True


def again(func, *args):
    """Return the call after it was described, at any batch size."""
    form, numbers = describe(func, args, func(*args))
    return GrowingCall(form, numbers, (0,) * len(numbers)).at(8)


def test_tensors_come_back_with_shape_strides_and_dtype():
    """A transposed operand, a number, and the output."""
    left = torch.zeros(3, 2).t()
    call = again(aten.sum.dim_IntList, left, [0], KEEP)

    assert (Operand((2, 3), (1, 2), "float32"), (0,), True) == call.arguments
    assert (Operand((1, 3), (3, 1), "float32"),) == call.outputs


def test_lists_come_back_in_order():
    """Tensors of a list are operands too."""
    call = again(aten.cat.default, [torch.zeros(2), torch.zeros(3)], 0)

    assert [(2,), (3,)] == [one.shape for one in call.operands]
    assert 0 == call.arguments[1]


def test_an_op_on_lists_is_told_by_its_launches():
    """Its operands are left out."""
    assert Call((), (), 1) == again(aten._foreach_sqrt.default, [torch.ones(3), torch.ones(3)])


def test_numbers_grow_with_the_batch_or_with_its_parts():
    """(2 + 3 B) / 2 rows of four."""
    call = GrowingCall(("t2 bfloat16", ">"), (2, 8, 8, 2), (3, 0, 0, 0), 2).at(4)
    assert (Operand((7, 4), (4, 1), "bfloat16"),) == call.arguments


def test_nothing_is_known_of_an_unknown_call():
    """It has neither operands nor outputs."""
    assert Call((), ()) == UNKNOWN_CALL.at(8)


@pytest.mark.parametrize(
    ("shape", "strides", "bytes_", "fastest", "dense"),
    [
        ((2, 3), (3, 1), 24, 1, True),
        ((2, 3), (1, 2), 24, 0, False),
        ((5, 3), (0, 1), 12, 1, False),
        ((1, 3), (7, 1), 12, 1, True),
        ((), (), 4, -1, True),
    ],
)
def test_an_operand_knows_how_it_lies_in_memory(shape, strides, bytes_, fastest, dense):
    """Repeated elements count once; a dimension of one may have any stride."""
    operand = Operand(shape, strides, "float32")
    assert (bytes_, fastest, dense) == (operand.bytes, operand.fastest, operand.is_dense)
