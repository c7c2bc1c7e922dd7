"""Ask cuDNN for the plans of a convolution, as PyTorch asks: heuristics first, then what always works.

Mirrors `get_generator_sources` and `filterEngineConfigs` in aten/src/ATen/native/cudnn/Conv_v8.cpp, but for a
GPU that is only described.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from actprof.cudnn.library import Attribute, CudnnError, Descriptor, Kind, Type
from actprof.cudnn.problem import Architecture, Convolution, Dims

_INSTANT, _FALLBACK = 0, 2  # cudnnBackendHeurMode_t
_MOST_KNOBS = 16
_CROSS_CORRELATION = 1
_FLOAT = 0
_DTYPES = {"float32": _FLOAT, "float16": 2, "bfloat16": 9}
_ALIGNMENT = 32  # bytes; what the allocator hands out is aligned to 512, and PyTorch looks no further
# cudnnBackendNumericalNote_t
_TENSOR_CORES, _DOWN_CONVERTS, _NONDETERMINISTIC, _WINOGRAD = 0, 1, 4, 5
TENSOR_CORES, CUDA_CORES, WINOGRAD = "tensor cores", "cuda cores", "winograd"
_OPERATIONS = {
    # kind: (operation, its convolution, weight, image, output, alpha, beta)
    "forward": (Kind.FORWARD, 702, 703, 704, 705, 700, 701),
    "image": (Kind.IMAGE_GRADIENT, 708, 709, 710, 711, 706, 707),
    "weight": (Kind.WEIGHT_GRADIENT, 714, 715, 716, 717, 712, 713),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to solve a convolution.

    Attributes:
        engine: cuDNN's number of the kernel family, unique for a kind of convolution.
        workspace_bytes: what it asks for beside image, weight and output.
        deterministic: whether two runs give the same bits.
        knobs: (type, value) of what the engine can be set to.
        arithmetic: on what it multiplies: `tensor cores`, `cuda cores`, or there by `winograd`'s transforms.
    """

    engine: int
    workspace_bytes: int
    deterministic: bool
    knobs: tuple[tuple[int, int], ...] = ()
    arithmetic: str = TENSOR_CORES


def ask_plans(problem: Convolution, architecture: Architecture) -> Iterator[Plan]:
    """Yield the plans that PyTorch would consider, in cuDNN's order; each costs a little.

    Raises:
        CudnnError: there is no cuDNN that answers, or it knows no such GPU.
    """
    device = _device(architecture)
    graph = _graph(problem)
    for mode in (_INSTANT, _FALLBACK):
        yield from _plans(graph, device, mode, problem)


@cache
def _device(architecture: Architecture) -> Descriptor:
    return Descriptor(Kind.DEVICE).set(Attribute.DEVICE_JSON, Type.CHAR, architecture.as_json()).finalize()


def _graph(problem: Convolution) -> Descriptor:
    spatial = len(problem.padding)
    convolution = (
        Descriptor(Kind.CONVOLUTION)
        .set(Attribute.CONV_COMP_TYPE, Type.DTYPE, _FLOAT)
        .set(Attribute.CONV_MODE, Type.CONV_MODE, _CROSS_CORRELATION)
        .set(Attribute.CONV_SPATIAL_DIMS, Type.INT64, spatial)
        .set(Attribute.CONV_PRE_PADDINGS, Type.INT64, *problem.padding)
        .set(Attribute.CONV_POST_PADDINGS, Type.INT64, *problem.padding)
        .set(Attribute.CONV_DILATIONS, Type.INT64, *problem.dilation)
        .set(Attribute.CONV_STRIDES, Type.INT64, *problem.stride)
        .finalize()
    )
    kind, of_convolution, of_weight, of_image, of_output, alpha, beta = _OPERATIONS[problem.kind]
    image = _tensor("x", problem.image, problem.image_strides, problem.dtype)
    weight = _tensor("w", problem.weight, problem.weight_strides, problem.dtype)
    output = _tensor("y", problem.output, problem.output_strides, problem.dtype)
    operation = (
        Descriptor(kind)
        .set(of_convolution, Type.DESCRIPTOR, convolution)
        .set(of_weight, Type.DESCRIPTOR, weight)
        .set(of_image, Type.DESCRIPTOR, image)
        .set(of_output, Type.DESCRIPTOR, output)
        .set(alpha, Type.FLOAT, 1.0)
        .set(beta, Type.FLOAT, 0.0)
        .finalize()
    )
    return Descriptor(Kind.GRAPH).set(Attribute.GRAPH_OPERATIONS, Type.DESCRIPTOR, operation).finalize()


def _tensor(name: str, dims: Dims, strides: Dims, dtype: str) -> Descriptor:
    return (
        Descriptor(Kind.TENSOR)
        .set(Attribute.TENSOR_UID, Type.INT64, ord(name))
        .set(Attribute.TENSOR_DTYPE, Type.DTYPE, _DTYPES[dtype])
        .set(Attribute.TENSOR_DIMS, Type.INT64, *dims)
        .set(Attribute.TENSOR_STRIDES, Type.INT64, *strides)
        .set(Attribute.TENSOR_ALIGNMENT, Type.INT64, _ALIGNMENT)
        .finalize()
    )


def _plans(graph: Descriptor, device: Descriptor, mode: int, problem: Convolution) -> Iterator[Plan]:
    heuristic = (
        Descriptor(Kind.HEURISTIC)
        .set(Attribute.HEURISTIC_GRAPH, Type.DESCRIPTOR, graph)
        .set(Attribute.HEURISTIC_MODE, Type.HEURISTIC_MODE, mode)
        .set(Attribute.HEURISTIC_DEVICE, Type.DESCRIPTOR, device)
    )
    try:
        heuristic.finalize()
        configs = heuristic.descriptors(Attribute.HEURISTIC_RESULTS, Kind.ENGINE_CONFIG)
    except CudnnError:
        return  # this mode has nothing for the problem
    for config in configs:
        engine = config.descriptors(Attribute.CONFIG_ENGINE, Kind.ENGINE, 1)[0]
        notes = engine.numbers(Attribute.ENGINE_NOTES, Type.NOTE, 16)
        if problem.dtype == "float32" and _DOWN_CONVERTS in notes:
            continue
        try:
            plan = Descriptor(Kind.PLAN).set(Attribute.PLAN_CONFIG, Type.DESCRIPTOR, config)
            plan.set(Attribute.PLAN_DEVICE, Type.DESCRIPTOR, device).finalize()
        except CudnnError:
            continue  # an engine that refuses the problem when it comes to it
        knobs = config.descriptors(Attribute.CONFIG_KNOB_CHOICES, Kind.KNOB_CHOICE, _MOST_KNOBS)
        yield Plan(
            engine.numbers(Attribute.ENGINE_INDEX, Type.INT64)[0],
            plan.numbers(Attribute.PLAN_WORKSPACE_BYTES, Type.INT64)[0],
            _NONDETERMINISTIC not in notes,
            tuple(sorted(map(_knob, knobs))),
            _arithmetic(notes),
        )


def _arithmetic(notes: Sequence[int]) -> str:
    if _TENSOR_CORES in notes:
        return TENSOR_CORES
    return WINOGRAD if _WINOGRAD in notes else CUDA_CORES


def _knob(choice: Descriptor) -> tuple[int, int]:
    return (
        choice.numbers(Attribute.KNOB_TYPE, Type.KNOB)[0],
        choice.numbers(Attribute.KNOB_VALUE, Type.INT64)[0],
    )
