"""What a step would take if the machine or the way of launching were another."""

from __future__ import annotations

from collections.abc import Mapping

from actprof.step_time.all_reduce import NVLINK, PCIE, ddp_seconds
from actprof.step_time.kernel import (
    ELEMENTWISE,
    FILL,
    NORM,
    NORM_INPUT,
    RANDOM,
    REDUCTION,
    SOFTMAX,
    STRIDED,
)
from actprof.step_time.step import OPTIMIZER, PlayedStep
from actprof.trace.model import Trace

FASTER_HOST, GRAPHS, COMPILED = "a host twice as fast", "CUDA graphs", "torch.compile"
DDP_GPUS = 8
DDP = f"DDP on {DDP_GPUS} such GPUs"
# What torch.compile's Inductor writes anew, several ops in one kernel. How much of their time is left is not
# known of any of these policies: from a quarter, where chains of ops share their tensors, to all but a tenth.
_FUSED = {ELEMENTWISE, STRIDED, RANDOM, SOFTMAX, NORM, NORM_INPUT, REDUCTION, FILL}
FUSED_LEFT = (0.25, 0.9)
_LAUNCH = 5e-6  # of the host, for a kernel that compiled code launches; an estimate


def variants_of(
    step: PlayedStep, trace: Trace, batch_size: int, *, waiting: float | None = None
) -> Mapping[str, tuple[float, float]]:
    """Return the seconds of the step (lowest, highest) by what is different.

    A host that is twice as fast, or one that launches the whole step as one graph: the device's work is as it
    was. Compiled: some kernels become fewer, and the host launches without Python; the optimizer is not the
    policy's, and stays as it is. On several GPUs, each with such a batch: linked by NVLink, or through the
    host's memory; not of a step that several GPUs share already, and wait for each other for so many seconds.
    """
    faster = step.with_host(step.host.faster(2.0)).seconds
    graph = step.played.device_seconds + step.host.step
    compiled = tuple(_compiled(step, trace, left) for left in FUSED_LEFT)
    alone = {FASTER_HOST: (faster, faster), GRAPHS: (graph, graph), COMPILED: (compiled[0], compiled[1])}
    if waiting is not None:
        return {name: (low + waiting, high + waiting) for name, (low, high) in alone.items()}
    shared = tuple(ddp_seconds(step, trace, batch_size, gpus=DDP_GPUS, link=link) for link in (NVLINK, PCIE))
    return {**alone, DDP: (shared[0], shared[1])}


def _compiled(step: PlayedStep, trace: Trace, left: float) -> float:
    is_eager = [trace.ops.phase[row] == OPTIMIZER for row in step.rows]
    fused = [
        time.seconds
        for eager, kernel, time in zip(is_eager, step.kernels, step.times, strict=True)
        if kernel.kind in _FUSED and not eager
    ]
    device = step.played.device_seconds - (1 - left) * sum(fused)
    launches = is_eager.count(False) - (1 - left) * len(fused)
    optimizer = sum(launch.host for eager, launch in zip(is_eager, step.launches, strict=True) if eager)
    return max(device, launches * _LAUNCH + optimizer) + step.host.step
