"""Predict one cell without a GPU: trace, replay, verdict, boundary, attribution, in that order."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from actprof.allocator import AllocatorConfig
from actprof.cell import Cell
from actprof.cudnn import answers
from actprof.errors import TraceError, UsageError
from actprof.hardware import (
    Catalogue,
    Gpu,
    builtin_catalogue,
    cublas_workspace_bytes,
    cublaslt_workspace,
    custom_gpu,
)
from actprof.prediction.attribution import attribute
from actprof.prediction.curve import thin
from actprof.prediction.largest_batch import largest_batch, surely_largest
from actprof.prediction.plan_band import Band, memory_band
from actprof.prediction.step_time import predict_step_time
from actprof.prediction.verdict import Judgement, compiled_reason, judge
from actprof.replay.kernel_bytes import Kernels, architecture_of
from actprof.replay.profile import MemoryProfile
from actprof.replay.program import Workspaces
from actprof.replay.replay import Device, replay
from actprof.results import PREDICTED, GpuUse, Result, Timing
from actprof.trace.cache import trace_for
from actprof.trace.model import Trace
from actprof.versions import library_versions, torch_version

ASSUMPTIONS = (
    "one process on one GPU, batches from a data loader with the video frames of a LeRobotDataset",
)


BENCHMARK_ON = (
    "cudnn.benchmark is on, as lerobot sets it: cuDNN times its plans in the first step and keeps the "
    "fastest, so that repeated runs differ; the figures are of the likely plans, the band of others drawn"
)
NO_CUDNN = (
    "no cuDNN here answers for that GPU ({}), so convolutions count with the copies that tensor cores want: "
    "an estimate of their workspaces"
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

    Attributes:
        unlimited, limited: replays with detail, without limit and on the device; the same one where the
            limit makes no difference.
    """

    result: Result
    device: Device
    trace: Trace | None = None
    unlimited: MemoryProfile | None = None
    limited: MemoryProfile | None = None


def predict_in_full(cell: Cell, *, catalogue: Catalogue | None = None) -> Prediction:
    """Return what `predict_cell` does, with trace and replays.

    Raises:
        UsageError: as `predict_cell`.
    """
    gpu = gpu_of(cell, catalogue or builtin_catalogue())
    config = AllocatorConfig.parse(cell.alloc_conf)
    device = device_of(gpu, cell)
    base = unknown_result(cell, "", catalogue=catalogue)
    if reason := _unknown_kernel(cell, gpu):
        return Prediction(result=replace(base, reason=reason), device=device)
    start = time.perf_counter()
    try:
        trace, cached = trace_for(cell)
    except TraceError as error:
        return Prediction(result=replace(base, reason=str(error)), device=device)
    traced = time.perf_counter()
    run = _run(trace, cell.batch_size, config, device, detail=True)
    if cell.compiled:
        eager = run.unlimited.peak_reserved_bytes + device.context_bytes
        return Prediction(result=replace(base, reason=compiled_reason(eager)), device=device)
    answer = _timed(_answer(base, trace, config, device, run), trace, gpu)
    timing = Timing(
        trace_seconds=traced - start, replay_seconds=time.perf_counter() - traced, trace_cached=cached
    )
    return Prediction(
        result=replace(answer, timing=timing),
        device=device,
        trace=trace,
        unlimited=run.unlimited,
        limited=run.limited,
    )


def unknown_result(cell: Cell, reason: str, *, catalogue: Catalogue | None = None) -> Result:
    """Return what is told of a cell of which nothing is known."""
    gpu = gpu_of(cell, catalogue or builtin_catalogue())
    capacity = cell.capacity_bytes or gpu.capacity_bytes
    use = GpuUse(name=gpu.name, capacity_bytes=capacity, context_bytes=gpu.context_bytes)
    return Result(source=PREDICTED, cell=cell, gpu=use, reason=reason, versions=library_versions())


def _unknown_kernel(cell: Cell, gpu: Gpu) -> str:
    """Return why the trace of `cell` does not hold on `gpu`, or nothing: half precision has older kernels."""
    half = cell.autocast != "fp32"
    if not half or "fused_attention" not in cell.changes or gpu.compute_capability >= _FLASH_CAPABILITY:
        return ""
    major, minor = gpu.compute_capability
    return (
        f"a GPU of compute capability {major}.{minor} takes other attention kernels in half precision than "
        "those that are traced; leave out fused_attention, or take fp32"
    )


def gpu_of(cell: Cell, catalogue: Catalogue) -> Gpu:
    """Return the cell's GPU; one of which only the capacity is given is stood in for.

    Raises:
        UsageError: the cell names no GPU and no capacity, or a GPU that nobody knows.
    """
    if cell.gpu is not None:
        return catalogue.find(cell.gpu)
    if cell.capacity_bytes is None:
        raise UsageError("name a GPU (see `actprof gpus`), or give its capacity, like 24GiB")
    return custom_gpu(cell.capacity_bytes)


