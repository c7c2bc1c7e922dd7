"""Run training steps of one workload on one device, and take their time and memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import walk_tb
from types import TracebackType
from typing import Any

import torch

from actprof.measurement import Measurement, Spread, StepMemory
from actprof.measuring.request import Request
from actprof.measuring.run_device import RunDevice
from actprof.out_of_memory import OutOfMemory, parse_message
from actprof.policies.accelerator import PhaseContext
from actprof.policies.adapter import own_modules

# Builds the workload; its accelerator enters the phases of the clock.
Build = Callable[[PhaseContext], Any]
# What the libraries raise where the device's memory is at an end and nobody asked PyTorch's allocator.
_WITHOUT_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
# cuDNN's plans were tried one after the other; that each failed for memory shows in the allocator's counter.
_NO_PLAN = "unable to find an engine to execute this computation"


class StepClock:
    """Seconds by phase of each step: wall clock for data and update, the device's clock inside.

    A phase inside another one (the backward of the first half of a batch, which runs in its forward) is taken
    off that. A step of several batches has the seconds of all.
    """

    def __init__(self, device: RunDevice) -> None:
        self._device = device
        self._since: Any = None  # when the present phase began, or went on
        self._spans: list[tuple[str, Any, Any]] = []  # (phase, from, to) of the step
        self._wall: defaultdict[str, float] = defaultdict(float)
        self._current = "setup"
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of phase `name`."""
        name = "data" if name == "more data" else name
        start, before = time.perf_counter(), self._current
        self._cut(name)
        yield  # not in a try: after an error the phase stays as it was, and the step is not counted
        self._cut(before)
        self._wall[name] += time.perf_counter() - start

    def _cut(self, phase: str) -> None:
        now = self._device.mark()
        self._spans.append((self._current, self._since, now))
        self._current, self._since = phase, now

    @property
    def phase_name(self) -> str:
        """The present phase; what an update does besides its parts is the optimizer's step."""
        return "optimizer" if self._current == "update" else self._current

    def end_step(self) -> None:
        """Wait for the device and write the step's seconds down."""
        waited = time.perf_counter()
        self._device.synchronize()
        waited = time.perf_counter() - waited
        self.seconds["data"].append(self._wall["data"])
        self.seconds["update"].append(self._wall["update"] + waited)
        between = self._device.seconds_between
        for name in ("forward", "backward"):
            spans = [(start, end) for phase, start, end in self._spans if phase == name]
            self.seconds[name].append(sum(between(start, end) for start, end in spans))
        after = max(index for index, span in enumerate(self._spans) if span[0] == "backward")
        self.seconds["optimizer"].append(between(self._spans[after][2], self._spans[-1][2]))
        self._spans.clear()
        self._wall.clear()


@dataclass(slots=True)
class StepsTaken:
    """What some steps gave; `workload` is None when it could not be built."""

    clock: StepClock
    warmup_steps: int
    workload: Any = None
    memory: list[StepMemory] = field(default_factory=list)
    oom: OutOfMemory | None = None

    @property
    def timed(self) -> int:
        """Number of steps after the warm-up."""
        return max(len(self.clock.seconds["update"]) - self.warmup_steps, 0)

    def spread(self, name: str) -> Spread | None:
        """Return the seconds of a phase over the timed steps; None when there was none."""
        values = self.clock.seconds[name][self.warmup_steps :]
        return Spread.of(values) if values else None


def take_steps(request: Request, device: RunDevice, build: Build) -> StepsTaken:
    """Build the workload and step until the request is satisfied or the memory is not.

    Raises:
        UsageError: lerobot refuses the policy's config.
    """
    taken = StepsTaken(StepClock(device), request.warmup_steps if request.steps is None else 0)
    try:
        taken.workload = build(taken.clock.phase)
        device.synchronize()
        started = time.perf_counter()
        while not _is_enough(request, taken, time.perf_counter() - started):
            taken.workload.step(taken.clock.phase)
            taken.clock.end_step()
            taken.memory.append(_step_memory(device, taken))
            if len(taken.memory) == taken.warmup_steps:
                started = time.perf_counter()
    except RuntimeError as error:
        if not is_out_of_memory(error, ooms=device.memory().ooms):
            raise
        policy = getattr(taken.workload, "policy", None)
        step = len(taken.memory) + 1 if policy is not None else 0
        taken.oom = describe_failure(error, step=step, phase=taken.clock.phase_name, policy=policy)
    return taken


def _is_enough(request: Request, taken: StepsTaken, seconds: float) -> bool:
    if request.steps is not None:
        return taken.timed >= request.steps
    if taken.timed < request.least_steps:
        return False
    return taken.timed >= request.most_steps or seconds >= request.most_seconds


def _step_memory(device: RunDevice, taken: StepsTaken) -> StepMemory:
    memory = device.memory()
    return StepMemory(
        peak_allocated_bytes=memory.peak_allocated_bytes,
        peak_reserved_bytes=memory.peak_reserved_bytes,
        retries=memory.retries - sum(step.retries for step in taken.memory),
    )


def summarise(taken: StepsTaken, request: Request, device: RunDevice) -> Measurement:
    """Return the measurement that some steps amount to."""
    memory = device.memory()
    reserved = [step.peak_reserved_bytes for step in taken.memory]
    return Measurement(
        warmup_steps=taken.warmup_steps,
        steps=taken.timed,
        data_seconds=taken.spread("data"),
        forward_seconds=taken.spread("forward"),
        backward_seconds=taken.spread("backward"),
        optimizer_seconds=taken.spread("optimizer"),
        step_memory=tuple(taken.memory) if device.torch_device.type == "cuda" else (),
        spike_reserved_bytes=max(reserved) - reserved[-1] if reserved else 0,
        allocator_retries=memory.retries,
        allocator_ooms=memory.ooms,
        cap_bytes=request.cap_bytes,
        cudnn_benchmark=request.cell.cudnn_benchmark,
    )


def is_out_of_memory(error: BaseException, *, ooms: int) -> bool:
    """Tell whether `error` says that the device's memory is at an end, in PyTorch's words or a library's.

    `ooms` is the allocator's `num_ooms`: requests that it refused so far.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    message = str(error)
    return any(text in message for text in _WITHOUT_MEMORY) or (_NO_PLAN in message and ooms > 0)


def describe_failure(error: BaseException, *, step: int, phase: str, policy: Any) -> OutOfMemory:
    """Return the record of an error for which `is_out_of_memory` holds, in a step (0: while it is set up).

    `requested_bytes` is 0: PyTorch's message names the segment only. The op is not known from outside; the
    module is one of `policy`, if there is one yet.
    """
    message = str(error)
    sizes = parse_message(message)
    allocated = sizes.get("allocated", 0)
    return OutOfMemory(
        step=step,
        phase=phase,
        module=innermost_module(error.__traceback__, policy),
        op="",
        requested_bytes=0,
        segment_bytes=sizes.get("tried", 0),
        allocated_bytes=allocated,
        reserved_bytes=allocated + sizes.get("unused", 0),
        message=message,
    )


def innermost_module(trace: TracebackType | None, policy: Any) -> str:
    """Return the path of the module of `policy` whose method stands innermost in a traceback, or nothing.

    In the backward pass no module is on the stack: the engine runs C++.
    """
    if policy is None:
        return ""
    paths = {id(module): path for path, module in own_modules(policy).items()}
    owners = [id(frame.f_locals.get("self")) for frame, _line in walk_tb(trace)]
    return next((paths[owner] for owner in reversed(owners) if owner in paths), "")
