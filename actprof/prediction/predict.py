"""Predict one cell without a GPU: trace, replay, verdict, boundary, attribution, in that order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from actprof.allocator import AllocatorConfig
from actprof.cell import Cell
from actprof.cudnn import answers
from actprof.errors import TraceError
from actprof.hardware import Catalogue, Device, Gpu, builtin_catalogue, find_device, library_workspaces
from actprof.policies.precision import autocast_of
from actprof.prediction.attribution import attribute
from actprof.prediction.kept_limits import limits_of
from actprof.prediction.verdict import compiled_reason, judge, too_small_reason
from actprof.replay.kernel_bytes import Kernels, architecture_of
from actprof.replay.profile import MemoryProfile, thin
from actprof.replay.replay import ReplayConditions, replay
from actprof.results import PREDICTED, Result, Timing
from actprof.step_time.calibration import calibration_of
from actprof.step_time.predict import predict_step_time
from actprof.step_time.step import play_step
from actprof.step_time.timeline import StepTimeline, timeline_of
from actprof.trace.cache import trace_for
from actprof.trace.model import Trace
from actprof.versions import library_versions, torch_version

ONE_PROCESS = "one process on one GPU, batches from a data loader with the video frames of a LeRobotDataset"
SEVERAL = (
    "{} GPUs on one machine, each with a process and a batch of its own from a data loader with the video "
    "frames of a LeRobotDataset"
)
BENCHMARK_ON = (
    "cudnn.benchmark is on, as lerobot sets it: cuDNN times its plans in the first step and keeps the "
    "fastest, so that repeated runs differ; the figures are of the likely plans, the band of others drawn"
)
NO_CUDNN = (
    "no cuDNN here answers for that GPU ({}), so convolutions count with the copies that tensor cores want: "
    "an estimate of their workspaces"
)
# NCCL's channels and buffers on each GPU: 544 MB for two A100 and 688 MB for more (NVIDIA/nccl#964), 1.06 GB
# with the context on eight H100 (#1685), less where PCIe needs few channels (#986).
NCCL_BYTES = 512 << 20
NCCL = (
    "NCCL's own memory on each GPU is none of PyTorch's: 0.5 GiB are counted with the CUDA context; some 0.1 "
    "(PCIe) to 1 GiB (NVLink) are reported"
)
ATTENTION = (
    "attention kernels are those of compute capability 8.0 and later; where PyTorch prefers cuDNN's (half "
    "precision, 9.x and 10.x), their workspaces may differ"
)
_FLASH_CAPABILITY = (8, 0)


def predict_cell(cell: Cell, *, catalogue: Catalogue | None = None) -> Result:
    """Return what training `cell` needs and whether it fits, without a GPU.

    A cell whose step cannot be traced, or is compiled, has the verdict `unknown` and the reason.

    Raises:
        UsageError: an unknown GPU, policy or setting, or a config that lerobot refuses.
    """
    return predict_in_full(cell, catalogue=catalogue).result


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A predicted result with what it was drawn from; that is None where the verdict is `unknown`.

    The replays have detail, without limit and on the device of `conditions`; they are the same one where the
    limit makes no difference.
    """

    result: Result
    conditions: ReplayConditions
    trace: Trace | None = None
    unlimited: MemoryProfile | None = None
    limited: MemoryProfile | None = None


