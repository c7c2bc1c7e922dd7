"""A convolution's copies and cuDNN problems, in the order of its allocations.

Mirrors `_convolution` and `convolution_backward` in aten/src/ATen/native/Convolution.cpp and
aten/src/ATen/native/cudnn/ConvShared.cpp. How much workspace a problem takes is asked at replay.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from actprof.cudnn.problem import Convolution, Dims, dense_strides
from actprof.trace.rules.steps import Output, Step, Take, dense_copies, reduction_of, with_temporaries

_CUDNN_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SPATIAL_DIMS = 2  # cuDNN has no convolutions of one dimension: they get a height of one
_Kind = Literal["forward", "image", "weight"]


def convolution(args: tuple[Any, ...], _kwargs: dict[str, Any], out: Tensor) -> list[Step]:
    """Return the allocations of `aten.convolution`: copies, the output, cuDNN's workspace."""
    image, weight, _bias, *geometry, transposed, _output_padding, groups = args
    layout = _layout(image, weight)
    steps: list[Step] = [*dense_copies(image, weight, layout=layout), Output(0)]
    if not _through_cudnn(image, weight, transposed, groups):
        return steps
    if transposed:  # the gradient of the image of a convolution from `out` to `image`
        problem = _problem("image", (out, weight, image), geometry, layout)
    else:
        problem = _problem("forward", (image, weight, out), geometry, layout)
    return with_temporaries(steps, Take(problem=problem))


def convolution_backward(args: tuple[Any, ...], _kwargs: dict[str, Any], _out: Any) -> list[Step]:
    """Return the allocations of `aten.convolution_backward`: each gradient with its copies and workspace.

    Image and gradient are made dense for each of the two gradients anew; that of the image is allocated
    before the copies, that of the weight after them. Of one dimension they are made dense once, at the start.
    """
    gradient, image, weight, _bias, *geometry, transposed, _output_padding, groups, wanted = args
    cudnn = _through_cudnn(image, weight, transposed, groups)
    tensors = (gradient, weight, image) if transposed else (image, weight, gradient)

    def workspace(kind: _Kind, layout: torch.memory_format) -> list[Take]:
        return [Take(problem=_problem(kind, tensors, geometry, layout))] if cudnn else []

    steps: list[Step] = []
    if image.dim() == _SPATIAL_DIMS + 1:
        steps += dense_copies(image, gradient)
        image, gradient = (torch.empty(t.shape, dtype=t.dtype, device="meta") for t in (image, gradient))
        tensors = (gradient, weight, image) if transposed else (image, weight, gradient)
    if wanted[0]:
        layout = _layout(weight, gradient)
        copies = dense_copies(weight, gradient, layout=layout)
        inside = workspace("forward" if transposed else "image", layout)
        steps = with_temporaries([*steps, Output(0)], *copies, *inside)
    if wanted[1]:
        layout = _layout(gradient, image)
        copies = dense_copies(gradient, image, layout=layout)
        steps = with_temporaries(steps, *copies, Output(sum(wanted[:1])), *workspace("weight", layout))
    if wanted[2]:
        others = (0, *range(2, gradient.dim()))
        steps = with_temporaries([*steps, Output(sum(wanted[:2]))], *reduction_of(gradient, others))
    return steps


def _problem(
    kind: _Kind, tensors: tuple[Tensor, ...], geometry: list[list[int]], layout: torch.memory_format
) -> Convolution:
    """Return the problem with (image, weight, output) and (stride, padding, dilation)."""
    image, weight, output = (_spatial(tuple(tensor.shape)) for tensor in tensors)
    last = layout == torch.channels_last
    stride, padding, dilation = geometry
    return Convolution(
        kind=kind,
        dtype=str(tensors[1].dtype).removeprefix("torch."),
        image=image,
        weight=weight,
        output=output,
        image_strides=dense_strides(image, last=last),
        weight_strides=dense_strides(weight, last=last),
        output_strides=dense_strides(output, last=last),
        padding=_padded(padding, image, 0),
        stride=_padded(stride, image, 1),
        dilation=_padded(dilation, image, 1),
    )


def _spatial(shape: Dims) -> Dims:
    """Return `shape` with a height, as `view4d` gives one to images of one dimension."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == _SPATIAL_DIMS + 1 else shape


def _padded(values: list[int], image: Dims, before: int) -> Dims:
    given = tuple(values)
    wanted = len(image) - 2
    given = given * wanted if len(given) == 1 and wanted > _SPATIAL_DIMS else given
    return (before,) * (wanted - len(given)) + given


def _through_cudnn(image: Tensor, weight: Tensor, transposed: bool, groups: int) -> bool:  # noqa: FBT001 - as ATen's
    """Mirror `use_cudnn`; of convolutions per channel (`is_depthwise`) PyTorch has kernels of its own."""
    channels = image.shape[1]
    alone = not transposed and groups > 1 and groups == channels and weight.shape[0] % channels == 0
    return weight.dtype in _CUDNN_DTYPES and not alone


def _layout(*tensors: Tensor) -> torch.memory_format:
    """Return what all must have: channels last if one has (`cudnn_conv_suggest_memory_format`)."""
    # Of 1x1 images and kernels both formats hold, and neither is meant.
    last = any(
        t.dim() == _SPATIAL_DIMS + 2
        and t.is_contiguous(memory_format=torch.channels_last)
        and not t.is_contiguous()
        for t in tensors
    )
    return torch.channels_last if last else torch.contiguous_format
