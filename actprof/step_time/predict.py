"""What one `update_policy` takes, from a trace: seconds with their band, what limits it, where they go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from actprof.hardware.gpu import Gpu
from actprof.measurement import Spread
from actprof.results import KindCost, OpCost, StepWork
from actprof.step_time.band import Band, step_band
from actprof.step_time.calibration import Calibration
from actprof.step_time.step import OPTIMIZER, UPDATE, PlayedStep, play_step
from actprof.step_time.variants import variants_of
from actprof.trace.model import PHASES, Trace

OPTIMIZER_COMPONENT = "optimizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """What one `update_policy` takes; `seconds` with the band of what is known.

    `limited_by` is `launches` where the host takes longer than the device, else what the device takes longer
    with; `assumptions` say what is not known of the machine.
    """

    seconds: Spread
    kernel_launches: int
    flops_per_sample: int
    limited_by: str
    work: StepWork
    assumptions: tuple[str, ...] = ()


def predict_step_time(
    trace: Trace,
    batch_size: int,
    gpu: Gpu,
    *,
    benchmark: bool = True,
    calibration: Calibration | None = None,
) -> StepTime | None:
    """Return what one update at `batch_size` takes on `gpu`; None when its bandwidth or FLOP/s are unknown.

    The last step of `trace` is meant. `benchmark`: whether cuDNN's plans are chosen by time; `calibration`:
    what was measured of the machine.
    """
    step = play_step(trace, batch_size, gpu, benchmark=benchmark, calibration=calibration)
    if step is None or not step.kernels:
        return None
    played = step.played
    limited_by = _limit(step)
    band = step_band(gpu.name, host_bound=limited_by == "launches")
    total = played.seconds
    samples = batch_size * trace.key.get("accumulate", 1)
    return StepTime(
        seconds=Spread(low=band.low * total, median=total, high=band.high * total),
        kernel_launches=len(step.kernels),
        flops_per_sample=round(sum(kernel.flops for kernel in step.kernels) / samples),
        limited_by=limited_by,
        work=_work(step, trace, batch_size, samples),
        assumptions=_assumptions(gpu, step, band, calibration),
    )


def _limit(step: PlayedStep) -> str:
    if step.played.host_seconds > step.played.device_seconds:
        return "launches"
    computing = sum(time.seconds for time in step.times if time.is_arithmetic)
    return "arithmetic" if computing > step.played.device_seconds / 2 else "bandwidth"


def _work(step: PlayedStep, trace: Trace, batch_size: int, samples: int) -> StepWork:
    played = step.played
    computing = sum(time.seconds for time in step.times if time.is_arithmetic)
    moved = sum(kernel.bytes for kernel in step.kernels)
    return StepWork(
        device_seconds=played.device_seconds,
        host_seconds=played.host_seconds,
        busy_share=played.device_seconds / played.seconds,
        bytes_per_sample=round(moved / samples),
        shares={
            "launches": played.idle_seconds / played.seconds,
            "arithmetic": computing / played.seconds,
            "bandwidth": (played.device_seconds - computing) / played.seconds,
        },
        costliest=_costliest(step, trace),
        kinds=_kinds(step),
        components=_components(step, trace),
        phases=_phases(step, trace),
        host=step.host.name,
        variants=variants_of(step, trace, batch_size),
    )


def _costliest(step: PlayedStep, trace: Trace) -> tuple[OpCost, ...]:
    """Return the ten ops that take most."""
    costs = []
    for name, members in _grouped(trace.ops.names[row] for row in step.rows).items():
        seconds = sum(step.times[index].seconds for index in members)
        computing = sum(step.times[index].seconds for index in members if step.times[index].is_arithmetic)
        costs.append(
            OpCost(
                op=name,
                launches=len(members),
                seconds=seconds,
                flops=round(sum(step.kernels[index].flops for index in members)),
                bytes=round(sum(step.kernels[index].bytes for index in members)),
                bound="arithmetic" if computing > seconds / 2 else "bandwidth",
            )
        )
    return tuple(sorted(costs, key=lambda cost: -cost.seconds)[:10])


def _kinds(step: PlayedStep) -> tuple[KindCost, ...]:
    costs = [
        KindCost(
            kind=kind,
            kernels=len(members),
            seconds=sum(step.times[index].seconds for index in members),
            flops=round(sum(step.kernels[index].flops for index in members)),
            bytes=round(sum(step.kernels[index].bytes for index in members)),
        )
        for kind, members in _grouped(kernel.kind for kernel in step.kernels).items()
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.seconds))


def _components(step: PlayedStep, trace: Trace) -> Mapping[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    component = cache(trace.policy.component_of)
    for row, time in zip(step.rows, step.times, strict=True):
        is_optimizer = trace.ops.phase[row] == OPTIMIZER
        seconds[OPTIMIZER_COMPONENT if is_optimizer else component(trace.ops.modules[row])] += time.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _phases(step: PlayedStep, trace: Trace) -> Mapping[str, tuple[float, float]]:
    phases = {phase: [0.0, 0.0] for phase in UPDATE}
    for row, launch in zip(step.rows, step.launches, strict=True):
        both = phases[int(trace.ops.phase[row])]
        both[0] += launch.host
        both[1] += launch.device
    return {PHASES[phase]: (host, device) for phase, (host, device) in phases.items()}


def _grouped(names: Iterable[str]) -> Mapping[str, list[int]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        groups[name].append(index)
    return groups


def _assumptions(gpu: Gpu, step: PlayedStep, band: Band, calibration: Calibration | None) -> tuple[str, ...]:
    if calibration is not None and calibration.factors:
        said = f"step times rest on a calibration of the {gpu.name}; {band.source}"
    else:
        said = f"step times rest on kernels profiled on one H100, carried over by data sheets; {band.source}"
    host = f"launching is taken to cost as much as on: {step.host.name}"
    guessed = any(gpu.is_estimate(name) for name in ("memory_bandwidth_bytes_per_s", "tf32_flops", "specs"))
    return (said, host, *([f"the {gpu.name}'s speed is an estimate itself"] if guessed else []))