def predict_in_full(cell: Cell, *, catalogue: Catalogue | None = None) -> Prediction:
    """Return what `predict_cell` does, with trace and replays.

    Raises:
        UsageError: as `predict_cell`.
    """
    device = device_of(cell, catalogue)
    conditions = conditions_of(cell, device)
    base = unknown_result(cell, _unknown_kernel(cell, device.gpu), catalogue=catalogue)
    if base.reason:
        return Prediction(result=base, conditions=conditions)
    start = time.perf_counter()
    try:
        trace, cached = trace_for(cell)
    except TraceError as error:
        return Prediction(result=replace(base, reason=str(error)), conditions=conditions)
    if older := _unknown_flash(trace, device.gpu):
        return Prediction(result=replace(base, reason=older), conditions=conditions)
    traced = time.perf_counter()
    unlimited = replay(trace, cell.batch_size, conditions.without_limit(), detail=True)
    if cell.compiled:
        eager = unlimited.peak_reserved_bytes + device.gpu.context_bytes
        return Prediction(result=replace(base, reason=compiled_reason(eager)), conditions=conditions)
    limited = _limited(base, trace, conditions, unlimited)
    answer = _with_speed(_judged(base, trace, conditions, unlimited, limited), trace, device.gpu)
    timing = Timing(
        trace_seconds=traced - start,
        replay_seconds=time.perf_counter() - traced,
        trace_cached=cached,
        trace_shipped=trace.shipped,
    )
    answer = replace(answer, timing=timing, versions={**base.versions, **trace.versions})
    return Prediction(result=answer, conditions=conditions, trace=trace, unlimited=unlimited, limited=limited)


def unknown_result(cell: Cell, reason: str, *, catalogue: Catalogue | None = None) -> Result:
    """Return what is told of a cell of which nothing is known."""
    use = device_of(cell, catalogue).use
    return Result(source=PREDICTED, cell=cell, gpu=use, reason=reason, versions=library_versions())


def device_of(cell: Cell, catalogue: Catalogue | None = None) -> Device:
    """Return the device that the cell asks for.

    Raises:
        UsageError: the cell names no GPU and no capacity, or a GPU that nobody knows.
    """
    known = catalogue or builtin_catalogue()
    device = find_device(cell.gpu, cell.capacity_bytes, cell.used_by_others_bytes, catalogue=known)
    if cell.world_size == 1:
        return device
    return replace(device, gpu=replace(device.gpu, context_bytes=device.gpu.context_bytes + NCCL_BYTES))


def conditions_of(cell: Cell, device: Device) -> ReplayConditions:
    """Return what decides the replay of the cell's run on `device`.

    Raises:
        UsageError: allocator settings that PyTorch refuses.
    """
    return ReplayConditions(
        device=device,
        config=AllocatorConfig.parse(cell.alloc_conf),
        workspaces=library_workspaces(device.gpu, torch_version()),
        torch_version=torch_version(),
        kernels=Kernels(architecture=architecture_of(device.gpu), benchmark=cell.cudnn_benchmark),
    )


def _unknown_kernel(cell: Cell, gpu: Gpu) -> str:
    """Return why the trace of `cell` does not hold on `gpu`, or nothing: half precision has older kernels."""
    half = autocast_of(cell) != "fp32"
    if not half or "fused_attention" not in cell.changes or gpu.compute_capability >= _FLASH_CAPABILITY:
        return ""
    major, minor = gpu.compute_capability
    return (
        f"a GPU of compute capability {major}.{minor} takes other attention kernels in half precision than "
        "those that are traced; leave out fused_attention, or take fp32"
    )


def _unknown_flash(trace: Trace, gpu: Gpu) -> str:
    """Return why a trace with flash attention does not hold on `gpu`, or nothing: older ones have none."""
    flash = any("_scaled_dot_product_flash_attention" in name for name in trace.ops.names)
    if not flash or gpu.compute_capability >= _FLASH_CAPABILITY:
        return ""
    major, minor = gpu.compute_capability
    return (
        f"a GPU of compute capability {major}.{minor} has no flash attention, which is traced for half "
        "precision; take fp32"
    )


def _limited(
    base: Result, trace: Trace, conditions: ReplayConditions, unlimited: MemoryProfile
) -> MemoryProfile:
    """Replay on the device, where that could make a difference."""
    unfettered = conditions.config == conditions.without_limit().config
    if unfettered and unlimited.most_reserved_bytes <= base.available_bytes:
        return unlimited
    return replay(trace, unlimited.batch_size, conditions, detail=True)


