"""Which ops somebody has looked at, and what those take inside that no rule covers yet.

docs/kernels.md says the same as a table; a test holds the two to each other, and to the ops of real traces.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from actprof.trace.rules.temporaries import ruled_ops

# The kernel writes its outputs and takes nothing else.
_PLAIN = """
_addmm_activation _amp_foreach_non_finite_check_and_unscale_ _amp_update_scale_ _foreach_add _foreach_add_
_foreach_addcdiv_ _foreach_addcmul_ _foreach_copy_ _foreach_div_ _foreach_lerp_ _foreach_mul _foreach_mul_
_foreach_neg _foreach_sqrt _foreach_zero_ _fused_adam_ _fused_adamw_ _local_scalar_dense _log_softmax
_log_softmax_backward_data _scaled_dot_product_flash_attention _softmax _to_copy _unsafe_view abs add add_
addcdiv_ addcmul_ addmm arange avg_pool2d baddbmm bernoulli_ bitwise_and bitwise_not bitwise_or bmm
bucketize cat ceil clamp clamp_min clamp_min_ clone constant_pad_nd copy_ cos div div_ dot elu elu_backward
embedding empty empty_like empty_strided eq exp eye fill fill_ flip floor floor_divide full full_like gather
ge gelu gelu_backward grid_sampler_2d gt hardtanh index index_select isfinite isinf isnan le lerp linspace
log logical_and logical_not logical_or lt masked_fill masked_fill_ max_pool2d_with_indices
max_pool2d_with_indices_backward maximum minimum mish mish_backward mm mse_loss_backward mul mul_ mv
native_dropout_backward ne neg new_empty new_empty_strided new_full new_ones new_zeros normal_ ones
ones_like rand rand_like randint randn randn_like reciprocal relu relu_ remainder repeat replication_pad2d
roll rsqrt rsub scalar_tensor scatter scatter_add select_backward select_scatter sgn sigmoid
sigmoid_backward sign silu silu_backward sin slice_backward slice_scatter smooth_l1_loss softplus
split_with_sizes_copy sqrt stack sub sub_ tan tanh tanh_backward threshold_backward tril triu trunc uniform_
upsample_bicubic2d upsample_bilinear2d upsample_nearest1d upsample_nearest2d where zero_ zeros zeros_like
"""
PLAIN = frozenset(_PLAIN.split())
# What an H100 recorded of ops that no rule covers: small beside any batch of images, or of sizes that depend
# on the data.
UNRULED = {
    "cudnn_batch_norm": "a reserve of as many bytes as cuDNN asks for, mostly none",
    "cudnn_batch_norm_backward": "a workspace of a few KiB",
    "cumsum": "scratch of cub's scan along one contiguous dimension, a few KiB",
    "embedding_dense_backward": "from 3,072 indices on, sorted copies of the indices and partial sums",
    "index_put": "with accumulation, sorted copies of the indices; of masks their positions",
    "index_put_": "as index_put",
    "_index_put_impl_": "as index_put",
    "_unsafe_index": "of masks their positions",
    "masked_select": "positions of the mask, 8 bytes for each of its dimensions, and cub's scratch",
    "multinomial": "copies of the probabilities and some flags",
    "native_batch_norm": "one value for each channel",
    "nonzero": "cub's scratch and a count",
    "sort": "from 4,096 elements a slice on, copies of keys and values and cub's scratch",
    "topk": "of long slices copies of keys and values, and cub's scratch",
    "_unique2": "sorted copies and cub's scratch",
}


@cache
def is_known(func: Any) -> bool:
    """Return whether somebody has looked at what `func` (an op of ATen) takes inside."""
    name = func._overloadpacket._qualified_op_name.removeprefix("aten::")
    return name in PLAIN or name in UNRULED or name in ruled_ops() or not str(func).startswith("aten.")
