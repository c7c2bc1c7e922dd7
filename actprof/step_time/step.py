"""One predicted update: every kernel that it launches, what each takes, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actprof.hardware.gpu import Gpu
from actprof.replay.kernel_bytes import architecture_of
from actprof.step_time.calibration import Calibration
from actprof.step_time.host import Host, default_host
from actprof.step_time.kernel import Kernel
from actprof.step_time.kernel_time import KernelTime, card_of, kernel_time
from actprof.step_time.launches import launches_of
from actprof.step_time.play import Launch, Played, play
from actprof.step_time.rates import default_rates
from actprof.trace.model import PHASES, Ints, Trace

FORWARD, BACKWARD, OPTIMIZER = (PHASES.index(name) for name in ("forward", "backward", "optimizer"))
UPDATE = (FORWARD, BACKWARD, OPTIMIZER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedStep:
    """A step, launch by launch.

    Attributes:
        rows: of each launch, the row of its op in the trace.
        kernels, times: of each, its kernel and what that takes.
        launches: of each, what it costs the host and the device.
        played: when they happened.
        host: that launched.
    """

    rows: tuple[int, ...]
    kernels: tuple[Kernel, ...]
    times: tuple[KernelTime, ...]
    launches: tuple[Launch, ...]
    played: Played
    host: Host

    @property
    def is_host_bound(self) -> bool:
        """Whether the host takes longer than the device."""
        return self.played.host_seconds > self.played.device_seconds

    def with_host(self, host: Host) -> Played:
        """Return the same step as another host plays it, which is as many times as fast in everything."""
        faster = host.forward / self.host.forward
        launches = [Launch(one.host * faster, one.device, one.waits) for one in self.launches]
        return play(launches, gap=default_rates().gap, wait=host.wait, around=host.step)


def update_rows(trace: Trace) -> Ints:
    """Return the rows of the ops of the last step's `update_policy`, in order."""
    events = trace.events[trace.step_starts[-1] :]
    born = events[events > 0]
    if not len(born):
        return np.zeros(0, dtype=np.int64)
    first = int(trace.tensors.op[born[0] - 1])
    rows = np.arange(first, len(trace.ops.names))
    return rows[np.isin(trace.ops.phase[rows], UPDATE)]


def play_step(
    trace: Trace,
    batch_size: int,
    gpu: Gpu,
    *,
    benchmark: bool = True,
    calibration: Calibration | None = None,
) -> PlayedStep | None:
    """Return the last update of `trace` on `gpu`; None when its bandwidth or FLOP/s are unknown.

    Args:
        trace: of the step.
        batch_size: of the step.
        gpu: that works.
        benchmark: whether cuDNN's plans are chosen by time.
        calibration: what was measured of the machine; None for what stands for any other.
    """
    card = card_of(gpu)
    if card is None:
        return None
    calibration = calibration or Calibration()
    host, rates = calibration.host or default_host(), default_rates()
    update = update_rows(trace)
    ops = launches_of(trace, update, batch_size, architecture_of(gpu), benchmark=benchmark)
    each = {FORWARD: host.forward, BACKWARD: host.backward, OPTIMIZER: host.optimizer}
    lists = _host_of_lists(trace, update, host)
    known: dict[Kernel, KernelTime] = {}
    rows: list[int] = []
    kernels: list[Kernel] = []
    launches: list[Launch] = []
    phases, syncs = trace.ops.phase.tolist(), trace.ops.sync.tolist()
    for op in ops:
        cost = each[phases[op.row]]
        for place, kernel in enumerate(op.kernels):
            if kernel not in known:
                known[kernel] = calibration.corrected(kernel, kernel_time(kernel, card, rates))
            last = place == len(op.kernels) - 1
            waits = last and syncs[op.row]
            launches.append(
                Launch(cost + (0.0 if place else lists.get(op.row, 0.0)), known[kernel].seconds, waits)
            )
            rows.append(op.row)
            kernels.append(kernel)
    played = play(launches, gap=rates.gap, wait=host.wait, around=host.step)
    times = tuple(known[kernel] for kernel in kernels)
    return PlayedStep(
        rows=tuple(rows),
        kernels=tuple(kernels),
        times=times,
        launches=tuple(launches),
        played=played,
        host=host,
    )


def _host_of_lists(trace: Trace, update: Ints, host: Host) -> dict[int, float]:
    """Return what the ops on lists of all parameters cost the host besides, by row: shared out evenly."""
    rows = [
        row
        for row in update.tolist()
        if trace.ops.phase[row] == OPTIMIZER
        and trace.ops.names[row].startswith(("aten._foreach", "aten._fused"))
    ]
    tensors = sum(parameter.trainable and not parameter.is_buffer for parameter in trace.policy.parameters)
    return {row: tensors * host.tensor / len(rows) for row in rows}
