"""One convolution as cuDNN sees it: which of the three, its tensors, its geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type Dims = tuple[int, ...]


def dense_strides(shape: Dims, *, last: bool = False) -> Dims:
    """Return the strides of a dense tensor with channels last or first."""
    order = (0, *range(2, len(shape)), 1) if last else tuple(range(len(shape)))
    strides = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        strides[dim] = step
        step *= shape[dim]
    return tuple(strides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A forward convolution, or one of its two gradients; dims and strides in elements.

    Attributes:
        kind: `forward`, or the gradient that is computed: of the `image` or of the `weight`.
        dtype: of all three tensors, as `float32`, `float16`, `bfloat16`.
        image, weight, output: dims, as (batch, channels, …), (channels out, channels in / groups, …) and
            (batch, channels out, …), whichever of them is computed; two or three spatial dimensions.
        image_strides, weight_strides, output_strides: dense, channels first or last.
        padding, stride, dilation: one number for each spatial dimension.
    """

    kind: Literal["forward", "image", "weight"]
    dtype: str
    image: Dims
    weight: Dims
    output: Dims
    image_strides: Dims
    weight_strides: Dims
    output_strides: Dims
    padding: Dims
    stride: Dims
    dilation: Dims
