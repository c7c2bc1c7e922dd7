"""What cuDNN is asked about: a convolution, and the GPU that would solve it.

Its answer depends on the compute capability and, on 7.5 and 9.0, a little on the multiprocessors and the
clocks; the other properties of a GPU must be there, and changing them changed no plan (cuDNN 9.19).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, TypeAlias

Dims: TypeAlias = tuple[int, ...]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What cuDNN wants to know of a GPU; of either clock the highest."""

    compute_capability: tuple[int, int]
    multiprocessors: int
    threads_per_multiprocessor: int
    clock_khz: int
    memory_clock_khz: int

    def as_json(self) -> str:
        """Return the text of `CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION`."""
        major, minor = self.compute_capability
        properties = {
            "maxGridSize": [2**31 - 1, 65_535, 65_535],
            "maxBlockSize": [1024, 1024, 64],
            "regsPerBlock": 65_536,
            "multiProcessorCount": self.multiprocessors,
            "warpSize": 32,
            "maxSharedMemoryPerBlock": 49_152,
            "maxSharedMemoryPerBlockOptin": _SHARED_BYTES.get((major, minor), _LEAST_SHARED_BYTES),
            "reservedSharedMemoryPerBlock": 1024,
            "maxRegistersPerSM": 65_536,
            "maxCtasPerSM": 16 if self.threads_per_multiprocessor < 2048 else 32,
            "maxThreadsPerBlock": 1024,
            "maxThreadsPerSM": self.threads_per_multiprocessor,
            "pciDeviceId": 0,
            "isTccDriver": 0,
            "supportCoopLaunch": 1,
            "totalGlobalMem": 2**34,
            "smClockRateKHz": self.clock_khz,
            "memClockRateKHz": self.memory_clock_khz,
            "l2CacheSize": 2**25,
            "cudaDeviceId": 0,
            "deviceVer": 100 * major + 10 * minor,
            "driverVer": 13_000,
            "deviceName": "described",
        }
        return json.dumps(properties, sort_keys=True)


# CUDA C++ Programming Guide, technical specifications per compute capability: shared memory of one block.
_LEAST_SHARED_BYTES = 101_376
_SHARED_BYTES = {
    (7, 5): 65_536, (8, 0): 166_912, (8, 7): 166_912,
    (9, 0): 232_448, (10, 0): 232_448, (10, 3): 232_448, (11, 0): 232_448,
}  # fmt: skip
