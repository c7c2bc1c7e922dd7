"""What is known of the kernels behind the ops: work, traffic, matrix libraries and hidden temporaries.

`hidden_temporaries` lists device memory that a CUDA kernel takes and gives back inside one op, where no
dispatch mode can see it. What depends on the GPU at hand (cuDNN's workspaces) is not in it.
"""

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


def hidden_temporaries(func: Any, args: tuple[Any, ...], device_type: str) -> list[int]:
    """Return the bytes of each temporary that the CUDA kernel behind `func` holds while it runs."""
    if device_type != "cuda":
        return []
    if func is aten.convolution_backward.default:
        # cuDNN wants dense inputs: `grad_output.contiguous(...)` in Convolution.cpp and ConvShared.cpp.
        return [_bytes(tensor) for tensor in args[:3] if not _is_dense(tensor)] + _to_channels_last(args[:3])
    if func is aten.convolution.default:
        return _to_channels_last(args[:2])
    if func is aten._scaled_dot_product_efficient_attention_backward.default:
        return _efficient_attention_temporaries(gradient=args[0], out=args[5])
    if func is aten._scaled_dot_product_flash_attention_backward.default:
        return _flash_attention_temporaries(query=args[1])
    return []


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _to_channels_last(tensors: tuple[torch.Tensor, ...]) -> list[int]:
    """Return the copies of a convolution in which at least one operand has channels last: then all must.

    `cudnn_conv_suggest_memory_format` in aten/src/ATen/native/ConvUtils.h; the gradient follows it.
    """
    if not any(_has_channels_last(tensor) for tensor in tensors[-2:]):
        return []
    return [_bytes(t) for t in tensors if not t.is_contiguous(memory_format=torch.channels_last)]


def _has_channels_last(tensor: torch.Tensor) -> bool:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return last and not tensor.is_contiguous()  # of 1x1 images and kernels both hold, and neither is meant


def _efficient_attention_temporaries(*, gradient: torch.Tensor, out: torch.Tensor) -> list[int]:
    """Mirror `_efficient_attention_backward` in transformers/cuda/attention_backward.cu.

    Shapes are (batch, heads, tokens, head size). A kernel in half precision computes the row sums of
    gradient times output itself; that in fp32 is handed them, from a product as large as the output.
    """
    batch, heads, tokens, _size = gradient.shape
    rows = [batch * heads * tokens * 4]
    dense = gradient.transpose(1, 2).is_contiguous()
    copies = [] if dense else [_bytes(gradient)]
    return copies + ([_bytes(out)] if out.dtype == torch.float32 else []) + rows


def _flash_attention_temporaries(*, query: torch.Tensor) -> list[int]:
    """Mirror `mha_bwd` in transformers/cuda/flash_attn/flash_api.cpp: row sums, and dQ summed up in fp32."""
    batch, heads, tokens, size = query.shape
    tokens, size = _round_up(tokens, 128), _round_up(size, 32 if size <= 128 else 64)
    return [batch * heads * tokens * 4, batch * heads * tokens * size * 4]


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def convolution_problems(func: Any, args: tuple[Any, ...]) -> list[Hashable]:
    """Return the problems that cuDNN solves in one op: forward, gradient of the input, of the weight.

    Two equal problems share cuDNN's plan. With `cudnn.benchmark` each new one tries all plans and then
    empties the allocator's cache (`run_single_conv` in aten/src/ATen/native/cudnn/Conv_v8.cpp).
    """
    if func is aten.convolution.default:
        image, weight = args[:2]
        return [("forward", *_described(image, weight), *map(_hashable, args[3:]))]
    if func is aten.convolution_backward.default:
        gradient, image, weight = args[:3]
        shared = (*_described(image, weight), *map(_hashable, args[4:-1]))
        wanted = zip(("input", "weight"), args[-1], strict=False)
        return [(part, *_described(gradient), *shared) for part, needed in wanted if needed]
    return []


def _described(*tensors: torch.Tensor) -> tuple[Hashable, ...]:
    return tuple((tuple(t.shape), t.dtype, t.is_contiguous()) for t in tensors)


def _hashable(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
