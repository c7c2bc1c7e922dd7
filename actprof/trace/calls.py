"""What each op was called with: shapes, strides and dtypes, as functions of the batch size; needs no torch.

How long an op takes depends on more than its bytes, and on each GPU in other ways. So a trace keeps what
the op was given, and `actprof.step_time` works out the kernels. Most calls are alike, and are kept once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from actprof.kernels.growing import Growing

# One word an argument: what it is, without the numbers that may grow with the batch size. See `described`.
Form: TypeAlias = tuple[str, ...]

ELEMENT_BYTES = {
    "float64": 8, "int64": 8, "complex64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2,
    "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
_END = object()  # of the arguments


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that an op read or wrote; sizes and strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements, repeated ones (a stride of zero) counted each time."""
        return prod(self.shape)

    @property
    def element_bytes(self) -> int:
        """Bytes of one element."""
        return ELEMENT_BYTES.get(self.dtype, 4)

    @property
    def bytes(self) -> int:
        """Bytes in memory: along a stride of zero there is one element, however long."""
        counts = (size for size, stride in zip(self.shape, self.strides, strict=True) if stride or not size)
        return prod(counts) * self.element_bytes

    @property
    def fastest(self) -> int:
        """Index of the dimension whose elements are next to each other; -1 for a single element."""
        steps = [
            (stride, -index)
            for index, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True))
            if size > 1 and stride
        ]
        return -min(steps)[1] if steps else -1

    @property
    def is_dense(self) -> bool:
        """Whether it is contiguous in the order of its dimensions."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


@dataclass(frozen=True, slots=True)
class Call:
    """What one op was called with.

    Attributes:
        arguments: in their order: an `Operand`, a tuple of them, a number, a tuple of numbers, a flag, or
            None for anything else.
        outputs: of the op, None where it has none at that place.
        launches: of an op on lists of tensors, how many kernels it takes; its arguments are left out.
    """

    arguments: tuple[Any, ...]
    outputs: tuple[Operand | None, ...]
    launches: int = 0

    @property
    def operands(self) -> list[Operand]:
        """All tensors among the arguments, those of lists too."""
        return list(_operands(self.arguments))


def _operands(values: tuple[Any, ...]) -> Iterator[Operand]:
    for value in values:
        if isinstance(value, Operand):
            yield value
        elif isinstance(value, tuple):
            yield from _operands(value)


@dataclass(frozen=True, slots=True)
class GrowingCall(Growing):
    """A call as a function of the batch size; one of which nothing is known has an empty form."""

    def at(self, batch_size: int) -> Call:
        """Return the call at `batch_size`."""
        return _put_together(self.form, self.numbers_at(batch_size))


UNKNOWN_CALL = GrowingCall((), (), ())


def _put_together(form: Form, numbers: tuple[int, ...]) -> Call:
    if not form:
        return Call((), ())
    if form[0].startswith("m"):
        return Call((), (), int(form[0][1:]))
    words, given = iter(form), iter(numbers)
    arguments = tuple(iter(lambda: _value(words, given), _END))
    outputs: list[Any] = []
    with suppress(StopIteration):
        while True:
            outputs.append(_value(words, given))
    return Call(arguments, tuple(outputs))


def _value(words: Iterator[str], numbers: Iterator[int]) -> Any:
    word = next(words)
    kind, rest = word[0], word[1:]
    if kind == "t":
        count, _, dtype = rest.partition(" ")
        shape, strides = (tuple(next(numbers) for _ in range(int(count))) for _ in range(2))
        return Operand(shape, strides, dtype)
    if kind == "l":
        return tuple(_value(words, numbers) for _ in range(int(rest)))
    if kind == "I":
        return tuple(next(numbers) for _ in range(int(rest)))
    single = {"b": rest == "1", ">": _END}
    return next(numbers) if kind == "i" else single.get(kind)
