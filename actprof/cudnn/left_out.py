"""Plans that cuDNN offers on a device but not without one: engines that multiply through cuBLASLt or cuBLAS.

Where they stand in its list, and what they take, is read off one H100 (`reports/accuracy/h100/`); on other
architectures nothing is put in. Still left out: plans through FFT and Winograd transforms that come late in
the list, of which only a trial of all plans would notice (up to 3 GiB in the first step).
"""

from __future__ import annotations

from math import prod

from actprof.cudnn.ask import WINOGRAD, Plan
from actprof.cudnn.problem import Architecture, Convolution
from actprof.units import ceil_div

_HOPPER = (9, 0)
_PRODUCT_ENGINES = {"forward": 58, "image": 63, "weight": 62}
_PRODUCTS = 3  # as many plans of it come first
_WINOGRAD_ENGINE = 17
_TILE, _PADDED_TILE = 4, 6  # F(4x4, 3x3): each 4x4 patch of the output from 6x6 of the input
# Where the heuristics put them first.
_MANY_PIXELS, _FEW_ROWS, _FEW_HALF_ROWS, _DEEP, _WIDE_WEIGHT = 128, 512, 4096, 2048, 2**20
_ODD_ONE_OUT = ("forward", (4, 512, 7, 7), (512, 512, 1, 1))  # alone among 13 batch sizes of its shape
_MOST_WORK = {64: 2**20, 128: 2**20, 256: 2**19}  # elements of the image, by channels


def plans_left_out(problem: Convolution, architecture: Architecture) -> tuple[Plan, ...]:
    """Return the plans that come before all others on a device and are missing without one."""
    if architecture.compute_capability != _HOPPER or problem.image_strides[1] == 1:
        return ()
    if _is_product(problem):
        return (
            Plan(_PRODUCT_ENGINES[problem.kind], _product_bytes(problem), deterministic=True),
        ) * _PRODUCTS
    if _winograd_comes_first(problem):
        return (Plan(_WINOGRAD_ENGINE, _winograd_bytes(problem), deterministic=True, arithmetic=WINOGRAD),)
    return ()


def _is_product(problem: Convolution) -> bool:
    """Return whether a convolution of single pixels is solved as a matrix product, before anything else."""
    plain = not any(problem.padding) and all(size == 1 for size in (*problem.stride, *problem.weight[2:]))
    if not plain or problem.image[1] != problem.weight[1]:
        return False
    pixels = prod(problem.image[2:])
    rows = problem.image[0] * pixels
    if problem.dtype != "float32":
        return pixels >= _MANY_PIXELS and (problem.kind != "weight" or rows <= _FEW_HALF_ROWS)
    few_rows = rows <= _FEW_ROWS
    if problem.kind == "weight":
        return pixels >= _MANY_PIXELS or (few_rows and prod(problem.weight) < _WIDE_WEIGHT)
    if (problem.kind, problem.image, problem.weight) == _ODD_ONE_OUT:
        return False
    summed = problem.weight[0] if problem.kind == "image" else problem.image[1]
    return not (few_rows and summed >= _DEEP)


def _product_bytes(problem: Convolution) -> int:
    """Return what a product takes: the weight's gradient is made for each image, and summed up."""
    return problem.image[0] * prod(problem.weight) * 4 if problem.kind == "weight" else 0


def _winograd_comes_first(problem: Convolution) -> bool:
    square = problem.kind == "weight" and problem.dtype == "float32" and problem.weight[2:] == (3, 3)
    plain = all(size == 1 for size in (*problem.padding, *problem.stride, *problem.dilation))
    channels, work = problem.weight[1], prod(problem.image)
    same = problem.weight[0] == channels == problem.image[1]
    return square and plain and same and work <= _MOST_WORK.get(channels, 0)


def _winograd_bytes(problem: Convolution) -> int:
    """Return the transformed image, gradient and weight, in fp32."""
    batch, channels, *pixels = problem.image
    outputs = problem.weight[0]
    tiles = batch * prod(ceil_div(size, _TILE) for size in pixels)
    return _PADDED_TILE**2 * 4 * (channels * outputs + tiles * (channels + outputs))
