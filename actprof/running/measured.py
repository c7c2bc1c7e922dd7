"""What a run's log and its card say together: a measured `Result`, and what limits the run now. Pure logic.

What limits it: data, where a step waits for its batch for more than a tenth of its time (with workers beside
it the loop then goes at the pace of loading); else the device where kernels run nine tenths of the time, by
NVML, and the host where not. Where NVML is silent the prediction tells the two apart.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import replace

from actprof.cell import Cell
from actprof.hardware import LocalGpu, builtin_catalogue
from actprof.loading.feed import DATA
from actprof.measurement import CardUse, DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory, parse_message
from actprof.prediction.verdict import HEADROOM_SHARE
from actprof.results import MEASURED, Result, Verdict
from actprof.running.training_log import MEMORY_RESOLUTION_BYTES, LogLine, TrainingLog, settled
from actprof.units import format_bytes

HOST, DEVICE, PROCESSOR = "host", "device", "processor"
_WAITING_SHARE = 0.1  # of a step, from which on data limits it
_BUSY_SHARE = 0.9  # of the time, from which on the device does
_LATEST = 5  # lines that say what limits the run now


def limit_now(log: TrainingLog, card: CardUse | None, predicted: Result | None, *, on_cuda: bool) -> str:
    """Return what the last lines wait for; empty where nobody knows."""
    if not log.lines:
        return ""
    if waiting_share(settled(log.lines)[-_LATEST:]) > _WAITING_SHARE:
        return DATA
    if not on_cuda:
        return PROCESSOR
    if card is not None and card.busy_share is not None:
        return DEVICE if card.busy_share >= _BUSY_SHARE else HOST
    if predicted is None or not predicted.limited_by:
        return ""
    return HOST if predicted.limited_by == "launches" else DEVICE


def waiting_share(lines: Sequence[LogLine]) -> float:
    """Return which share of the steps' time, 0 to 1, is spent waiting for data."""
    whole = sum(line.step_seconds for line in lines)
    return sum(line.data_seconds for line in lines) / whole if whole else 0.0


def cell_here(cell: Cell, gpu: LocalGpu | None) -> Cell:
    """Return the predicted cell on the card that it ran on, where the question was about another."""
    if gpu is None:
        return cell
    known = gpu.identify(builtin_catalogue())
    if known is not None and known.name == cell.gpu:
        return cell
    if known is not None:
        return replace(cell, gpu=known.name, capacity_bytes=None)
    return replace(cell, gpu=None, capacity_bytes=gpu.as_card(builtin_catalogue()).capacity_bytes)


def measured_result(
    predicted: Result, log: TrainingLog, measurement: Measurement, *, code: int | None, device: DeviceFacts
) -> Result:
    """Return what was measured of a run whose prediction is known.

    Args:
        predicted: of its cell, on the card that it ran on (see `cell_here`).
        log: what it printed.
        measurement: with what NVML saw, its command and its date.
        code: its exit code; None while it goes on.
        device: that it is on (see `device_facts`).
    """
    lines = settled(log.lines)
    memory = [line.memory_bytes for line in lines if line.memory_bytes is not None]
    updates = [line.update_seconds for line in lines]
    result = Result(
        source=MEASURED,
        cell=predicted.cell,
        gpu=predicted.gpu,
        parameters=predicted.parameters,
        peak_allocated_bytes=max(memory, default=0),
        peak_process_bytes=0 if measurement.card is None else measurement.card.last_bytes,
        step_seconds=Spread.of(updates) if updates else None,
        samples_per_second=_rate(lines, predicted.cell.batch_size * predicted.cell.world_size),
        flops_per_sample=predicted.flops_per_sample,
        device=device,
        measurement=replace(
            measurement,
            warmup_steps=log.lines[0].step if len(log.lines) > 1 else 0,
            steps=log.step,
            data_seconds=Spread.of([line.data_seconds for line in lines]) if lines else None,
            cudnn_benchmark=predicted.cell.cudnn_benchmark,
            resolution_bytes={"allocated": MEMORY_RESOLUTION_BYTES} if memory else {},
        ),
    )
    return _judged(result, log, code)


def device_facts(gpu: LocalGpu | None, named: str) -> DeviceFacts:
    """Return the device of a run: the GPU that NVML knows, else the one `named`, or the processor."""
    if gpu is None and named:
        return DeviceFacts(type="cuda", name=named)
    if gpu is None:
        return DeviceFacts(type="cpu", name=platform.processor() or platform.machine())
    return DeviceFacts(
        type="cuda", name=gpu.short_name, index=gpu.index, total_bytes=gpu.total_bytes,
        compute_capability=gpu.compute_capability, driver=gpu.driver,
    )  # fmt: skip


def _rate(lines: Sequence[LogLine], samples: int) -> float | None:
    return samples / statistics.median(line.step_seconds for line in lines) if lines else None


def _judged(result: Result, log: TrainingLog, code: int | None) -> Result:
    """Return the result with its verdict: what became of the run, and how much it left of the card."""
    if code and log.out_of_memory:
        oom = _ran_out(log)
        return replace(
            result, verdict=Verdict.OOM, oom=oom, reason=f"it ran out of memory in step {oom.step}"
        )
    if not log.step:
        how = "it has not done a step" if code is None else f"it ended with exit code {code} before a step"
        return replace(result, verdict=Verdict.UNKNOWN if code is None else Verdict.FAILED, reason=how)
    ran = f"it ran {log.step:,} steps"
    if not result.peak_process_bytes:
        return replace(result, verdict=Verdict.FITS, reason=ran)
    capacity = result.gpu.capacity_bytes
    left = capacity - result.peak_process_bytes - result.cell.used_by_others_bytes
    verdict = Verdict.FITS if left >= HEADROOM_SHARE * capacity else Verdict.TIGHT
    reason = f"{ran} with {format_bytes(left)} to spare"
    return replace(result, verdict=verdict, headroom_bytes=left, reason=reason)


def _ran_out(log: TrainingLog) -> OutOfMemory:
    said = parse_message(log.out_of_memory)
    allocated = said.get("allocated", 0)
    return OutOfMemory(
        step=log.step + 1, phase="", module="", op="", requested_bytes=0,
        segment_bytes=said.get("tried", 0), allocated_bytes=allocated,
        reserved_bytes=allocated + said.get("unused", 0), message=log.out_of_memory,
    )  # fmt: skip
