"""From an op's arguments to the form and the numbers that `actprof.trace.calls` puts together again."""

from __future__ import annotations

from typing import Any

import torch

from actprof.trace.calls import Form
from actprof.trace.rules.work import launches_of_lists

Described = tuple[Form, tuple[int, ...]]


def describe(func: Any, args: tuple[Any, ...], out: Any) -> Described:
    """Return the form of a call, and the numbers that may grow with the batch size, in a row.

    A word of the form is `t2 float32` (a tensor of two dimensions: shape and strides follow among the
    numbers), `l3` (a list, whose three words follow), `i` (a number), `I2` (two of them), `b1` (a flag), `o`
    (anything else), `>` (the outputs follow), or alone `m4`: an op on lists of tensors, in four launches.
    """
    launches = launches_of_lists(func, args, out)
    if launches:
        return (f"m{launches}",), ()
    form: list[str] = []
    numbers: list[int] = []
    for value in args:
        _describe(value, form, numbers)
    form.append(">")
    for value in out if isinstance(out, tuple | list) else (out,):
        _describe(value, form, numbers)
    return tuple(form), tuple(numbers)


def _describe(value: Any, form: list[str], numbers: list[int]) -> None:
    if isinstance(value, torch.Tensor):
        form.append(f"t{value.dim()} {str(value.dtype).removeprefix('torch.')}")
        numbers += value.shape
        numbers += value.stride()
    elif isinstance(value, bool):
        form.append(f"b{value:d}")
    elif isinstance(value, int):
        form.append("i")
        numbers.append(value)
    elif isinstance(value, list | tuple) and all(type(item) is int for item in value):
        form.append(f"I{len(value)}")
        numbers += value
    elif isinstance(value, list | tuple):
        form.append(f"l{len(value)}")
        for item in value:
            _describe(item, form, numbers)
    else:
        form.append("o")
