"""What a convolution's workspace is likely to be, where no cuDNN can be asked.

Tensor cores want channels last. A problem with channels first gets copies of all three tensors in that
layout, channels filled up to 16 bytes: the common case of the plans that cuDNN 9.19 lists first from 8.0 on.
Limits: plans that split their sum over blocks take some MiB more; cuDNN often lists first a plan that
takes fewer copies or none; cards before 8.0 have no tensor cores for float32 and mostly take nothing.
"""

from __future__ import annotations

from math import prod

from actprof.cudnn.architecture import Architecture
from actprof.cudnn.ask import Plan
from actprof.cudnn.problem import Convolution, Dims

STAND_IN = -1  # its engine
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_GRANULE_BYTES = 16
_TENSOR_CORES_FOR_FLOAT32 = (8, 0)


def closed_form(problem: Convolution, architecture: Architecture) -> Plan:
    """Return the plan that stands in for cuDNN's first; its engine is `STAND_IN`."""
    if _channels_last(problem) or not _uses_tensor_cores(problem, architecture):
        return Plan(STAND_IN, 0, deterministic=True)
    size = _BYTES[problem.dtype]
    granule = _GRANULE_BYTES // size
    elements = sum(_filled(dims, granule) for dims in (problem.image, problem.weight, problem.output))
    return Plan(STAND_IN, elements * size + _GRANULE_BYTES, deterministic=True)


def _channels_last(problem: Convolution) -> bool:
    return problem.image_strides[1] == 1 and problem.image[1] > 1


def _uses_tensor_cores(problem: Convolution, architecture: Architecture) -> bool:
    return problem.dtype != "float32" or architecture.compute_capability >= _TENSOR_CORES_FOR_FLOAT32


def _filled(dims: Dims, granule: int) -> int:
    """Return the elements of a tensor whose channels are filled up to a multiple of `granule`."""
    batch, channels, *spatial = dims
    return batch * -(-channels // granule) * granule * prod(spatial)
