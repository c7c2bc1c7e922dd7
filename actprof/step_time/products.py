"""Which kernels a matrix product or attention launches."""

from __future__ import annotations

from actprof.cudnn import Architecture
from actprof.step_time.kernel import ATTENTION, ELEMENTWISE, FILL, PRODUCT, STRIDED, Kernel, Product
from actprof.step_time.memory_ops import Kernels
from actprof.trace.calls import Call, Operand
from actprof.units import ceil_div

_WITH_SUMMAND = ("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation")
PRODUCTS = ("mm", "bmm", "mv", "dot", *_WITH_SUMMAND)
_TILE, _FEW, _DEEP = 128, 4, 2000
_HOPPER, _MANY = 9, 2_400_000
_COUNTERS = 64.0  # bytes
_ROW_BYTES = 16  # a row that does not begin at a multiple of it takes slower loads


def product_kernels(  # noqa: PLR0913 - what decides them
    name: str, call: Call, moved: float, flops: float, architecture: Architecture, *, fused: bool
) -> Kernels:
    """Return the kernels of a matrix product; a bias that is not `fused` into it is copied first."""
    operands = call.operands
    left, right = operands[1:3] if name in _WITH_SUMMAND else operands[:2]
    kernel = Kernel(PRODUCT, moved, flops=flops, dtype=left.dtype, product=_shape_of(left, right))
    kernels = [*_besides(kernel, architecture), kernel]
    if name in _WITH_SUMMAND and not fused:
        output = call.outputs[0]
        kernels.insert(0, Kernel(STRIDED, 2.0 * output.bytes if output else moved))
    return kernels


def _besides(kernel: Kernel, architecture: Architecture) -> Kernels:
    """Return the small kernels beside a product in float32: counters are cleared, or parts of sums added up.

    When cuBLAS does so is not documented; this is as often as in the profiles of one H100. The time of what
    is added up is part of the product's.
    """
    product = kernel.product
    if product is None or kernel.dtype != "float32" or product.batch > 1:
        return ()
    tiles = ceil_div(product.rows, _TILE) * ceil_div(product.columns, _TILE)
    split = tiles * _FEW <= architecture.multiprocessors and product.depth >= _DEEP
    counts = architecture.compute_capability[0] >= _HOPPER and product.rows * product.columns >= _MANY
    return (Kernel(FILL, _COUNTERS),) if split or counts else ()


def _shape_of(left: Operand, right: Operand) -> Product:
    batch = left.shape[0] if len(left.shape) == 3 else 1
    rows = left.shape[-2] if len(left.shape) > 1 else 1
    depth = left.shape[-1]
    columns = right.shape[-1] if len(right.shape) > 1 else 1
    left_along = left.strides[-1] == 1 or depth == 1
    right_along = len(right.shape) == 1 or right.strides[-2] == 1 or depth == 1
    layout = "nt" if not (left_along or right_along) else "tn" if left_along and right_along else "nn"
    leading = (depth if left_along else rows, depth if right_along else columns, columns)
    aligned = all(count * left.element_bytes % _ROW_BYTES == 0 for count in leading)
    return Product(batch, rows, columns, depth, layout, aligned)


def attention_kernels(name: str, call: Call, moved: float, flops: float) -> Kernels:
    """Return the kernels of fused attention; its reverse sums up rows first."""
    kernel = Kernel(ATTENTION, moved, flops=flops, dtype=call.operands[0].dtype)
    return (Kernel(ELEMENTWISE, moved / 3), kernel) if "backward" in name else (kernel,)
