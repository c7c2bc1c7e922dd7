"""What the CUDA kernel behind an op allocates besides its outputs, and when: no dispatch mode can see it.

The order is that of PyTorch's source (2.6 to 2.11), named at each rule, and of what an H100 recorded op by
op. docs/kernels.md lists every op that somebody has looked at, as the end of this file does; a test holds the
two to each other, and to the ops of real traces.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import torch

from actprof.kernels.multi_tensor import CHUNK
from actprof.trace.rules.attention import (
    efficient_attention,
    efficient_attention_backward,
    flash_attention_backward,
)
from actprof.trace.rules.convolution import convolution, convolution_backward
from actprof.trace.rules.indexing import (
    cumulate,
    embedding_gradient,
    index,
    index_put,
    masked_scatter,
    masked_select,
    nonzero,
)
from actprof.trace.rules.steps import (
    Give,
    Output,
    Step,
    Take,
    bytes_of,
    dense_copies,
    outputs,
    reduction_of,
    with_temporaries,
)
from actprof.units import ceil_div

aten = torch.ops.aten

_PAIR_BYTES = _WELFORD_BYTES = 16


def steps_inside(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> list[Step] | None:
    """Return the allocations of one op on CUDA in order; None where there are only its outputs, in order."""
    rule = _RULES.get(func)
    return None if rule is None else rule(args, kwargs, out)


# -- reductions (aten/src/ATen/native/cuda/Reduce.cuh and the files beside it) -----------------------------


def _reducing(
    *, place: int = 1, accumulator_bytes: int | None = None, vector: int = 4, narrow: bool = False
) -> Callable[..., list[Step]]:
    """Return the rule of a reduction.

    Args:
        place: of the argument `dim`, if there is one.
        accumulator_bytes: of what a thread carries; None for a float, or as wide as the input.
        vector: elements that a thread loads at once.
        narrow: whether a thread carries an element of the input as it is.
    """

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> list[Step]:
        tensor = args[0]
        carried = tensor.element_size() if narrow else accumulator_bytes
        parts = reduction_of(tensor, _dims(args, kwargs, place), accumulator_bytes=carried, vector=vector)
        return with_temporaries(outputs(len(out) if isinstance(out, tuple) else 1), *parts)

    return rule


def _dims(args: tuple[Any, ...], kwargs: dict[str, Any], place: int = 1) -> tuple[int, ...]:
    """Return the dimensions that an op names as its argument at `place`; none for all."""
    named = args[place] if len(args) > place else kwargs.get("dim")
    if named is None or isinstance(named, bool):
        return ()
    return (named,) if isinstance(named, int) else tuple(named)


def _sum(args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor) -> list[Step]:
    """Integers are first made as wide as their sum (`sum` in ReduceOps.cpp)."""
    tensor, dims = args[0], _dims(args, kwargs)
    if out.is_floating_point() or tensor.dtype == out.dtype:
        return with_temporaries([Output(0)], *reduction_of(tensor, dims))
    wide = out.element_size()
    copied = Take(tensor.numel() * wide)
    return with_temporaries([Output(0)], copied, *reduction_of(tensor, dims, element_bytes=wide))


def _extreme(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """`max` of a whole tensor makes it contiguous first (`make_reduction` of `self.contiguous()`)."""
    tensor = args[0]
    if tensor.is_contiguous():
        return with_temporaries([Output(0)], *reduction_of(tensor))
    dense = reduction_of(torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"))
    return with_temporaries([Output(0)], Take(bytes_of(tensor)), *dense)


# -- everything else ---------------------------------------------------------------------------------------


def _safe_softmax(args: tuple[Any, ...], _kwargs: dict[str, Any], out: torch.Tensor) -> list[Step]:
    """What is masked, which rows are so entirely, and a zero for these (aten/src/ATen/native/SoftMax.cpp)."""
    masked = out.numel()
    return with_temporaries(outputs(1), Take(masked), Take(masked // max(1, out.shape[args[1]])), Take(4))


def _softmax_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: torch.Tensor) -> list[Step]:
    """The product of gradient and output, in fp32 too where the result is fp16 (cuda/SoftMax.cu)."""
    return with_temporaries([Output(0)], *dense_copies(*args[:2]), Take(bytes_of(args[0])))


def _dropout(_args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """The mask comes first (`dropout_cuda` in cuda/Dropout.cu)."""
    return [Output(1), Output(0)]


def _layer_norm(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """A dense copy of the input comes first where it needs one (cuda/layer_norm_kernel.cu)."""
    return [*dense_copies(args[0]), *outputs(3)]


def _layer_norm_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], out: Any) -> list[Step]:
    """A dense copy of the input comes first, one of the gradient last (as above)."""
    made = outputs(sum(tensor is not None for tensor in out))
    return [*dense_copies(args[1]), *made, *dense_copies(args[0])]


def _power_of_number(_args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """The base becomes a tensor of eight bytes on the device (`pow` in Pow.cpp)."""
    return [Output(0), Take(8)]


def _foreach_norm(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """One partial sum for each chunk of the longest tensor, for every tensor (cuda/ForeachReduceOp.cu)."""
    tensors = args[0]
    chunks = max(ceil_div(tensor.numel(), CHUNK) for tensor in tensors)
    wide = max(4, tensors[0].element_size())
    return [Take(len(tensors) * chunks * wide), *outputs(len(tensors)), Give(0)]


def _group_norm(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """A factor and a summand for each channel of each sample (cuda/group_norm_kernel.cu)."""
    samples, channels = args[3:5]
    pair = Take(samples * channels * 4)
    return with_temporaries([*dense_copies(args[0]), *outputs(3)], pair, pair)


def _group_norm_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """Two sums for each channel of each sample, two for each group, and a factor (as above)."""
    samples, channels, groups = args[5], args[6], args[8]
    steps = [*dense_copies(args[0], args[1]), *outputs(sum(args[9]))]
    each, of_group = Take(samples * channels * 4), Take(samples * groups * 4)
    return with_temporaries(steps, each, each, of_group, of_group, each)


def _mse_loss(args: tuple[Any, ...], _kwargs: dict[str, Any], out: torch.Tensor) -> list[Step]:
    """A mean or sum is taken of the losses of all elements (`mse_loss_out` in BinaryOps.cpp)."""
    if out.dim() == args[0].dim() and out.shape == args[0].shape:
        return [Output(0)]
    return with_temporaries([Output(0)], Take(bytes_of(args[0])), *reduction_of(args[0]))


_RULES: dict[Any, Callable[[tuple[Any, ...], dict[str, Any], Any], list[Step]]] = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
    aten.native_dropout.default: _dropout,
    aten._safe_softmax.default: _safe_softmax,
    aten._softmax_backward_data.default: _softmax_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten.pow.Scalar: _power_of_number,
    aten._foreach_norm.Scalar: _foreach_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.mse_loss.default: _mse_loss,
    aten._scaled_dot_product_efficient_attention.default: efficient_attention,
    aten._scaled_dot_product_efficient_attention_backward.default: efficient_attention_backward,
    aten._scaled_dot_product_flash_attention_backward.default: flash_attention_backward,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.max.default: _extreme,
    aten.min.default: _extreme,
    aten.index.Tensor: index,
    aten._unsafe_index.Tensor: index,
    aten.index_put.default: index_put,
    aten.index_put_.default: index_put,
    aten._index_put_impl_.default: index_put,
    aten.nonzero.default: nonzero,
    aten.masked_select.default: masked_select,
    aten.masked_scatter.default: masked_scatter,
    aten.masked_scatter_backward.default: masked_select,
    aten.embedding_dense_backward.default: embedding_gradient,
    aten.cumsum.default: cumulate,
}
_REDUCTIONS = {
    "mean.default mean.dim prod.default prod.dim_int": _reducing(),
    "linalg_vector_norm.default": _reducing(place=2),
    "amax.default amin.default": _reducing(narrow=True),
    "any.default any.dim any.dims all.default all.dim all.dims": _reducing(narrow=True),
    "var.correction std.correction var_mean.correction std_mean.correction": _reducing(
        accumulator_bytes=_WELFORD_BYTES, vector=2
    ),
    "max.dim min.dim argmax.default argmin.default": _reducing(accumulator_bytes=_PAIR_BYTES),
}
_RULES |= {attrgetter(name)(aten): rule for names, rule in _REDUCTIONS.items() for name in names.split()}

# The kernel writes its outputs and takes nothing else.
_PLAIN = """
_addmm_activation _amp_foreach_non_finite_check_and_unscale_ _amp_update_scale_ _foreach_add _foreach_add_
_foreach_addcdiv_ _foreach_addcmul_ _foreach_copy_ _foreach_div_ _foreach_lerp_ _foreach_mul _foreach_mul_
_foreach_neg _foreach_sqrt _foreach_zero_ _fused_adam_ _fused_adamw_ _local_scalar_dense _log_softmax
_log_softmax_backward_data _scaled_dot_product_flash_attention _softmax _to_copy _unsafe_view
_upsample_bicubic2d_aa _upsample_bilinear2d_aa abs add add_ addcdiv_ addcmul_ addmm arange avg_pool2d baddbmm
bernoulli_ bitwise_and bitwise_and_ bitwise_not bitwise_or bmm bucketize cat ceil clamp clamp_ clamp_min
clamp_min_ clone constant_pad_nd copy_ cos div div_ dot elu elu_backward embedding empty empty_like
empty_strided eq exp eye fill fill_ flip floor floor_ floor_divide full full_like gather ge gelu
gelu_backward grid_sampler_2d gt hardtanh index_select isfinite isinf isnan le lerp lerp_ linspace log
logical_and logical_not logical_or lt masked_fill masked_fill_ max_pool2d_with_indices
max_pool2d_with_indices_backward maximum minimum mish mish_backward mm mse_loss_backward mul mul_ mv
native_dropout_backward ne neg new_empty new_empty_strided new_full new_ones new_zeros nll_loss_backward
nll_loss_forward normal normal_ ones ones_like rand rand_like randint randn randn_like reciprocal relu relu_
remainder repeat replication_pad2d roll round round_ rsqrt rsub scalar_tensor scatter scatter_add
select_backward select_scatter sgn sigmoid sigmoid_backward sign silu silu_backward sin slice_backward
slice_scatter smooth_l1_loss softplus split_with_sizes_copy sqrt stack sub sub_ tan tanh tanh_backward
threshold_backward tril triu trunc uniform_ upsample_bicubic2d upsample_bilinear2d upsample_nearest1d
upsample_nearest2d where zero_ zeros zeros_like
"""
PLAIN = frozenset(_PLAIN.split())
# What an H100 recorded of ops that no rule covers: small beside any batch of images, or of sizes that depend
# on the data.
UNRULED = {
    "cudnn_batch_norm": "a reserve of as many bytes as cuDNN asks for, mostly none",
    "cudnn_batch_norm_backward": "a workspace of a few KiB",
    "isin": "where few are looked for, a flag for each pair; else sorted copies of both",
    "multinomial": "copies of the probabilities and some flags",
    "native_batch_norm": "one value for each channel",
    "repeat_interleave": "the sum of the repeats before each",
    "sort": "from 4,096 elements a slice on, copies of keys and values and cub's scratch",
    "topk": "of long slices copies of keys and values, and cub's scratch",
    "unique_dim": "the order of the rows twice, and thrust's scratch",
    "_unique2": "sorted copies and cub's scratch",
}


@cache
def is_known(func: Any) -> bool:
    """Return whether somebody has looked at what `func` (an op of ATen) takes inside."""
    name = _name(func)
    return name in PLAIN or name in UNRULED or name in ruled_ops() or not str(func).startswith("aten.")


@cache
def ruled_ops() -> frozenset[str]:
    """Return the names of the ops that a rule covers."""
    return frozenset(map(_name, _RULES))


def _name(func: Any) -> str:
    return str(func._overloadpacket._qualified_op_name.removeprefix("aten::"))
