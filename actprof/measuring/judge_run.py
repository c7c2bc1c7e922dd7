"""From what a run on a GPU found to its memory figures and its verdict. Pure logic."""

from __future__ import annotations

from dataclasses import replace

from actprof.allocator import AllocatorConfig
from actprof.cell import Cell
from actprof.measurement import CardUse, DeviceFacts, Measurement, StepMemory
from actprof.measuring.card_use import DRIVER_BYTES
from actprof.prediction.verdict import Judgement, judge
from actprof.replay.profile import MemoryProfile
from actprof.results import GpuUse, Result, Verdict

# The optimizer's state appears at the end of step 1, so that step 2 is the first whole one; a third tells
# whether it is like every later one. A run of fewer steps may run out in the next.
LEAST_STEPS = 3
_LEAST_SETTLED = 2


def judge_run(result: Result, measurement: Measurement, device: DeviceFacts) -> Result:
    """Return the result of a run on a GPU with its memory and verdict.

    `fits` is not said of a run that says too little: one of fewer than three steps, or one whose reserved
    memory still grew in its last step. It is `tight`, with the reason.
    """
    oom, playing = result.oom, measurement.cap_bytes is not None
    settled = settled_steps(measurement)
    # a card that plays another has a context of its own, which is not what the cap leaves room for
    context = result.gpu.context_bytes if playing else measurement.context_bytes or result.gpu.context_bytes
    capacity = result.gpu.capacity_bytes if playing else device.total_bytes
    profile = MemoryProfile(
        batch_size=result.cell.batch_size,
        steps=len(settled),
        peak_allocated_bytes=settled[-1].peak_allocated_bytes if settled else 0,
        peak_reserved_bytes=settled[-1].peak_reserved_bytes if settled else 0,
        most_reserved_bytes=_most_reserved(result, settled),
        peak_requested_bytes=0,
        retries=sum(step.retries for step in settled) if oom is None else measurement.allocator_retries,
        oom=oom,
    )
    gpu = replace(result.gpu, capacity_bytes=capacity, context_bytes=context)
    available = _available(result.cell, measurement, gpu)
    judged = judge(profile, profile, capacity_bytes=capacity, available_bytes=available)
    judged = _unless_in_doubt(judged, measurement.step_memory)
    return replace(
        result,
        gpu=gpu,
        peak_allocated_bytes=profile.peak_allocated_bytes,
        peak_reserved_bytes=profile.peak_reserved_bytes,
        peak_process_bytes=profile.peak_reserved_bytes + context,
        verdict=judged.verdict,
        reason=judged.reason,
        headroom_bytes=judged.headroom_bytes,
        retries=profile.retries,
    )


def settled_steps(measurement: Measurement) -> tuple[StepMemory, ...]:
    """Return the steps that are judged: without the first one where cuDNN tries its plans in it.

    A plan that finds no room flushes the cache and fills the card, but cuDNN takes another one: as in a
    prediction, that says nothing of the run. The spike and the flushes of the whole run are told apart.
    """
    steps = measurement.step_memory
    return steps[1:] if measurement.cudnn_benchmark and len(steps) > 1 else steps


def context_bytes(measurement: Measurement, card: CardUse | None) -> int:
    """Return what the process held beside its segments at the end; 0 where that cannot be told.

    The last look at the card was in the last steps, when the reserved bytes stood at their peak: not so where
    the run flushed its cache, nor in the first step.
    """
    settled = settled_steps(measurement)
    if card is None or len(settled) < _LEAST_SETTLED or any(step.retries for step in settled):
        return 0
    return max(card.last_bytes - settled[-1].peak_reserved_bytes, 0)


def _most_reserved(result: Result, settled: tuple[StepMemory, ...]) -> int:
    most = max((step.peak_reserved_bytes for step in settled), default=0)
    return most if result.oom is None else max(most, result.oom.reserved_bytes + result.oom.segment_bytes)


def _available(cell: Cell, measurement: Measurement, gpu: GpuUse) -> int:
    """Return what the run's segments could have."""
    if measurement.cap_bytes is not None:
        return measurement.cap_bytes
    card = measurement.card
    others = cell.used_by_others_bytes
    if card is not None:  # in a container others are not listed, but what they hold was gone before the run
        others = max(card.others_bytes, card.idle_bytes - DRIVER_BYTES)
    config = AllocatorConfig.parse(cell.alloc_conf)
    return config.capped_bytes(gpu.available_bytes(others), gpu.capacity_bytes)


def _unless_in_doubt(judged: Judgement, steps: tuple[StepMemory, ...]) -> Judgement:
    if judged.verdict != Verdict.FITS:
        return judged
    if len(steps) < LEAST_STEPS:
        ran = "1 step was" if len(steps) == 1 else f"{len(steps)} steps were"
        doubt = f"only {ran} run, and a later one may need more"
    elif steps[-1].peak_reserved_bytes > steps[-2].peak_reserved_bytes:
        doubt = f"its reserved memory still grew in step {len(steps)}, the last one"
    else:
        return judged
    return replace(judged, verdict=Verdict.TIGHT, reason=f"{judged.reason}, but {doubt}")
