"""What one `update_policy` takes, from a trace: seconds with their band, what limits it, where they go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from actprof.hardware.gpu import Gpu
from actprof.measurement import Spread
from actprof.results import KindCost, OpCost, StepWork
from actprof.step_time.all_reduce import gradient_bytes, link_of
from actprof.step_time.band import Band, step_band
from actprof.step_time.calibration import Calibration
from actprof.step_time.collectives import sent_bytes, waiting_seconds
from actprof.step_time.step import OPTIMIZER, UPDATE, PlayedStep, play_step
from actprof.step_time.variants import variants_of
from actprof.trace.model import PHASES, Trace
from actprof.units import format_bytes

OPTIMIZER_COMPONENT = "optimizer"
COMMUNICATION = "communication"
_LINK_BAND = 2.0  # what waiting for other GPUs may take, over what is reckoned
_AVERAGED = (
    "{} of gradients are averaged over {} GPUs while the backward pass goes on, over {} at {:.0f} GB/s (an "
    "estimate)"
)
_GATHERED = (
    "{} of parameters and gradients are gathered from and summed over {} GPUs in a step, beside what is "
    "computed, over {} at {:.0f} GB/s (an estimate)"
)


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


def predict_step_time(  # noqa: PLR0913 - what decides a step
    trace: Trace,
    batch_size: int,
    gpu: Gpu,
    *,
    benchmark: bool = True,
    calibration: Calibration | None = None,
    gpus: int = 1,
) -> StepTime | None:
    """Return what one update at `batch_size` takes on `gpu`; None when its bandwidth or FLOP/s are unknown.

    The last step of `trace` is meant. `benchmark`: whether cuDNN's plans are chosen by time; `calibration`:
    what was measured of the machine; `gpus`: how many share the training, each with such a batch.
    """
    step = play_step(trace, batch_size, gpu, benchmark=benchmark, calibration=calibration)
    if step is None or not step.kernels:
        return None
    samples = batch_size * trace.key.get("accumulate", 1)
    alone, link = step.played.seconds, link_of(gpu)
    waiting = None if gpus == 1 else waiting_seconds(step, trace, batch_size, gpus=gpus, link=link)
    total = alone + (waiting or 0.0)
    work = _work(step, trace, batch_size, samples, waiting=waiting)
    limited_by = _limit(step, work)
    band = step_band(gpu.name, host_bound=step.is_host_bound)
    assumptions = _assumptions(gpu, step, band, calibration)
    if gpus > 1:
        shards = sent_bytes(trace, batch_size)
        size = format_bytes(shards or gradient_bytes(step, trace, batch_size))
        said = _GATHERED if shards else _AVERAGED
        assumptions += (said.format(size, gpus, link.name, link.bandwidth / 1e9),)
    return StepTime(
        seconds=Spread(
            low=band.low * alone, median=total, high=band.high * alone + _LINK_BAND * (total - alone)
        ),
        kernel_launches=len(step.kernels),
        flops_per_sample=round(sum(kernel.flops for kernel in step.kernels) / samples),
        limited_by=limited_by,
        work=work,
        assumptions=assumptions,
    )


def _limit(step: PlayedStep, work: StepWork) -> str:
    if max(work.shares, key=lambda name: work.shares[name]) == COMMUNICATION:
        return COMMUNICATION
    if step.is_host_bound:
        return "launches"
    return "arithmetic" if work.shares["arithmetic"] > work.shares["bandwidth"] else "bandwidth"


def _work(
    step: PlayedStep, trace: Trace, batch_size: int, samples: int, *, waiting: float | None
) -> StepWork:
    """Return what the step does with its time; with other GPUs it waits so many seconds for them."""
    played, whole = step.played, _sums(step, range(len(step.kernels)))
    total = played.seconds + (waiting or 0.0)
    return StepWork(
        device_seconds=played.device_seconds,
        host_seconds=played.host_seconds,
        busy_share=played.device_seconds / total,
        bytes_per_sample=round(whole.bytes / samples),
        shares={
            "launches": played.idle_seconds / total,
            "arithmetic": whole.computing / total,
            "bandwidth": (played.device_seconds - whole.computing) / total,
            **({COMMUNICATION: waiting / total} if waiting else {}),
        },
        costliest=_costliest(step, trace),
        kinds=_kinds(step),
        components=_components(step, trace),
        phases=_phases(step, trace),
        host=step.host.name,
        variants=variants_of(step, trace, batch_size, waiting=waiting),
    )


class _Sums(NamedTuple):
    """What some launches come to: seconds, those of them that compute, FLOPs and bytes."""

    seconds: float
    computing: float
    flops: float
    bytes: float


def _sums(step: PlayedStep, members: Sequence[int]) -> _Sums:
    times = [step.times[index] for index in members]
    return _Sums(
        seconds=sum(time.seconds for time in times),
        computing=sum(time.seconds for time in times if time.is_arithmetic),
        flops=sum(step.kernels[index].flops for index in members),
        bytes=sum(step.kernels[index].bytes for index in members),
    )


def _costliest(step: PlayedStep, trace: Trace) -> tuple[OpCost, ...]:
    """Return the ten ops that take most."""
    costs = []
    for name, members in _grouped(trace.ops.names[row] for row in step.rows).items():
        sums = _sums(step, members)
        costs.append(
            OpCost(
                op=name,
                launches=len(members),
                seconds=sums.seconds,
                flops=round(sums.flops),
                bytes=round(sums.bytes),
                bound="arithmetic" if sums.computing > sums.seconds / 2 else "bandwidth",
            )
        )
    return tuple(sorted(costs, key=lambda cost: -cost.seconds)[:10])


def _kinds(step: PlayedStep) -> tuple[KindCost, ...]:
    costs = []
    for kind, members in _grouped(kernel.kind for kernel in step.kernels).items():
        sums = _sums(step, members)
        flops, moved = round(sums.flops), round(sums.bytes)
        costs.append(
            KindCost(kind=kind, kernels=len(members), seconds=sums.seconds, flops=flops, bytes=moved)
        )
    return tuple(sorted(costs, key=lambda cost: -cost.seconds))


def components_of(step: PlayedStep, trace: Trace) -> tuple[str, ...]:
    """Return the component of each launch; `optimizer` is that of what the optimizer does."""
    component = cache(trace.policy.component_of)
    return tuple(
        OPTIMIZER_COMPONENT if trace.ops.phase[row] == OPTIMIZER else component(trace.ops.modules[row])
        for row in step.rows
    )


def _components(step: PlayedStep, trace: Trace) -> Mapping[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for component, time in zip(components_of(step, trace), step.times, strict=True):
        seconds[component] += time.seconds
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
