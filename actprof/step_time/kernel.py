"""One kernel of a step, as far as its time depends on it."""

from __future__ import annotations

from dataclasses import dataclass

# Kinds of kernels, in the words of reports. What moves memory has a share of the bandwidth of its own each.
PRODUCT, CONVOLUTION, ATTENTION = "matrix product", "convolution", "attention"
ELEMENTWISE, STRIDED, RANDOM = "elementwise", "strided elementwise", "random numbers"
SOFTMAX, NORM = "softmax", "normalization"
NORM_INPUT, NORM_WEIGHT = "normalization backward, input", "normalization backward, weight"
REDUCTION, SPLIT_REDUCTION = "reduction", "split reduction"
POOL, POOL_BACKWARD = "pooling", "pooling backward"
LAYOUT, NARROW_LAYOUT = "layout conversion", "layout conversion of few channels"
MULTI_TENSOR, CONCATENATION, FILL, TRANSFER = "multi-tensor", "concatenation", "fill", "transfer"


@dataclass(frozen=True, slots=True)
class Product:
    """What decides how a matrix product is shared out among the multiprocessors.

    Attributes:
        batch, rows, columns, depth: of `batch` products (rows, depth) x (depth, columns).
        layout: of both operands: `tn` where both are contiguous along the depth, as in a forward pass, `nn`
            where one is, `nt` where none is; of a convolution `forward`, `image` or `weight`.
        aligned: whether rows begin at multiples of 16 bytes.
    """

    batch: int
    rows: int
    columns: int
    depth: int
    layout: str
    aligned: bool = True


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that an op launches.

    Attributes:
        kind: one of this module's.
        bytes: of its traffic: inputs read once, outputs written once.
        elements: of what is made, where each has its places worked out, or is cast, on its own.
        across: elements that are read or written across their fastest dimension, one at a time.
        flops: floating-point operations.
        dtype: of what it multiplies, as `float32`.
        product: of a product or a convolution.
        engine: of a convolution: `tensor cores`, `cuda cores` or `winograd`.
    """

    kind: str
    bytes: float
    elements: float = 0.0
    across: float = 0.0
    flops: float = 0.0
    dtype: str = "float32"
    product: Product | None = None
    engine: str = ""
