"""Ops that pick, sort, multiply and move, and those on lists of tensors, as in `_layer_ops.py`."""

# ruff: noqa: FBT003 - ATen's ops take flags by their place
from __future__ import annotations

from functools import partial

import torch
from _layer_ops import BATCHES, Op, indices, op
from torch.nn import functional

aten = torch.ops.aten


def data_ops() -> list[Op]:
    """Return them, those of a batch for each of two batch sizes."""
    of_batch = (_indexing, _sorting, _matrices, _layouts)
    return [*(one for batch in BATCHES for make in of_batch for one in make(batch)), *_lists()]


def _counted(like: torch.Tensor, most: int) -> torch.Tensor:
    return torch.arange(most, device=like.device)


def _embedding_back(g: torch.Tensor, *, rows: int) -> torch.Tensor:
    picked = torch.randint(0, rows, g.shape[:2], device=g.device)
    return aten.embedding_dense_backward(g, picked, rows, -1, False)


def _indexing(b: int) -> list[Op]:
    hidden = (b, 50, 512)
    return [
        op("embedding_bw", partial(_embedding_back, rows=1000), (b, 48, 512)),
        op("embedding_bw_small", partial(_embedding_back, rows=2), (b, 2, 512)),
        op("embedding_bw_big", partial(_embedding_back, rows=49_280), (64 * b, 48, 64)),
        op("index_select", lambda x: x.index_select(1, _counted(x, 7)), hidden),
        op("index_tensor", lambda x: x[:, _counted(x, 7)], hidden),
        op("index_put", lambda x: torch.zeros_like(x).index_put_((_counted(x, b),), x), hidden),
        op("index_put_acc", lambda x: torch.zeros_like(x).index_put_((_counted(x, b),), x, True), hidden),
        op("mask_index", lambda x: x[x[:, :, 0] > 0], hidden),
        op("nonzero", lambda x: torch.nonzero(x > 0), hidden),
        op("masked_fill", lambda x: x.masked_fill(x > 0, 1.0), hidden),
        op("masked_select", lambda x: x.masked_select(x > 0), hidden),
        op("where", lambda x: torch.where(x > 0, x, 0.0), hidden),
        op("gather", lambda x: x.gather(1, indices(x, b, 1, 512)), hidden),
        op("scatter_add", lambda x: torch.zeros_like(x).scatter_add_(1, indices(x, *hidden), x), hidden),
        op("repeat_interleave", lambda x: x.repeat_interleave(3, 0), hidden),
    ]


def _sorting(b: int) -> list[Op]:
    return [
        op("unique", lambda x: torch.unique((x * 100).long()), (b, 50)),
        op("argsort", lambda x: torch.argsort(x, 1), (b, 500)),
        op("sort_big", lambda x: torch.sort(x, 1), (b, 5000)),
        op("topk", lambda x: torch.topk(x, 5, -1), (b, 5000)),
        op("multinomial", lambda x: torch.multinomial(x.float().abs(), 1), (b, 50)),
        op("bucketize", lambda x: torch.bucketize(x.float(), _counted(x, 257).float()), (b, 50)),
        op("cumsum", lambda x: torch.cumsum(x, -1), (b, 5000)),
        op("cumsum0", lambda x: torch.cumsum(x, 0), (100 * b, 64)),
    ]


def _matrices(b: int) -> list[Op]:
    rows, heads, linear = (602 * b, 512), 8 * b, functional.linear
    return [
        op("einsum", lambda x: torch.einsum("bik,bjk->bij", x, x), (b, 50, 512)),
        op("mm", torch.mm, (50 * b, 512), (512, 3200)),
        op("mm_t", lambda x, y: x.t() @ y, rows, (602 * b, 2048)),
        op("mm_tall", lambda x, y: x.t() @ y, rows, rows),
        op("addmm", lambda b, x, y: torch.addmm(b, x, y.t()), (3200,), (50 * b, 512), (3200, 512)),
        op("addmm_small", lambda b, x, y: torch.addmm(b, x, y.t()), (6,), (50 * b, 512), (6, 512)),
        op("bmm", torch.bmm, (heads, 602, 64), (heads, 64, 602)),
        op("bmm_nc", lambda x, y: torch.bmm(x.transpose(0, 1), y.permute(1, 2, 0)), *[(602, heads, 64)] * 2),
        op("bmm_nc2", lambda x, y: torch.bmm(x[:, ::2, ::2], y), (heads, 602, 128), (heads, 64, 602)),
        op("baddbmm", torch.baddbmm, (heads, 60, 60), (heads, 60, 64), (heads, 64, 60)),
        op("linear3d", linear, (b, 50, 512), (512, 512), (512,)),
        op("linear_nc", lambda x, w, b: linear(x.transpose(0, 1), w, b), (50, b, 512), (512, 512), (512,)),
    ]


def _layouts(b: int) -> list[Op]:
    hidden = (b, 50, 512)
    return [
        op("cat2", lambda x: torch.cat([x, x]), hidden),
        op("cat8", lambda x: torch.cat([x] * 8, 1), hidden),
        op("cat200", lambda x: torch.cat([x] * 200, 1), (b, 5, 12)),
        op("cat_mixed", lambda x, y: torch.cat([x, y.transpose(0, 1)], 1), hidden, (20, b, 512)),
        op("stack", lambda x: torch.stack([x] * 3), hidden),
        op("roll", lambda x: torch.roll(x, 1, 1), hidden),
        op("flip", lambda x: x.flip(1), hidden),
        op("tril", torch.tril, (b, 50, 50)),
        op("copy_nc", lambda x: x.transpose(1, 2).contiguous(), hidden),
        op("to_other", lambda x: x.half() if x.dtype == torch.float32 else x.float(), hidden),
    ]


# -- lists of tensors ----------------------------------------------------------------------------------------


def _clip(*tensors: torch.Tensor) -> torch.Tensor:
    parameters = [torch.nn.Parameter(tensor) for tensor in tensors]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    return torch.nn.utils.clip_grad_norm_(parameters, 10.0)


def _unscale(*tensors: torch.Tensor) -> None:
    found, scale = tensors[0].new_zeros(1), tensors[0].new_ones(1)
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, scale)


def _lists() -> list[Op]:
    """Return ops on as many tensors as there are shapes."""
    square, row, tall, one = (512, 512), (512,), (3200, 512), ("f32",)
    return [
        made
        for count in (10, 100, 160, 200, 400)
        for made in (
            op("_foreach_norm", lambda *x: aten._foreach_norm(x, 2), *[square] * count, dtypes=one),
            op(
                "_foreach_norm_mixed",
                lambda *x: aten._foreach_norm(x, 2),
                *[square, row, tall] * (count // 3),
                dtypes=one,
            ),
            op("_foreach_add", lambda *x: torch._foreach_add(x, 1.0), *[square] * count, dtypes=one),
            op("_foreach_sqrt", lambda *x: torch._foreach_sqrt(x), *[row] * count, dtypes=one),
            op("clip_grad", _clip, *[(512, 16)] * count, dtypes=one),
            op("stack_scalars", lambda *x: torch.stack(x), *[(1,)] * count, dtypes=one),
            op("_amp_unscale", _unscale, *[row] * count, dtypes=one),
        )
    ]
