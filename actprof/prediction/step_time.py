"""Predict the seconds of one `update_policy` from a trace's ops: a roofline per op, launched in order.

Each op takes the device the longer of two times, arithmetic and traffic, at the shares of the peak that
`hardware.efficiency` gives:

    device seconds = max(FLOPs / (share * peak), bytes / (share * bandwidth), kernels * least of a kernel)

The host launches op by op and runs ahead of the device; the device works in the order of launches and waits
when nothing is launched yet; an op whose value the host needs (`.item()`) makes the host wait for the device.
FLOPs are those of `torch.utils.flop_counter`; bytes count every input read and every output written once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.hardware.efficiency import DEFAULT_EFFICIENCY, Efficiency
from actprof.hardware.gpu import Gpu
from actprof.hardware.step_band import Band, step_band
from actprof.measurement import Spread
from actprof.results import OpCost, StepWork
from actprof.trace.model import PHASES, Trace

_UPDATE = tuple(PHASES.index(name) for name in ("forward", "backward", "optimizer"))
_BACKWARD = PHASES.index("backward")
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
LIMITS = ("launches", "arithmetic", "bandwidth")
_HALF = {"bfloat16": "bf16_flops", "float16": "fp16_flops"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """What one `update_policy` takes; `seconds` with the band of what is known.

    Views launch no kernel, a convolution's backward up to three. `limited_by` is what the step waits for
    most; `assumptions` say what is not known of the GPU.
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
    precision: str = "fp32",
    efficiency: Efficiency = DEFAULT_EFFICIENCY,
) -> StepTime | None:
    """Return what one update at `batch_size` takes on `gpu`; None when its bandwidth or FLOP/s are unknown.

    The last step of `trace` is meant. `precision` is that of the matrix products where no dtype was
    recorded: `fp32` (with TF32, as lerobot allows it), `fp16` or `bf16`.
    """
    if gpu.memory_bandwidth_bytes_per_s is None or gpu.fp32_flops is None:
        return None
    rows = update_rows(trace)
    ops = trace.ops
    flops = (ops.flops_constant[rows] + batch_size * ops.flops_per_sample[rows]).astype(np.float64)
    moved = (ops.bytes_constant[rows] + batch_size * ops.bytes_per_sample[rows]).astype(np.float64)
    names = [ops.names[row] for row in rows]
    kernels = ops.kernels[rows]
    arithmetic = flops / _rates(trace, rows, gpu, precision=precision, efficiency=efficiency)
    traffic = moved / (efficiency.bandwidth * gpu.memory_bandwidth_bytes_per_s)
    longest = np.maximum(np.maximum(arithmetic, traffic), kernels * efficiency.kernel_seconds)
    device = np.where(kernels > 0, longest, 0.0)
    host = _host_seconds(trace, rows, names, efficiency)
    total, idle = _play(host, device, ops.sync[rows], efficiency.sync_seconds)
    is_arithmetic = arithmetic > traffic
    samples = batch_size * trace.key.get("accumulate", 1)
    shares = {
        "launches": idle / total,
        "arithmetic": float(device[is_arithmetic].sum()) / total,
        "bandwidth": float(device[~is_arithmetic].sum()) / total,
    }
    band = step_band(gpu.name)
    return StepTime(
        seconds=Spread(low=band.low * total, median=total, high=band.high * total),
        kernel_launches=int(kernels.sum()),
        flops_per_sample=round(float(flops.sum()) / samples),
        limited_by=max(shares, key=lambda name: shares[name]),
        work=StepWork(
            device_seconds=float(device.sum()),
            host_seconds=float(host.sum()),
            busy_share=float(device.sum()) / total,
            bytes_per_sample=round(float(moved.sum()) / samples),
            shares=shares,
            costliest=_costliest(names, device, is_arithmetic, (kernels, flops, moved)),
        ),
        assumptions=_assumptions(gpu, band),
    )


