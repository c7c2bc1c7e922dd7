"""Ops of layers whose allocations `probe_ops.py` records, each a program on tensors of given shapes.

A program takes what is listed beside it and nothing else: it holds for any device and dtype that the op has.
Names are those of the file; `_fb` runs forward and backward.
"""

# ruff: noqa: FBT003 - ATen's ops take flags by their place
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

aten = torch.ops.aten
FLOATS = ("f32", "bf16", "f16")
BATCHES = (8, 64)
_ALL = [True, True, True]


@dataclass(frozen=True, slots=True)
class Op:
    """One op at one set of shapes."""

    name: str
    program: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...] = FLOATS


def op(
    name: str, program: Callable[..., Any], *shapes: tuple[int, ...], dtypes: tuple[str, ...] = FLOATS
) -> Op:
    """Return an op; the shapes are those of the program's tensors."""
    return Op(name, program, shapes, dtypes)


def layer_ops() -> list[Op]:
    """Return those of layers, losses and attention, for each of two batch sizes."""
    of_batch = (_softmaxes, _norms, _losses, _images, _attention)
    return [one for batch in BATCHES for make in of_batch for one in make(batch)]


def _gradients(make: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of the sum of what `make` returns, by all it takes."""
    leaves = [tensor.requires_grad_() for tensor in tensors]
    return torch.autograd.grad(make(*leaves).sum(), leaves)


def indices(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Return zeros that can pick."""
    return torch.zeros(shape, dtype=torch.int64, device=like.device)


# -- reductions along a dimension ----------------------------------------------------------------------------


def _softmaxes(b: int) -> list[Op]:
    scores, logits = (b, 8, 100, 100), (8 * b, 1000)
    softmax_back = aten._softmax_backward_data
    return [
        op("native_dropout", lambda x: aten.native_dropout(x, 0.1, True), (8 * b, 100, 100)),
        op("native_dropout_b", lambda x: aten.native_dropout(x, 0.1, True), (602, b, 512)),
        op("_softmax", lambda x: aten._softmax(x, -1, False), scores),
        op("_softmax_backward_data", lambda g, o: softmax_back(g, o, -1, o.dtype), scores, scores),
        op("_softmax_backward_data_dim1", lambda g, o: softmax_back(g, o, 1, o.dtype), scores, scores),
        op("_softmax_backward_data_t", lambda g, o: softmax_back(g, o.mT, -1, o.dtype), scores, scores),
        op("_log_softmax", lambda x: aten._log_softmax(x, -1, False), logits),
        op(
            "_log_softmax_backward_data",
            lambda g, o: aten._log_softmax_backward_data(g, o, -1, o.dtype),
            logits,
            logits,
        ),
    ]


def layer_norm(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> Any:
    """Normalise the last dimension."""
    return aten.native_layer_norm(x, [x.shape[-1]], w, b, 1e-5)


def layer_norm_fb(g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> Any:
    """Normalise and go back."""
    _out, mean, deviation = layer_norm(x, w, b)
    return aten.native_layer_norm_backward(g, x, [x.shape[-1]], mean, deviation, w, b, _ALL)


def group_norm(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *, groups: int) -> Any:
    """Normalise groups of channels."""
    return aten.native_group_norm(x, w, b, *x.shape[:2], x[0, 0].numel(), groups, 1e-5)


def group_norm_fb(g: torch.Tensor, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *, groups: int) -> Any:
    """Normalise and go back."""
    _out, mean, deviation = group_norm(x, w, b, groups=groups)
    sizes = (*x.shape[:2], x[0, 0].numel(), groups)
    return aten.native_group_norm_backward(g, x, mean, deviation, w, *sizes, _ALL)


def _batch_norm(norm: Callable[..., Any], *tensors: torch.Tensor) -> Any:
    return norm(*tensors, True, 0.1, 1e-5)


def _norms(b: int) -> list[Op]:
    tokens = {512: 602, 768: 256, 960: 113, 64: 1000, 2048: 64, 1024: 577, 1152: 256}
    rows = [((b * length, width), (width,)) for width, length in tokens.items()]
    images = [((b, channels, side, side), (channels,)) for channels, side in ((64, 56), (512, 7))]
    groups = [(8, (b, 64, 120, 120)), (16, (b, 256, 16, 16)), (32, (b, 512, 12, 12)), (8, (b, 512, 16, 16))]
    normed = partial(functional.rms_norm, normalized_shape=[960])
    return [
        *(op("native_layer_norm", layer_norm, x, w, w) for x, w in rows),
        *(op("native_layer_norm_fb", layer_norm_fb, x, x, w, w) for x, w in rows),
        *(op("native_group_norm", partial(group_norm, groups=n), x, x[1:2], x[1:2]) for n, x in groups),
        *(
            op("native_group_norm_fb", partial(group_norm_fb, groups=n), x, x, x[1:2], x[1:2])
            for n, x in groups
        ),
        op("native_group_norm_1d", partial(group_norm, groups=8), (b, 512, 16), (512,), (512,)),
        op("native_group_norm_fb_1d", partial(group_norm_fb, groups=8), *[(b, 512, 16)] * 2, (512,), (512,)),
        *(
            op("native_batch_norm", partial(_batch_norm, aten.native_batch_norm), x, *[w] * 4)
            for x, w in images
        ),
        *(
            op("cudnn_batch_norm", partial(_batch_norm, aten.cudnn_batch_norm), x, *[w] * 4, dtypes=("f32",))
            for x, w in images
        ),
        op("rms_norm", lambda x, w: normed(x, weight=w), (b, 50, 960), (960,)),
        op("rms_norm_fb", partial(_gradients, lambda x, w: normed(x, weight=w)), (b, 50, 960), (960,)),
    ]


def _losses(b: int) -> list[Op]:
    actions, hidden = (b, 50, 32), (b, 50, 512)
    entropy = partial(_gradients, lambda x: functional.cross_entropy(x, indices(x, len(x))))
    return [
        op("gelu_backward", aten.gelu_backward.default, hidden, hidden),
        op("silu_bw", aten.silu_backward.default, hidden, hidden),
        op("glu", functional.glu, hidden),
        op("mse_loss", aten.mse_loss.default, actions, actions),
        op("mse_loss_none", lambda x, y: aten.mse_loss(x, y, 0), actions, actions),
        op(
            "mse_loss_backward",
            lambda x, y: aten.mse_loss_backward(x.new_ones(()), x, y, 1),
            actions,
            actions,
        ),
        op("l1_loss", partial(functional.l1_loss, reduction="none"), actions, actions),
        op("smooth_l1", functional.smooth_l1_loss, actions, actions),
        op("cross_entropy_fb", entropy, (10 * b, 1024)),
        op("randn", torch.randn_like, actions),
        op("beta", lambda x: torch.distributions.Beta(x[0] * 0 + 1.5, x[0] * 0 + 1).sample((b,)), (1,)),
        op("_sample_dirichlet", lambda x: aten._sample_dirichlet(x.float().abs()), (b, 2)),
    ]


# -- images and attention ------------------------------------------------------------------------------------


def _max_pool_fb(x: torch.Tensor) -> Any:
    how = ([3, 3], [2, 2], [1, 1])
    out, indices = aten.max_pool2d_with_indices(x, *how)
    return aten.max_pool2d_with_indices_backward(out, x, *how, [1, 1], False, indices)


def _images(b: int) -> list[Op]:
    replicate = partial(functional.pad, pad=(4, 4, 4, 4), mode="replicate")
    resize = partial(functional.interpolate, size=(224, 224))
    small = (b, 3, 120, 160)
    return [
        op("max_pool", lambda x: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1]), (b, 64, 112, 112)),
        op("max_pool_fb", _max_pool_fb, (b, 64, 112, 112)),
        op("adaptive_avg_pool2d", lambda x: aten._adaptive_avg_pool2d(x, [1, 1]), (b, 512, 7, 7)),
        op("adaptive_avg_pool2d_3", lambda x: aten._adaptive_avg_pool2d(x, [3, 3]), (b, 512, 7, 7)),
        op("avg_pool2d", lambda x: functional.avg_pool2d(x, 2), (b, 64, 56, 56)),
        op("upsample_bilinear2d", partial(resize, mode="bilinear"), small),
        op("upsample_bilinear2d_aa", partial(resize, mode="bilinear", antialias=True), (b, 3, 240, 320)),
        op("upsample_bicubic", partial(resize, mode="bicubic"), small),
        op("upsample_nearest", partial(functional.interpolate, scale_factor=2), (b, 64, 16)),
        op("pad_const", partial(functional.pad, pad=(1, 2, 3, 4), value=-1), small),
        op("pad_replicate", replicate, (b, 3, 84, 84)),
        op("pad_replicate_fb", partial(_gradients, replicate), (b, 3, 84, 84)),
        op(
            "grid_sample",
            partial(functional.grid_sample, align_corners=False),
            (b, 3, 84, 84),
            (b, 84, 84, 2),
        ),
        op("unfold", lambda x: functional.unfold(x, 3), (b, 3, 32, 32)),
    ]


def _efficient_fb(q: torch.Tensor) -> Any:
    out, rows, seed, offset = aten._scaled_dot_product_efficient_attention(q, q, q, None, True)
    kept = (out, rows, seed, offset, 0.0, [True, True, True, False])
    return aten._scaled_dot_product_efficient_attention_backward(out, q, q, q, None, *kept)


def _attention(b: int) -> list[Op]:
    queries, low = (b, 8, 602, 64), ("bf16", "f16")
    attend = functional.scaled_dot_product_attention
    cudnn = aten._scaled_dot_product_cudnn_attention

    def flash(q: torch.Tensor) -> Any:
        if q.dtype == torch.float32:
            return aten._scaled_dot_product_efficient_attention(q, q, q, None, True)
        return aten._scaled_dot_product_flash_attention(q, q, q, 0.0, False)

    def masked(q: torch.Tensor, m: torch.Tensor) -> Any:
        return _gradients(lambda q: attend(q, q, q, attn_mask=m > 0), q)

    return [
        op("sdpa_fused_fwd", flash, queries),
        op("sdpa_auto_fb", partial(_gradients, lambda q: attend(q, q, q)), queries),
        op("sdpa_auto_mask_fb", masked, (b, 8, 152, 64), (b, 1, 152, 152)),
        op("sdpa_cudnn_fwd", lambda q: cudnn(q, q, q, None, True, 0.0, False), queries, dtypes=low),
        op("sdpa_eff_fb", _efficient_fb, queries),
    ]