def _judged(
    base: Result, trace: Trace, conditions: ReplayConditions, need: MemoryProfile, limited: MemoryProfile
) -> Result:
    limits = limits_of(base.cell, trace, conditions, need)
    band = limits.band
    capacity = base.gpu.capacity_bytes
    judged = judge(
        need,
        limited,
        capacity_bytes=capacity,
        available_bytes=conditions.config.capped_bytes(base.available_bytes, capacity),
        most_reserved_bytes=band.most_reserved_bytes,
    )
    return replace(
        base,
        parameters=trace.policy.parameter_count,
        components=trace.policy.by_component,
        encoder_tokens=trace.policy.encoder_tokens,
        peak_allocated_bytes=need.peak_allocated_bytes,
        peak_reserved_bytes=need.peak_reserved_bytes,
        peak_process_bytes=need.peak_reserved_bytes + base.gpu.context_bytes,
        peak_allocated_band_bytes=band.allocated,
        peak_reserved_band_bytes=band.reserved,
        verdict=judged.verdict,
        reason=too_small_reason(base.gpu) or judged.reason,
        headroom_bytes=judged.headroom_bytes,
        retries=limited.retries,
        max_batch_size=limits.largest,
        surely_fits_batch_size=limits.surely,
        oom=limited.oom if base.available_bytes else None,  # else CUDA itself fails, before PyTorch asks
        breakdown=attribute(trace, limited, conditions.program(trace, limited.batch_size)),
        curve=None if need.timeline is None else thin(need.timeline),
        assumptions=(*base.gpu.notes, *_assumed(base.cell, trace, need, conditions.kernels)),
        flops_per_sample=trace.flops(base.cell.batch_size) // base.cell.step_samples,
    )


def step_timeline(told: Prediction) -> StepTimeline | None:
    """Return the predicted step, launch by launch; None where it or the speed of the GPU is unknown."""
    cell, device = told.result.cell, told.conditions.device
    if told.trace is None or device is None or told.result.step_seconds is None:
        return None
    gpu = device.gpu
    step = play_step(
        told.trace,
        cell.batch_size,
        gpu,
        benchmark=cell.cudnn_benchmark,
        calibration=calibration_of(gpu.name, gpu.aliases),
    )
    return None if step is None else timeline_of(step, told.trace, cell.batch_size, gpu)


def _with_speed(answer: Result, trace: Trace, gpu: Gpu) -> Result:
    """Return the answer with what a step takes, where the speed of the GPU is known."""
    cell = answer.cell
    found = predict_step_time(
        trace,
        cell.batch_size,
        gpu,
        benchmark=cell.cudnn_benchmark,
        calibration=calibration_of(gpu.name, gpu.aliases),
        gpus=cell.world_size,
    )
    if found is None:
        return answer
    return replace(
        answer,
        step_seconds=found.seconds,
        samples_per_second=cell.global_samples / found.seconds.median,
        limited_by=found.limited_by,
        kernel_launches=found.kernel_launches,
        flops_per_sample=found.flops_per_sample,
        work=found.work,
        assumptions=(*answer.assumptions, *found.assumptions),
    )


def _assumed(cell: Cell, trace: Trace, need: MemoryProfile, kernels: Kernels | None) -> Iterator[str]:
    yield ONE_PROCESS if cell.world_size == 1 else SEVERAL.format(cell.world_size)
    if cell.world_size > 1:
        yield NCCL
    if kernels is not None and kernels.benchmark:
        yield BENCHMARK_ON
    if kernels is not None and (silent := answers(kernels.architecture)):
        yield NO_CUDNN.format(silent)
    yield from trace.assumptions
    if not need.settled:
        yield f"the reserved memory still grew after {need.steps} steps, so there is no settled figure"
    if trace.carried is None:
        yield "the traced steps could not be repeated, so that later steps may reserve more"
    if "fused_attention" in cell.changes:
        yield ATTENTION
