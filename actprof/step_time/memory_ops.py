"""Which kernels an op that moves memory launches: elementwise ops, copies, reductions, norms, pooling.

As PyTorch's source has it (aten/src/ATen/native/cuda, torch 2.6 to 2.11) and as profiles of an H100 show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod

from actprof.step_time.kernel import (
    CONCATENATION,
    ELEMENTWISE,
    FILL,
    MULTI_TENSOR,
    NORM,
    NORM_INPUT,
    NORM_WEIGHT,
    POOL,
    POOL_BACKWARD,
    RANDOM,
    REDUCTION,
    SOFTMAX,
    SPLIT_REDUCTION,
    STRIDED,
    TRANSFER,
    Kernel,
)
from actprof.trace.calls import Call, Operand
from actprof.units import ceil_div

Kernels = Sequence[Kernel]
_BATCH_OF_CAT = 128  # CAT_ARRAY_BATCH_SIZE in cuda/Shape.cu, half of it where an input is not dense
_SMALL = 64.0  # bytes of what hardly moves anything


def memory_kernels(name: str, call: Call, moved: float) -> Kernels:
    """Return the kernels of an op that is neither a product, a convolution nor attention.

    Args:
        name: of the op without overload, as `add_`.
        call: what it was called with.
        moved: bytes of its traffic.
    """
    if call.launches:
        return _of_lists(name, call.launches, moved)
    if name.startswith(_NOTHING):
        return ()
    rule = _RULES.get(name)
    return rule(call, moved) if rule else (pointwise(call, moved),)


def pointwise(call: Call, moved: float) -> Kernel:
    """Return the kernel of an elementwise op: in vectors, or element by element, each with places of its own.

    The latter where not all tensors lie alike in memory, or one is cast to a dtype that is no narrower.
    """
    output = next((one for one in call.outputs if one is not None), None)
    operands = call.operands
    if output is None:
        output = max(operands, key=lambda one: one.elements, default=None)
    if output is None:
        return Kernel(ELEMENTWISE, moved)
    full = [one for one in operands if one.elements > 1]
    across = float(sum(one.elements for one in full if _is_across(one, output)))
    alike = all(one.shape == output.shape and one.strides == output.strides for one in full)
    if alike and not any(_is_widened(one, output) for one in full):
        return Kernel(ELEMENTWISE, moved)
    return Kernel(STRIDED, moved, elements=float(output.elements), across=across)


def _is_across(operand: Operand, output: Operand) -> bool:
    """Tell whether neighbours of the output are no neighbours of an operand with as many elements."""
    same = len(operand.shape) == len(output.shape) and operand.elements == output.elements
    return (
        same
        and operand.fastest != output.fastest
        and operand.bytes == operand.elements * operand.element_bytes
    )


def _is_widened(operand: Operand, output: Operand) -> bool:
    """Tell whether an operand is cast element by element: to a narrower dtype it is done in vectors.

    A mask of flags is no number that would be cast.
    """
    wider = operand.dtype != output.dtype and output.element_bytes >= operand.element_bytes
    return wider and "bool" not in {operand.dtype, output.dtype}


def _of_lists(name: str, launches: int, moved: float) -> Kernels:
    if name == "_foreach_norm":  # zeros for the partial sums, the chunks, and what adds them up
        chunks = max(launches - 2, 1)
        each = Kernel(MULTI_TENSOR, moved / chunks)
        return (Kernel(FILL, _SMALL), *[each] * chunks, Kernel(REDUCTION, _SMALL))
    return (Kernel(MULTI_TENSOR, moved / launches),) * launches


def _copy(call: Call, moved: float) -> Kernels:
    return (pointwise(Call(call.arguments[:1], call.outputs), moved),)


def _overwrite(call: Call, moved: float) -> Kernels:
    target, *sources = call.operands
    return (pointwise(Call(tuple(sources[:1]), (target,)), moved),)


def _reduction(call: Call, moved: float) -> Kernels:
    tensor, output = call.operands[0], call.outputs[0]
    named = {dim % max(len(tensor.shape), 1) for dim in _dims(call)}
    across = 0.0
    if output is not None and len(output.shape) == len(tensor.shape) and tensor.fastest not in named:
        across = float(tensor.elements) if tensor.fastest != output.fastest and output.elements > 1 else 0.0
    return (Kernel(REDUCTION, moved, across=across),)


def _dims(call: Call) -> tuple[int, ...]:
    """Return the dimensions that a reduction names: a list of them, else its last number that is no flag."""
    given = call.arguments[1:]
    lists = [value for value in given if isinstance(value, tuple)]
    numbers = [value for value in given if isinstance(value, int) and not isinstance(value, bool)]
    return lists[0] if lists else tuple(numbers[-1:])


def split_reduction(kernel: Kernel) -> Kernel:
    """Return a reduction whose sums are split over blocks, which meet in memory."""
    return replace(kernel, kind=SPLIT_REDUCTION) if kernel.kind == REDUCTION else kernel


def _layer_norm(call: Call, moved: float) -> Kernels:
    return (*dense_copies(call.operands[:1]), Kernel(NORM, moved))


def _layer_norm_backward(call: Call, moved: float) -> Kernels:
    """The gradient of the input reads two tensors and writes one; those of weight and bias read two."""
    return (
        *dense_copies(call.operands[:2]),
        Kernel(NORM_INPUT, moved),
        Kernel(NORM_WEIGHT, moved * 2 / 3),
    )


def dense_copies(operands: Iterable[Operand]) -> Kernels:
    """Return the copies that `contiguous()` makes of those that are not."""
    copies = []
    for one in operands:
        if not one.is_dense:
            dense = Operand(one.shape, _dense_strides(one.shape), one.dtype)
            copies.append(pointwise(Call((one,), (dense,)), 2.0 * dense.bytes))
    return copies


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[place + 1 :]) for place in range(len(shape)))


def _group_norm(call: Call, moved: float) -> Kernels:
    """Moments of each group, factors of each channel, and the tensor itself (group_norm_kernel.cu)."""
    dense = dense_copies(call.operands[:1])
    return (*dense, Kernel(REDUCTION, moved / 2), Kernel(ELEMENTWISE, _SMALL), Kernel(STRIDED, moved))


def _group_norm_backward(call: Call, moved: float) -> Kernels:
    """Sums of each channel from two tensors, factors, the gradient, and those of weight and bias."""
    sums, small = Kernel(REDUCTION, moved * 2 / 3), Kernel(ELEMENTWISE, _SMALL)
    return (
        *dense_copies(call.operands[:2]),
        sums,
        small,
        small,
        Kernel(STRIDED, moved),
        Kernel(REDUCTION, _SMALL),
    )


def _batch_norm(_call: Call, moved: float) -> Kernels:
    return Kernel(REDUCTION, moved / 2), Kernel(STRIDED, moved)


def _batch_norm_backward(_call: Call, moved: float) -> Kernels:
    return Kernel(REDUCTION, moved * 2 / 3), Kernel(STRIDED, moved)


def _softmax_backward(_call: Call, moved: float) -> Kernels:
    """The product of gradient and output comes first."""
    return Kernel(ELEMENTWISE, moved), Kernel(SOFTMAX, moved)


def _safe_softmax(_call: Call, moved: float) -> Kernels:
    """What is masked, which rows are so entirely, and these set to zero (SoftMax.cpp)."""
    return (
        Kernel(SOFTMAX, moved),
        Kernel(ELEMENTWISE, moved * 5 / 8),
        Kernel(REDUCTION, moved / 8),
        Kernel(STRIDED, moved),
    )


def _filled_first(call: Call, moved: float) -> Kernels:
    """Zeros as large as the result, then a copy of the gradient into its place."""
    filled = _made(call)
    return Kernel(FILL, filled), Kernel(STRIDED, max(moved - filled, _SMALL) * 2)


def _pool_backward(call: Call, moved: float) -> Kernels:
    return Kernel(FILL, _made(call)), Kernel(POOL_BACKWARD, moved)


def _made(call: Call) -> float:
    """Return the bytes of what an op makes."""
    return float(sum(one.bytes for one in call.outputs if one is not None))


def _concatenation(call: Call, moved: float) -> Kernels:
    given = next((value for value in call.arguments if isinstance(value, tuple)), ())
    tensors = [one for one in given if isinstance(one, Operand)]
    if len({one.dtype for one in tensors}) > 1:  # each is cast into its place
        return (Kernel(STRIDED, moved / len(tensors)),) * len(tensors)
    most = _BATCH_OF_CAT if all(one.is_dense for one in tensors) else _BATCH_OF_CAT // 2
    count = max(ceil_div(len(tensors), most), 1)
    return (Kernel(CONCATENATION, moved / count),) * count


def _mean_of_losses(_call: Call, moved: float) -> Kernels:
    return Kernel(ELEMENTWISE, moved * 3 / 2), Kernel(REDUCTION, moved / 2)


def _sorting(_call: Call, moved: float) -> Kernels:
    """Keys and their order, a few passes of a radix sort, and what is done in that order."""
    return (Kernel(ELEMENTWISE, moved),) * 6


def _masked_fill(call: Call, moved: float) -> Kernels:
    return Kernel(ELEMENTWISE, moved), pointwise(call, moved)


def _kind(kind: str) -> Callable[[Call, float], Kernels]:
    return lambda _call, moved: (Kernel(kind, moved),)


def _several(*kinds: str) -> Callable[[Call, float], Kernels]:
    small = tuple(Kernel(kind, _SMALL) for kind in kinds[:-1])
    return lambda _call, moved: (*small, Kernel(kinds[-1], moved))


# They make a tensor without a kernel, or work beside the others, on streams of their own: collectives.
_NOTHING = ("empty", "new_empty", "detach", "storage", "c10d", "_c10d_functional")
_NAMES: dict[str, Callable[[Call, float], Kernels]] = {
    "_to_copy clone contiguous repeat": _copy,
    "copy_": _overwrite,
    "sum mean amax amin any all prod norm linalg_vector_norm var std var_mean std_mean max min argmax argmin":
        _reduction,
    "cumsum logsumexp": _kind(REDUCTION),
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_group_norm": _group_norm,
    "native_group_norm_backward": _group_norm_backward,
    "native_batch_norm _native_batch_norm_legit cudnn_batch_norm": _batch_norm,
    "native_batch_norm_backward cudnn_batch_norm_backward": _batch_norm_backward,
    "_softmax _log_softmax _log_softmax_backward_data": _kind(SOFTMAX),
    "_softmax_backward_data": _softmax_backward,
    "_safe_softmax": _safe_softmax,
    "native_dropout normal normal_ randn randn_like rand rand_like randint": _kind(RANDOM),
    "uniform_ bernoulli_": _kind(RANDOM),
    "slice_backward select_backward constant_pad_nd": _filled_first,
    "max_pool2d_with_indices avg_pool2d": _kind(POOL),
    "max_pool2d_with_indices_backward": _pool_backward,
    "cat stack": _concatenation,
    "fsdp": _kind(CONCATENATION),
    "zeros full zeros_like full_like ones ones_like new_zeros new_full new_ones fill_ zero_ scalar_tensor":
        _kind(FILL),
    "mse_loss smooth_l1_loss": _mean_of_losses,
    "masked_fill": _masked_fill,
    "embedding_dense_backward index_put index_put_ _index_put_impl_ sort topk unique_dim _unique2": _sorting,
    "nonzero masked_select": _several(REDUCTION, REDUCTION, TRANSFER, ELEMENTWISE, ELEMENTWISE, ELEMENTWISE),
    "_local_scalar_dense": _kind(TRANSFER),
}  # fmt: skip
_RULES = {name: rule for names, rule in _NAMES.items() for name in names.split()}
