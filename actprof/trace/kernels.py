"""What is known of the work of the kernels behind the ops: operations, traffic, matrix libraries."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

CUBLAS, CUBLASLT = 1, 2
_PLAIN_PRODUCTS = {
    aten.mm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.mv.default,
    aten.addmv.default,
    aten.dot.default,
}
_ADDMM = {aten.addmm.default, aten._addmm_activation.default}


def blas_route(func: Any, args: tuple[Any, ...]) -> int:
    """Return 0 for an op without matrix product, `CUBLAS`, or `CUBLASLT` for one with a fused bias.

    `addmm` goes through cuBLASLt when the bias is a vector that can be fused into the product
    (`isInputCompliesAddmmCudaLt` in aten/src/ATen/native/cuda/Blas.cpp).
    """
    if func in _PLAIN_PRODUCTS:
        return CUBLAS
    if func not in _ADDMM:
        return 0
    bias, left, right = args[:3]
    fused = bias.dim() == 1 and bias.is_contiguous() and min(*left.shape, *right.shape) > 1
    return CUBLASLT if fused else CUBLAS


def flops_of(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Return the floating-point operations of one op, as `torch.utils.flop_counter` counts them."""
    count = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))


def bytes_moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Return the bytes of one op's traffic: every input read once, every output written once.

    An argument that the op changes is an output too. Elements that a tensor repeats (`expand`) and a tensor
    that is given twice count once. What an op is given and never reads is left out (`_UNREAD`).
    """
    read: dict[Hashable, int] = {}
    written: dict[Hashable, int] = {}
    for place, (name, is_read, is_written) in enumerate(_roles(func)):
        value = args[place] if place < len(args) else kwargs.get(name)
        if value is None or isinstance(value, _NUMBERS):
            continue
        found = {_place_of(tensor): distinct_bytes(tensor) for tensor in tensors_in(value)}
        if is_read:
            read |= found
        if is_written:
            written |= found
    if not str(func).startswith(_MAKE_NOTHING):
        for tensor in tensors_in(out):
            if (where := _place_of(tensor)) not in written:
                written[where] = distinct_bytes(tensor)
    return sum(read.values()) + sum(written.values())


@cache
def _roles(func: Any) -> tuple[tuple[str, bool, bool], ...]:
    """Return (name, whether it is read, whether it is written) of each argument of an op."""
    unread = _unread(func)
    return tuple(
        (
            argument.name,
            place not in unread,
            argument.alias_info is not None and argument.alias_info.is_write,
        )
        for place, argument in enumerate(func._schema.arguments)
    )


_NUMBERS = (bool, int, float, str)
# Arguments, by their place, that an op is given for their shape and dtype, or writes without reading.
_UNREAD: dict[str, tuple[int, ...]] = {
    "aten.copy_": (0,),
    "aten.fill_": (0,),
    "aten.zero_": (0,),
    "aten.normal_": (0,),
    "aten.uniform_": (0,),
    "aten.bernoulli_": (0,),
    "aten._foreach_copy_": (0,),
    "aten._foreach_zero_": (0,),
    "aten.max_pool2d_with_indices_backward": (1,),  # the indices say enough of its input
}
_MAKE_NOTHING = ("aten.empty", "aten.new_empty")


def _unread(func: Any) -> tuple[int, ...]:
    name = str(func._overloadpacket)
    if name.endswith("_like") or name.startswith("aten.new_"):
        return (0,)
    return _UNREAD.get(name, ())


def _place_of(tensor: torch.Tensor) -> Hashable:
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def distinct_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor in memory: along a stride of zero it has one element, however long."""
    strides = tensor.stride()
    if 0 not in strides:
        return tensor.numel() * tensor.element_size()
    counts = [size for size, stride in zip(tensor.shape, strides, strict=True) if stride or not size]
    return math.prod(counts) * tensor.element_size()


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor of an op's arguments or outputs, lists included."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
