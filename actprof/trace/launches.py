"""How many kernels an op launches on CUDA, as far as PyTorch's source says; torch 2.6 to 2.11.

Most ops launch one. What a library decides for the GPU at hand (cuDNN's changes of layout, products that
cuBLAS splits) is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from actprof.trace.kernels import CUBLAS, blas_route

aten = torch.ops.aten

# MultiTensorApply.cuh: elements of a chunk, blocks of a launch (one per chunk), and the tensors of a launch
# by the number of lists that it reads or writes.
_CHUNK, _MOST_BLOCKS = 65_536, 320
_MOST_TENSORS = (110, 64, 48, 36, 30)
_MOST_TENSORS_WITH_SCALARS = (96, 64, 48, 36, 30)
# They make a tensor, a copy of one number to the host or nothing at all, without a kernel.
_NONE = ("aten.empty", "aten.new_empty", "aten.detach", "aten._local_scalar_dense")
_SEVERAL = {
    aten.native_layer_norm_backward.default: 2,  # the input's gradient; those of weight and bias
    aten.max_pool2d_with_indices_backward.default: 2,  # zeros, then the gradient
    aten.slice_backward.default: 2,  # zeros, then a copy into them
    aten.select_backward.default: 2,
    aten.baddbmm.default: 2,  # a copy of what is added, then the product
}
_NORM_BESIDES = 2  # zeros for the partial sums, and the kernel that adds them up


def kernels_of(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """Return how many kernels one op launches."""
    name = str(func)
    if name.startswith(_NONE):
        return 0
    if name.startswith(("aten._foreach", "aten._fused")):
        return _of_lists(name, args, out)
    if func is aten.convolution.default:
        return 1 if args[2] is None else 2  # the bias is added afterwards
    if func is aten.convolution_backward.default:
        return sum(args[-1])  # gradients of input, weight and bias, as far as they are wanted
    if blas_route(func, args) == CUBLAS and func in (aten.addmm.default, aten._addmm_activation.default):
        return 2  # as baddbmm
    return _SEVERAL.get(func, 1)


def _of_lists(name: str, args: tuple[Any, ...], out: Any) -> int:
    """Return the launches of an op on lists of tensors; of a fused optimizer, its step counts left out."""
    lists = [value for value in args if _is_list(value)]
    if name.startswith("aten._fused"):
        lists = lists[:-1]
    elif _is_list(out):
        lists.append(out)
    if not lists:
        return 1
    if "_foreach_norm" in name:
        return count_launches([tensor.numel() for tensor in lists[0]], depth=1) + _NORM_BESIDES
    sizes = [tensor.numel() for tensor in lists[0]]
    return count_launches(sizes, depth=len(lists), with_scalars="ScalarList" in name)


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
        left = -(-size // _CHUNK)
        while left:
            taken = min(left, _MOST_BLOCKS - blocks)
            left, blocks = left - taken, blocks + taken
            if blocks == _MOST_BLOCKS or (tensors == most and not left):
                launches += 1
                blocks, tensors = 0, min(left, 1)  # the tensor that goes on is the next launch's first
    return launches + (blocks > 0)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], torch.Tensor)