def update_rows(trace: Trace) -> Rows:
    """Return the rows of the ops of the last step's `update_policy`, in order."""
    events = trace.events[trace.step_starts[-1] :]
    born = events[events > 0]
    if not len(born):
        return np.zeros(0, dtype=np.int64)
    first = int(trace.tensors.op[born[0] - 1])
    rows = np.arange(first, len(trace.ops.names))
    return rows[np.isin(trace.ops.phase[rows], _UPDATE)]


def _rates(trace: Trace, rows: Rows, gpu: Gpu, *, precision: str, efficiency: Efficiency) -> Floats:
    """Return the FLOP/s that each op can reach: of tensor cores, by the dtype of what it makes."""
    names = [trace.ops.names[row] for row in rows]
    fp32 = gpu.tf32_flops or gpu.fp32_flops or 1.0  # lerobot allows TF32
    half = {name: getattr(gpu, field) or fp32 for name, field in _HALF.items()}
    default = {"fp32": fp32, "bf16": half["bfloat16"], "fp16": half["float16"]}[precision]
    dtypes = _dtypes(trace)
    peaks = np.array([half.get(dtypes.get(int(row), ""), fp32 if row in dtypes else default) for row in rows])
    shares = [efficiency.attention if "attention" in name else efficiency.product for name in names]
    result: Floats = peaks * np.array(shares)
    return result


def _dtypes(trace: Trace) -> dict[int, str]:
    """Return the dtype of what each op made, by its row, where it was recorded."""
    details = trace.details()
    return {int(row): dtype for row, dtype in zip(trace.tensors.op, details.dtypes, strict=True) if dtype}


def _host_seconds(trace: Trace, rows: Rows, names: list[str], efficiency: Efficiency) -> Floats:
    backward = trace.ops.phase[rows] == _BACKWARD
    seconds = np.where(backward, efficiency.backward_seconds, efficiency.forward_seconds)
    tensors = sum(not parameter.is_buffer for parameter in trace.policy.parameters)
    foreach = np.array([name.startswith("aten._foreach") for name in names])
    # An optimizer has few groups of parameters, and each foreach op takes one of them.
    result: Floats = seconds + np.where(foreach, tensors * efficiency.foreach_seconds, 0.0)
    return result


def _play(host: Floats, device: Floats, sync: NDArray[np.bool_], sync_seconds: float) -> tuple[float, float]:
    """Return (seconds until host and device are done, seconds in which the device had nothing to do)."""
    now = busy_until = idle = 0.0
    for launch, work, waits in zip(host.tolist(), device.tolist(), sync.tolist(), strict=True):
        now += launch
        if work:
            idle += max(now - busy_until, 0.0)
            busy_until = max(now, busy_until) + work
        if waits:
            now = max(now, busy_until) + sync_seconds
    end = max(now, busy_until)
    return end, idle + max(now - busy_until, 0.0)


def _costliest(
    names: list[str], device: Floats, is_arithmetic: NDArray[np.bool_], work: tuple[Rows, Floats, Floats]
) -> tuple[OpCost, ...]:
    """Return the ten ops that take most; `work` is kernels, FLOPs and bytes of each."""
    kernels, flops, moved = work
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        groups[name].append(index)
    costs = []
    for name, members in groups.items():
        seconds = float(device[members].sum())
        computing = float(device[members][is_arithmetic[members]].sum())
        costs.append(
            OpCost(
                op=name,
                launches=int(kernels[members].sum()),
                seconds=seconds,
                flops=round(float(flops[members].sum())),
                bytes=round(float(moved[members].sum())),
                bound="arithmetic" if computing > seconds / 2 else "bandwidth",
            )
        )
    return tuple(sorted(costs, key=lambda cost: -cost.seconds)[:10])


def _assumptions(gpu: Gpu, band: Band) -> tuple[str, ...]:
    said = f"step times rest on data sheets and rules of thumb; {band.source}"
    guessed = any(gpu.is_estimate(name) for name in ("memory_bandwidth_bytes_per_s", "tf32_flops", "specs"))
    return (said, f"the {gpu.name}'s speed is an estimate itself") if guessed else (said,)
