"""Which kernels a convolution launches: by cuDNN's plan, and its workspace what it converts.

Tensor cores want channels last. A plan whose workspace has room for the tensors in that layout converts them
before and after; one with less room reads or writes channels first itself. As profiles of an H100 show
(`nchwToNhwcKernel`, `nhwcToNchwKernel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from actprof.cudnn import CUDA_CORES, TENSOR_CORES, Convolution, Plan
from actprof.step_time.kernel import (
    CONVOLUTION,
    ELEMENTWISE,
    FILL,
    LAYOUT,
    NARROW_LAYOUT,
    SPLIT_REDUCTION,
    STRIDED,
    Kernel,
    Product,
)
from actprof.step_time.memory_ops import Kernels
from actprof.trace.calls import ELEMENT_BYTES, Call

FEW_CHANNELS = 8  # below, a layout conversion moves small pieces
_GRANULE_BYTES = 16  # channels last are filled up to it
_ALMOST = 0.95  # of what copies take: the workspace holds no more than it must
_COUNTERS = 64.0  # bytes that a kernel begins by clearing


def convolution_kernels(call: Call, problems: Sequence[tuple[Convolution, Plan]], moved: float) -> Kernels:
    """Return the kernels of `aten.convolution`, or of its reverse, with the plan of each of its problems.

    One without problems is PyTorch's own kernel for a convolution of each channel alone.
    """
    kernels: list[Kernel] = []
    for problem, plan in problems:
        kernels += _solve(problem, plan)
    if not problems:
        kernels.append(Kernel(CONVOLUTION, moved, flops=_flops(call), dtype=_dtype(call), engine=CUDA_CORES))
    output, wanted = call.outputs[0], call.arguments[-1]
    if not _is_mask(wanted):  # forward: the bias is added afterwards
        if output is not None and call.arguments[2] is not None:
            kernels.append(Kernel(STRIDED, 2.0 * output.bytes))
    elif wanted[2]:
        kernels.append(Kernel(SPLIT_REDUCTION, float(call.operands[0].bytes)))
    return kernels


def _is_mask(value: object) -> bool:
    """Tell the reverse's last argument: which of the gradients of image, weight and bias are wanted."""
    return isinstance(value, tuple) and all(isinstance(item, bool) for item in value)


def _flops(call: Call) -> float:
    """Return the FLOPs of what is asked for: each group has its own channels.

    PyTorch's counter takes all groups as one for the gradient of the weight: of 256 channels alone 256 times
    as much.
    """
    wanted, operands = call.arguments[-1], call.operands
    is_reverse = _is_mask(wanted)
    image, weight = operands[1:3] if is_reverse else operands[:2]
    made = operands[0] if is_reverse else call.outputs[0] or image
    transposed = call.arguments[-4 if is_reverse else -3]
    each = 2.0 * (image if transposed else made).elements * prod(weight.shape[1:])
    return each * sum(wanted[:2]) if is_reverse else each


def _dtype(call: Call) -> str:
    return call.operands[0].dtype if call.operands else "float32"


def _solve(problem: Convolution, plan: Plan) -> Kernels:
    size = ELEMENT_BYTES[problem.dtype]
    image, weight, output = (prod(dims) * size for dims in (problem.image, problem.weight, problem.output))
    first = problem.image_strides[1] != 1 or problem.image[1] == 1
    cores = plan.arithmetic == TENSOR_CORES
    given, made = {
        "forward": ((problem.image, problem.weight), problem.output),
        "image": ((problem.output, problem.weight), problem.image),
        "weight": ((problem.image, problem.output), problem.weight),
    }[problem.kind]
    both = cores and first and plan.workspace_bytes >= _ALMOST * (image + output)
    large = prod(given[0]) * size + (prod(given[1]) * size if problem.kind == "weight" else 0)
    inputs = both or (cores and first and plan.workspace_bytes >= _ALMOST * large)
    pixels = prod(problem.weight[2:])
    kernels: list[Kernel] = []
    if inputs:
        kernels += [_converted(dims, size) for dims in given if dims is not problem.weight or pixels > 1]
    if problem.kind == "weight":
        kernels.append(Kernel(FILL, float(weight)))
    elif cores:
        kernels.append(Kernel(FILL, _COUNTERS))
    kernels.append(
        Kernel(
            CONVOLUTION,
            float(image + weight + output),
            flops=2.0 * prod(problem.output) * prod(problem.weight[1:]),
            dtype=problem.dtype,
            product=_product(problem),
            engine=plan.arithmetic,
        )
    )
    if problem.kind == "weight" and cores:
        kernels.append(Kernel(ELEMENTWISE, 4.0 * weight))  # the parts of a split sum
    if both and (made is not problem.weight or pixels > 1):
        kernels.append(_converted(made, size))
    return kernels


def _converted(dims: Sequence[int], size: int) -> Kernel:
    """Return the conversion of one tensor; few channels are filled up to 16 bytes."""
    channels = dims[1]
    granule = _GRANULE_BYTES // size
    filled = -(-channels // granule) * granule
    moved = prod(dims) * size * (1 + filled / channels)
    return Kernel(NARROW_LAYOUT if channels < FEW_CHANNELS else LAYOUT, moved)


def _product(problem: Convolution) -> Product:
    """Return the matrix product that the convolution is."""
    channels = problem.weight[1]
    pixels, made = prod(problem.weight[2:]), problem.output[0] * prod(problem.output[2:])
    rows, columns, depth = {
        "forward": (made, problem.weight[0], channels * pixels),
        "image": (problem.image[0] * prod(problem.image[2:]), channels, problem.weight[0] * pixels),
        "weight": (problem.weight[0], channels * pixels, made),
    }[problem.kind]
    return Product(1, rows, columns, depth, problem.kind, channels >= FEW_CHANNELS)
