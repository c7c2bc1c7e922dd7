"""From the ops of a trace to the kernels of one step on one GPU, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from actprof.cudnn import CUDA_CORES, STAND_IN, Architecture, Convolution, Plan, plans_for
from actprof.kernels.problem import buffers_of
from actprof.kernels.reduction import Reduction
from actprof.step_time.convolutions import convolution_kernels
from actprof.step_time.kernel import ELEMENTWISE, FILL, TRANSFER, Kernel
from actprof.step_time.memory_ops import Kernels, memory_kernels, split_reduction
from actprof.step_time.products import PRODUCTS, attention_kernels, product_kernels
from actprof.trace.calls import Call
from actprof.trace.model import Ints, Trace

_CUBLASLT = 2  # of `OpTable.blas`
_ITEM = "_local_scalar_dense"
_COUNTERS = 64.0  # bytes of the counters that a split reduction begins by clearing


@dataclass(frozen=True, slots=True)
class OpLaunches:
    """What one row of a trace's ops launches."""

    row: int
    kernels: Kernels


def launches_of(
    trace: Trace, rows: Ints, batch_size: int, architecture: Architecture, *, benchmark: bool
) -> list[OpLaunches]:
    """Return what each of the `rows` of `trace` launches at `batch_size`, in order.

    Args:
        trace: of the step.
        rows: of its ops.
        batch_size: of the step.
        architecture: of the GPU, which cuDNN is asked about.
        benchmark: whether cuDNN's plans are chosen by time; the first of its list is taken either way.
    """
    details, ops = trace.details(), trace.ops
    calls: dict[int, Call] = {}
    problems = _problems(trace, batch_size, architecture)
    known: dict[Hashable, Kernels] = {}
    result = []
    columns = (
        details.op_calls,
        ops.bytes_constant + batch_size * ops.bytes_per_sample,
        ops.flops_constant + batch_size * ops.flops_per_sample,
        ops.blas == _CUBLASLT,
    )
    each = (column[rows].tolist() for column in columns)
    for row, index, moved, flops, fused in zip(rows.tolist(), *each, strict=True):
        if index not in calls:
            calls[index] = details.calls[index].at(batch_size)
        op = _Op(
            name=ops.names[row].removeprefix("aten.").split(".")[0],
            moved=float(moved),
            flops=float(flops),
            fused_bias=fused,
            problems=tuple(problems.get(row, ())),
        )
        if (index, op) not in known:
            known[index, op] = _kernels(op, calls[index], architecture, benchmark=benchmark)
        result.append(OpLaunches(row, known[index, op]))
    return result


@dataclass(frozen=True, slots=True)
class _Op:
    """What decides an op's kernels beside its call; True stands for a reduction split over blocks."""

    name: str
    moved: float
    flops: float
    fused_bias: bool
    problems: tuple[Convolution | bool, ...]


def _problems(
    trace: Trace, batch_size: int, architecture: Architecture
) -> dict[int, list[Convolution | bool]]:
    """Return the convolutions of each row; True for each reduction that is split over blocks."""
    found: defaultdict[int, list[Convolution | bool]] = defaultdict(list)
    tensors = trace.tensors
    for tensor in (tensors.problem >= 0).nonzero()[0].tolist():
        if tensors.part[tensor] == 0:
            problem = trace.problems[int(tensors.problem[tensor])].at(batch_size)
            row = int(tensors.op[tensor])
            if isinstance(problem, Convolution):
                found[row].append(problem)
            elif isinstance(problem, Reduction) and buffers_of(problem, architecture)[0]:
                found[row].append(True)
    return found


def _kernels(op: _Op, call: Call, architecture: Architecture, *, benchmark: bool) -> Kernels:
    if not (call.outputs or call.launches or call.arguments):
        return (Kernel(TRANSFER if op.name == _ITEM else ELEMENTWISE, op.moved),)  # nothing is known of it
    split = [Kernel(FILL, _COUNTERS) for problem in op.problems if problem is True]
    if op.name in PRODUCTS:
        return product_kernels(op.name, call, op.moved, op.flops, architecture, fused=op.fused_bias)
    if op.name in {"convolution", "convolution_backward"}:
        convolutions = (problem for problem in op.problems if isinstance(problem, Convolution))
        solved = [(problem, _plan(problem, architecture, benchmark=benchmark)) for problem in convolutions]
        return [*convolution_kernels(call, solved, op.moved), *split]
    if "attention" in op.name:
        return attention_kernels(op.name, call, op.moved, op.flops)
    kernels = memory_kernels(op.name, call, op.moved)
    return [*split, *map(split_reduction, kernels)] if split else kernels


def _plan(problem: Convolution, architecture: Architecture, *, benchmark: bool) -> Plan:
    plans = plans_for(problem, architecture, most=1, deterministic=not benchmark)
    return plans[0] if plans else Plan(STAND_IN, 0, deterministic=True, arithmetic=CUDA_CORES)
