"""A convolution's copies and cuDNN problems, in the order of its allocations.

Mirrors `_convolution` and `convolution_backward` in aten/src/ATen/native/Convolution.cpp and
aten/src/ATen/native/cudnn/ConvShared.cpp. How much workspace a problem takes is asked at replay.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from actprof.cudnn.problem import Convolution, Dims, dense_strides
from actprof.trace.steps import Give, Output, Step, Take, bytes_of, reduction_of, with_temporaries

_CUDNN_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SPATIAL_DIMS = 2  # cuDNN has no convolutions of one dimension: they get a height of one


def convolution_steps(args: tuple[Any, ...], out: torch.Tensor) -> list[Step]:
    """Return the allocations of `aten.convolution`: copies, the output, cuDNN's workspace."""
    image, weight = args[:2]
    last = _channels_last(image, weight)
    copies = _dense_copies(image, weight, last=last)
    if not _through_cudnn(image, weight, args):
        return [*copies, Output(0)]
    if args[6]:  # transposed: the gradient of the image of a convolution from `out` to `image`
        problem = _problem("image", image=out, weight=weight, output=image, args=args[3:6], last=last)
    else:
        problem = _problem("forward", image=image, weight=weight, output=out, args=args[3:6], last=last)
    return with_temporaries([*copies, Output(0)], Take(problem=problem))


def convolution_backward_steps(args: tuple[Any, ...]) -> list[Step]:
    """Return the allocations of `aten.convolution_backward`: each gradient with its copies and workspace.

    Image and gradient are made dense for each of the two gradients anew; that of the image is allocated
    before the copies, that of the weight after them.
    """
    gradient, image, weight = args[:3]
    forward = (image, weight, None, *args[4:10])
    cudnn = _through_cudnn(image, weight, forward)
    steps: list[Step] = []
    index = 0
    for of, wanted, operands in (
        ("image", args[10][0], (weight, gradient)),
        ("weight", args[10][1], (gradient, image)),
    ):
        if not wanted:
            continue
        last = _channels_last(*operands)
        inside: list[Take] = []
        if cudnn:
            problem = _backward_problem(of, gradient, image, weight, args=forward, last=last)
            inside.append(Take(problem=problem))
        copies = _dense_copies(*operands, last=last)
        if of == "image":
            steps = with_temporaries([*steps, Output(index)], *copies, *inside)
        else:
            steps = _within(steps, copies, [Output(index), *inside])
        index += 1
    if args[10][2]:
        others = (0, *range(2, gradient.dim()))
        steps = with_temporaries([*steps, Output(index)], *reduction_of(gradient, others))
    return steps


def _within(steps: list[Step], around: list[Take], inner: list[Output | Take]) -> list[Step]:
    """Return `steps` with `inner` between the copies around it and their end."""
    first = sum(isinstance(step, Take) for step in steps)
    temporaries = sum(isinstance(step, Take) for step in inner)
    back = [Give(first + index) for index in reversed(range(len(around) + temporaries))]
    return [*steps, *around, *inner, *back]


def _backward_problem(
    of: str, gradient: torch.Tensor, image: torch.Tensor, weight: torch.Tensor, *, args: Any, last: bool
) -> Convolution:
    geometry, transposed = args[3:6], args[6]
    if not transposed:
        kind: Literal["image", "weight"] = "image" if of == "image" else "weight"
        return _problem(kind, image=image, weight=weight, output=gradient, args=geometry, last=last)
    if of == "image":  # of a transposed convolution: a forward one from the gradient
        return _problem("forward", image=gradient, weight=weight, output=image, args=geometry, last=last)
    return _problem("weight", image=gradient, weight=weight, output=image, args=geometry, last=last)


def _problem(
    kind: Literal["forward", "image", "weight"],
    *,
    image: torch.Tensor,
    weight: torch.Tensor,
    output: torch.Tensor,
    args: tuple[list[int], list[int], list[int]],
    last: bool,
) -> Convolution:
    dims = [_spatial(tuple(tensor.shape), 1) for tensor in (image, weight, output)]
    stride, padding, dilation = args
    return Convolution(
        kind=kind,
        dtype=str(weight.dtype).removeprefix("torch."),
        image=dims[0],
        weight=dims[1],
        output=dims[2],
        image_strides=dense_strides(dims[0], last=last),
        weight_strides=dense_strides(dims[1], last=last),
        output_strides=dense_strides(dims[2], last=last),
        padding=_padded(padding, dims[0], 0),
        stride=_padded(stride, dims[0], 1),
        dilation=_padded(dilation, dims[0], 1),
    )


def _spatial(shape: Dims, height: int) -> Dims:
    """Return `shape` with a height, as `view4d` gives one to images of one dimension."""
    return (*shape[:2], height, *shape[2:]) if len(shape) == _SPATIAL_DIMS + 1 else shape


def _padded(values: list[int], image: Dims, before: int) -> Dims:
    given = tuple(values)
    wanted = len(image) - 2
    given = given * wanted if len(given) == 1 and wanted > _SPATIAL_DIMS else given
    return (before,) * (wanted - len(given)) + given


def _through_cudnn(image: torch.Tensor, weight: torch.Tensor, args: tuple[Any, ...]) -> bool:
    """Mirror `use_cudnn`; of convolutions per channel (`is_depthwise`) PyTorch has kernels of its own."""
    transposed, groups = args[6], args[8]
    channels = image.shape[1]
    alone = not transposed and groups > 1 and groups == channels and weight.shape[0] % channels == 0
    return weight.dtype in _CUDNN_DTYPES and not alone


def _dense_copies(*tensors: torch.Tensor, last: bool) -> list[Take]:
    """Return the copies that bring all tensors into one layout: channels last, or first."""
    layout = torch.channels_last if last else torch.contiguous_format
    return [Take(bytes_of(t)) for t in tensors if not t.is_contiguous(memory_format=layout)]


def _channels_last(*tensors: torch.Tensor) -> bool:
    """Return whether all must have channels last, as one does: `cudnn_conv_suggest_memory_format`."""
    # Of 1x1 images and kernels both formats hold, and neither is meant.
    return any(
        t.dim() == _SPATIAL_DIMS + 2
        and t.is_contiguous(memory_format=torch.channels_last)
        and not t.is_contiguous()
        for t in tensors
    )
