"""Which kernel `scaled_dot_product_attention` takes on a GPU, and what those kernels take inside.

For tensors that only say that they are on one, torch falls back to plain products, whose maps no GPU would
store. This mirrors the choice of `select_sdp_backend` (aten/src/ATen/native/transformers/cuda/sdp_utils.cpp)
for compute capability 8.0 and later: flash attention for half precision without a mask (a causal one only
where there are as many keys as queries), memory-efficient attention for everything else whose head size it
can take and whose heads do not share keys, else plain products. With fp32 the choice is the same from 5.0 on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from actprof.trace.rules.steps import Give, Output, Step, Take, bytes_of, outputs
from actprof.units import ceil_div

aten = torch.ops.aten

_HALVES = (torch.float16, torch.bfloat16)
_LARGEST_FLASH_HEAD = 256
_FLASH_ALIGNMENT = 8  # elements of a head; others are padded first (pad_last_dim)
_MASK_ALIGNMENT = 8  # elements of a mask's row (preprocess_mask)
_TILE, _LOCK_BYTES = 64, 16  # of the efficient kernel's reverse

_plain_attention = torch.nn.functional.scaled_dot_product_attention


def scaled_dot_product_attention(  # noqa: PLR0913, PLR0917 - the signature of torch's function
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - likewise
    scale: float | None = None,
    **options: Any,
) -> Tensor:
    """Do what torch's function does on a GPU: shapes (batch, heads, tokens, head size)."""
    if isinstance(query, FakeTensor) and query.device.type == "cuda":
        query, key, value, attn_mask = (_autocast(tensor) for tensor in (query, key, value, attn_mask))
        square = not is_causal or query.shape[-2] == key.shape[-2]
        if square and _takes_flash(query, key, value, attn_mask):
            kernel = aten._scaled_dot_product_flash_attention
            return _first(kernel, query, key, value, dropout_p, is_causal, scale=scale)
        if _takes_efficient(query, key, value):
            grows = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
            mask = _padded(attn_mask, query, key)
            kernel = aten._scaled_dot_product_efficient_attention
            return _first(kernel, query, key, value, mask, grows, dropout_p, is_causal, scale=scale)
    return _plain_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options)


def _first(kernel: Any, *args: Any, scale: float | None) -> Tensor:
    out: Tensor = kernel(*args, scale=scale)[0]
    return out


def _autocast(tensor: Any) -> Any:
    """Cast as autocast does: attention is on its list for lower precision."""
    if tensor is None or tensor.dtype != torch.float32 or not torch.is_autocast_enabled("cuda"):
        return tensor
    return tensor.to(torch.get_autocast_dtype("cuda"))


def _takes_flash(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    size = query.shape[-1]
    alike = size == key.shape[-1] == value.shape[-1]
    fits = size <= _LARGEST_FLASH_HEAD and size % _FLASH_ALIGNMENT == 0
    return mask is None and query.dtype in _HALVES and alike and fits


def _takes_efficient(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Mirror `check_head_dim_size_mem_efficient`: rows of 16 bytes each, and as many heads of each."""
    alignment = 16 // query.element_size()
    alike = query.shape[-1] == key.shape[-1] and query.shape[1] == key.shape[1] == value.shape[1]
    return alike and not (query.shape[-1] % alignment or value.shape[-1] % alignment)


def _padded(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """Mirror `convert_boolean_attn_mask` and `preprocess_mask`: rows aligned, one mask for each head."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    if mask.stride(-1) != 1 or any(stride % _MASK_ALIGNMENT for stride in mask.stride()[:-1]):
        missing = _MASK_ALIGNMENT - mask.shape[-1] % _MASK_ALIGNMENT
        mask = torch.nn.functional.pad(mask, (0, missing))[..., : mask.shape[-1]]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def efficient_attention(_args: tuple[Any, ...], _kwargs: dict[str, Any], out: Any) -> list[Step]:
    """Dropout's seed and offset lie on the host (transformers/cuda/attention.cu)."""
    return [Output(index) for index in range(2) if out[index].numel()]


def efficient_attention_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """Mirror `_efficient_attention_backward` in transformers/cuda/attention_backward.cu.

    Shapes are (batch, heads, tokens, head size). A kernel in half precision computes the row sums of
    gradient times output itself; that in fp32 is handed them, from a product as large as the output. The
    query's gradient is summed up in fp32, in tiles of 64 rows with a lock of 16 bytes each.
    """
    gradient, out = args[0], args[5]
    batch, heads, tokens, size = gradient.shape
    rows = Take(batch * heads * tokens * 4)
    tiles = batch * heads * ceil_div(tokens, _TILE) * ceil_div(size, _TILE)
    workspace = Take(tiles * (_TILE * _TILE * 4 + _LOCK_BYTES))
    copies = [] if gradient.transpose(1, 2).is_contiguous() else [Take(bytes_of(gradient))]
    steps = [*copies, *outputs(3)]
    if out.dtype != torch.float32:
        return [*steps, rows, workspace]
    first = len(copies)
    return [*steps, Take(bytes_of(out)), rows, rows, Give(first + 1), Give(first), workspace]


def flash_attention_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """Mirror `mha_bwd` in transformers/cuda/flash_attn/flash_api.cpp: row sums, and dQ summed up in fp32.

    Where heads of the query share a key and value, these have a gradient for each head, summed up then.
    """
    batch, heads, tokens, size = args[1].shape
    multiple = 32 if size <= 128 else 64
    tokens, size = ceil_div(tokens, 128) * 128, ceil_div(size, multiple) * multiple
    rows = batch * heads * tokens * 4
    keys = args[2]
    apart = 2 if keys.shape[1] != heads else 0
    shared = Take(batch * keys.shape[2] * heads * keys.shape[3] * keys.element_size())
    return [*outputs(3), Take(rows), Take(rows * size), *[shared] * apart]
