"""What is known of an op's work when it is called: operations, traffic, matrix library, launches of lists.

Which kernels it takes otherwise depends on the GPU, and is worked out when one is named
(`actprof.step_time`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from actprof.kernels.multi_tensor import CHUNK, MOST_BLOCKS
from actprof.units import ceil_div

aten = torch.ops.aten

CUBLAS, CUBLASLT = 1, 2
_PLAIN_PRODUCTS = {getattr(aten, name).default for name in ("mm", "bmm", "baddbmm", "mv", "addmv", "dot")}
_ADDMM = {aten.addmm.default, aten._addmm_activation.default}

_ATTENTION = {
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_flash_attention_backward.default,
}

# MultiTensorApply.cuh: the tensors of a launch by the number of lists that it reads or writes.
_MOST_TENSORS = (110, 64, 48, 36, 30)
_MOST_TENSORS_WITH_SCALARS = (96, 64, 48, 36, 30)
_NORM_BESIDES = 2  # zeros for the partial sums, and the kernel that adds them up


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
    if count is None:
        return 0
    if func in _ATTENTION:
        args = _a_head_each(args)
    return int(count(*args, **kwargs, out_val=out))


def _a_head_each(args: Any) -> Any:
    """Give every head of the query its own key and value: heads that share one work as much."""
    heads = args[0].shape[1]

    def each(value: Any) -> Any:
        shared = isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[1] != heads
        return value[:, :1].expand(-1, heads, -1, -1) if shared else value

    return tuple(map(each, args))


def bytes_moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Return the bytes of one op's traffic: every input read once, every output written once.

    An argument that the op changes is an output too. Elements that a tensor repeats (`expand`) and a tensor
    that is given twice count once. What an op is given and never reads is left out (`_UNREAD`). Of a
    collective (`c10d.…`) it is the larger side: what all GPUs have of it together.
    """
    if func.namespace == "c10d":
        return max(map(distinct_bytes, tensors_in(args)), default=0)
    if func.namespace == "fsdp" and isinstance(out, tuple):
        out = out[0]  # the rest is what it was given
    read: dict[Hashable, int] = {}
    written: dict[Hashable, int] = {}
    for place, (name, is_read, is_written) in enumerate(_roles(func)):
        value = args[place] if place < len(args) else kwargs.get(name)
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
    op = str(func._overloadpacket)
    unread = 0 if op.endswith("_like") or op.startswith("aten.new_") else _UNREAD.get(op)
    return tuple(
        (argument.name, place != unread, bool(argument.alias_info and argument.alias_info.is_write))
        for place, argument in enumerate(func._schema.arguments)
    )


# The argument, by its place, that an op is given for its shape and dtype, or writes without reading.
_OVERWRITES = "copy_ fill_ zero_ normal_ uniform_ bernoulli_ _foreach_copy_ _foreach_zero_"
_UNREAD = {
    **{f"aten.{name}": 0 for name in _OVERWRITES.split()},
    "aten.max_pool2d_with_indices_backward": 1,  # the indices say enough of its input
    "fsdp.all_gather_copy_in": 1,
    "fsdp.split_with_sizes_copy": 3,
    "fsdp.chunk_cat": 3,
}
_MAKE_NOTHING = ("aten.empty", "aten.new_empty")


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


def launches_of_lists(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """Return how many kernels an op on lists of tensors launches; 0 for any other op.

    The step counts of a fused optimizer are left out.
    """
    name = str(func)
    if not name.startswith(("aten._foreach", "aten._fused", "aten._amp_foreach")):
        return 0
    lists = [value for value in args if _is_list(value)]
    if name.startswith("aten._fused"):
        lists = lists[:-1]
    elif _is_list(out):
        lists.append(out)
    if not lists:
        return 1
    if _goes_one_by_one(name, args):
        return len(lists[0])
    sizes = [tensor.numel() for tensor in lists[0]]
    if "_foreach_norm" in name:
        return count_launches(sizes, depth=1) + _NORM_BESIDES
    return count_launches(sizes, depth=len(lists), with_scalars="ScalarList" in name)


def _goes_one_by_one(name: str, args: tuple[Any, ...]) -> bool:
    """Mirror `can_use_fast_route` (ForeachUtils.h): a factor of another dtype takes one kernel a tensor."""
    return (
        name.endswith(".Tensor") and isinstance(args[1], torch.Tensor) and args[1].dtype != args[0][0].dtype
    )


def count_launches(sizes: Sequence[int], *, depth: int, with_scalars: bool = False) -> int:
    """Return how often `multi_tensor_apply` launches its kernel (ATen/native/cuda/MultiTensorApply.cuh).

    Args:
        sizes: elements of each tensor of a list.
        depth: lists that are read or written, 1 to 5.
        with_scalars: whether each tensor has a number of its own.
    """
    most = (_MOST_TENSORS_WITH_SCALARS if with_scalars else _MOST_TENSORS)[min(depth, len(_MOST_TENSORS)) - 1]
    launches = tensors = blocks = 0
    for size in filter(None, sizes):
        tensors += 1
        left = ceil_div(size, CHUNK)
        while left:
            taken = min(left, MOST_BLOCKS - blocks)
            left, blocks = left - taken, blocks + taken
            if blocks == MOST_BLOCKS or (tensors == most and not left):
                launches += 1
                blocks, tensors = 0, min(left, 1)  # the tensor that goes on is the next launch's first
    return launches + (blocks > 0)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], torch.Tensor)