def device_of(gpu: Gpu, cell: Cell) -> Device:
    """Return the memory that the cell's run has on `gpu`."""
    lt = cublaslt_workspace(torch_version())
    return Device(
        capacity_bytes=cell.capacity_bytes or gpu.capacity_bytes,
        context_bytes=gpu.context_bytes,
        used_by_others_bytes=cell.used_by_others_bytes,
        workspaces=Workspaces(
            cublas_bytes=cublas_workspace_bytes(gpu, torch_version()),
            cublaslt_bytes=lt.size_bytes,
            cublaslt_lifetime=lt.lifetime,
        ),
        torch_version=torch_version(),
        kernels=Kernels(architecture=architecture_of(gpu), benchmark=cell.cudnn_benchmark),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One batch size on one device: on it, and on one like it without limit."""

    unlimited: MemoryProfile
    limited: MemoryProfile
    band: Band
    judged: Judgement


def _answer(base: Result, trace: Trace, config: AllocatorConfig, device: Device, run: _Run) -> Result:
    need = run.unlimited
    largest = largest_batch(base.cell, trace, config, device)
    return replace(
        base,
        parameters=trace.policy.parameter_count,
        encoder_tokens=trace.policy.encoder_tokens,
        peak_allocated_bytes=need.peak_allocated_bytes,
        peak_reserved_bytes=need.peak_reserved_bytes,
        peak_process_bytes=need.peak_reserved_bytes + device.context_bytes,
        peak_allocated_band_bytes=run.band.allocated,
        peak_reserved_band_bytes=run.band.reserved,
        verdict=run.judged.verdict,
        reason=run.judged.reason,
        headroom_bytes=run.judged.headroom_bytes,
        retries=run.limited.retries,
        max_batch_size=largest,
        surely_fits_batch_size=surely_largest(base.cell, trace, config, device, at_most=largest),
        oom=run.limited.oom,
        breakdown=attribute(trace, run.limited, device.program(trace, run.limited.batch_size)),
        curve=None if need.timeline is None else thin(need.timeline),
        assumptions=(*ASSUMPTIONS, *_assumed(trace, need, device), *_attention(base.cell)),
        flops_per_sample=trace.flops(base.cell.batch_size) // base.cell.batch_size,
    )


def _timed(answer: Result, trace: Trace, gpu: Gpu) -> Result:
    """Return the answer with what a step takes, where the speed of the GPU is known."""
    cell = answer.cell
    found = predict_step_time(trace, cell.batch_size, gpu, precision=cell.autocast)
    if found is None:
        return answer
    return replace(
        answer,
        step_seconds=found.seconds,
        samples_per_second=cell.batch_size / found.seconds.median,
        limited_by=found.limited_by,
        kernel_launches=found.kernel_launches,
        flops_per_sample=found.flops_per_sample,
        work=found.work,
        assumptions=(*answer.assumptions, *found.assumptions),
    )


def _attention(cell: Cell) -> tuple[str, ...]:
    return (ATTENTION,) if "fused_attention" in cell.changes else ()


def _assumed(trace: Trace, need: MemoryProfile, device: Device) -> tuple[str, ...]:
    assumed = (*_plans_assumed(device), *trace.assumptions)
    if not need.settled:
        assumed += (
            f"the reserved memory still grew after {need.steps} steps, so there is no settled figure",
        )
    if trace.carried is None:
        assumed += ("the traced steps could not be repeated, so that later steps may reserve more",)
    return assumed


def _plans_assumed(device: Device) -> tuple[str, ...]:
    kernels = device.kernels
    if kernels is None:
        return ()
    silent = answers(kernels.architecture)
    return ((BENCHMARK_ON,) if kernels.benchmark else ()) + ((NO_CUDNN.format(silent),) if silent else ())


def _run(
    trace: Trace, batch_size: int, config: AllocatorConfig, device: Device, *, detail: bool = False
) -> _Run:
    """Replay without limit and, where that could make a difference, on the device."""
    available = _allowed(device, config)
    boundless = replace(device, capacity_bytes=None)
    unlimited = replay(trace, batch_size, config=_unfettered(config), device=boundless, detail=detail)
    limited = unlimited
    if unlimited.most_reserved_bytes > available or config != _unfettered(config):
        limited = replay(trace, batch_size, config=config, device=device, detail=detail)
    band = memory_band(trace, _unfettered(config), boundless, unlimited)
    judged = judge(
        unlimited,
        limited,
        capacity_bytes=device.capacity_bytes or 0,
        available_bytes=available,
        most_reserved_bytes=band.most_reserved_bytes,
    )
    return _Run(unlimited, limited, band, judged)


def _allowed(device: Device, config: AllocatorConfig) -> int:
    """Return what the run's segments can have: what is left of the device, or the memory fraction's cap."""
    available = device.available_bytes or 0
    fraction = config.per_process_memory_fraction
    if fraction is None or fraction >= 1:
        return available
    return min(available, int(fraction * (device.capacity_bytes or 0)))


def _unfettered(config: AllocatorConfig) -> AllocatorConfig:
    """Return the settings without those that need a device of finite size to mean anything."""
    return replace(config, per_process_memory_fraction=None, garbage_collection_threshold=0.0)
