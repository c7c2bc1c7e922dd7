"""Replay a `Trace` through the `CachingAllocator`: batch size and conditions give a `MemoryProfile`."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.config import AllocatorConfig
from actprof.allocator.device_memory import DriverAddresses
from actprof.hardware import Device, Workspaces
from actprof.out_of_memory import OutOfMemory, OutOfMemoryError, out_of_memory_message
from actprof.replay.kernel_bytes import Kernels, other_workspaces
from actprof.replay.profile import MemoryProfile, Timeline
from actprof.replay.program import Program, build_program
from actprof.trace.model import PHASES, Trace

_MOST_STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConditions:
    """What decides a replay beside the trace and the batch size.

    Attributes:
        device: whose memory the run has; None for one without limit.
        config: the allocator's settings.
        workspaces: of the matrix libraries on it.
        torch_version: (major, minor) whose allocator is meant.
        kernels: what decides how much kernels take inside; None leaves that out.
    """

    device: Device | None = None
    config: AllocatorConfig = field(default_factory=AllocatorConfig)
    workspaces: Workspaces = field(default_factory=Workspaces)
    torch_version: tuple[int, int] = (2, 11)
    kernels: Kernels | None = None

    @property
    def context_bytes(self) -> int:
        """What the process holds beside its segments; 0 where no device is meant."""
        return 0 if self.device is None else self.device.gpu.context_bytes

    def without_limit(self) -> ReplayConditions:
        """Return the same without limit, and without the settings that mean nothing there."""
        config = replace(self.config, per_process_memory_fraction=None, garbage_collection_threshold=0.0)
        return replace(self, device=None, config=config)

    def program(self, trace: Trace, batch_size: int) -> Program:
        """Return what a replay of `trace` runs under these conditions."""
        return build_program(trace, batch_size, self.workspaces, self.kernels)


def replay(
    trace: Trace, batch_size: int, conditions: ReplayConditions, *, detail: bool = False
) -> MemoryProfile:
    """Return what training at `batch_size` does to the memory of a device.

    Steps are replayed until the reserved bytes settle or the run is out of memory. With `detail` the
    profile has the timeline and who is alive at the peak, at three times the cost.

    Raises:
        ValueError: the trace does not hold for `batch_size`.
    """
    if not trace.holds_for(batch_size):
        raise ValueError(f"this trace does not hold for batch size {batch_size}")
    return _Replay(trace, batch_size, conditions, detail=detail).run()


class _Replay:
    """One replay: where each tensor is, and what has happened so far."""

    def __init__(self, trace: Trace, batch_size: int, conditions: ReplayConditions, *, detail: bool) -> None:
        self.trace = trace
        self.batch_size = batch_size
        self.device, self.kernels = conditions.device, conditions.kernels
        self.program = conditions.program(trace, batch_size)
        self.sizes = self.program.sizes
        self.addresses = [0] * len(self.sizes)
        self.trials = deque(self.program.trials)
        self._place = DriverAddresses()
        self.steps = 0
        self.settled = True
        self.most_reserved = 0
        self.log = _Log() if detail else None
        self.allocator = CachingAllocator(
            conditions.config,
            capacity_bytes=None if self.device is None else self.device.available_bytes,
            total_bytes=None if self.device is None else self.device.gpu.capacity_bytes,
            torch_version=conditions.torch_version,
            place=None if conditions.config.expandable_segments else self._place,
        )

    def run(self) -> MemoryProfile:
        starts = [*self.program.step_starts, len(self.program.events)]
        try:
            self._play(0, starts[0])
            self._place.load_kernels()  # setting up copies and clears, which takes no kernel of PyTorch's
            for step, start in enumerate(starts[:-1]):
                self._step(start, self.program.update_starts[step], starts[step + 1])
            self._settle(starts[-2], self.program.update_starts[-1], starts[-1])
        except _RanOutError as stop:
            return self._profile(stop)
        return self._profile(None)

    def _settle(self, start: int, update: int, end: int) -> None:
        """Repeat the last step until it leaves the segments as it found them."""
        if self.trace.carried is None:
            return
        before = (-1, -1)
        while self.steps < _MOST_STEPS and before != (now := self._state()):
            before = now
            for old, new in self.trace.carried:
                self.addresses[old] = self.addresses[new]
            self._step(start, update, end)
        self.settled = before == self._state()

    def _state(self) -> tuple[int, int]:
        return self.allocator.reserved_bytes, self.allocator.num_alloc_retries

    def _step(self, start: int, update: int, end: int) -> None:
        self.steps += 1
        if self.log is not None:
            self.log.begin_step(update - start)
        self._play(start, update)
        self.most_reserved = max(self.most_reserved, self.allocator.peak_reserved_bytes)
        self.allocator.reset_peaks()  # as `update_policy` does
        self._play(update, end)
        self.most_reserved = max(self.most_reserved, self.allocator.peak_reserved_bytes)

    def _play(self, start: int, end: int) -> None:
        """Run the events from `start` to `end`."""
        while self.trials and self.trials[0] < end:
            position = self.trials.popleft()  # once: the plan is kept
            self._play_on(start, position)
            # The buffer in which cuDNN tries its plans is free again before the cache is emptied, so that
            # emptying it leaves the same segments as if there had been none.
            self.allocator.empty_cache()
            start = position
        self._play_on(start, end)

    def _play_on(self, start: int, end: int) -> None:
        malloc, free = self.allocator.malloc, self.allocator.free
        sizes, streams, addresses, log = self.sizes, self.program.streams, self.addresses, self.log
        position = start
        try:
            for position, event in enumerate(self.program.events[start:end], start):
                if event > 0:
                    addresses[event - 1] = malloc(sizes[event - 1], streams[event - 1])
                else:
                    free(addresses[-event - 1])
                if log is not None:
                    log.add(self.allocator, position)
        except OutOfMemoryError as error:
            if not self._take_another_plan(position):
                raise _RanOutError(error, position) from error
            if log is not None:
                log.add(self.allocator, position)
                log.add(self.allocator, position + 1)
            self._play_on(position + 2, end)

    def _take_another_plan(self, position: int) -> bool:
        """Run a convolution whose workspace found no room by the next plan that does; False if none does.

        The workspace is freed by the event behind its allocation.
        """
        problem = self.program.convolutions.get(self.program.events[position] - 1)
        if problem is None or self.kernels is None:
            return False
        return any(map(self._has_room, other_workspaces(problem, self.kernels)))

    def _has_room(self, size: int) -> bool:
        try:
            self.allocator.free(self.allocator.malloc(size))
        except OutOfMemoryError:
            return False
        return True

    # -- what came out ---------------------------------------------------------------------------------

    def _profile(self, stop: _RanOutError | None) -> MemoryProfile:
        allocator = self.allocator
        profile = MemoryProfile(
            batch_size=self.batch_size,
            steps=self.steps,
            peak_allocated_bytes=allocator.peak_allocated_bytes,
            peak_reserved_bytes=allocator.peak_reserved_bytes,
            most_reserved_bytes=max(self.most_reserved, allocator.peak_reserved_bytes),
            peak_requested_bytes=allocator.peak_requested_bytes,
            retries=allocator.num_alloc_retries,
            settled=self.settled,
            oom=None if stop is None else self._out_of_memory(stop),
        )
        if self.log is None:
            return profile
        peak = self.log.peak_position() if stop is None else stop.position - 1
        return replace(
            profile,
            peak_event=peak,
            alive_at_peak=self._alive_after(peak),
            timeline=self.log.timeline(self.program.phase_starts),
        )

    def _alive_after(self, position: int) -> NDArray[np.int64]:
        """Return the tensors that are alive after the event at `position`, workspaces included."""
        events = np.array(self.program.events[: position + 1], dtype=np.int64)
        alive = np.zeros(len(self.sizes), dtype=np.bool_)
        alive[events[events > 0] - 1] = True
        alive[-events[events < 0] - 1] = False
        return np.flatnonzero(alive).astype(np.int64)

    def _out_of_memory(self, stop: _RanOutError) -> OutOfMemory:
        error, device, ops = stop.error, self.device, self.trace.ops
        assert device is not None  # noqa: S101 - nothing runs out without limit
        row = self.program.ops[self.program.events[stop.position] - 1]
        return OutOfMemory(
            step=self.steps,
            phase=PHASES[int(ops.phase[row])],
            module=ops.modules[row],
            op=ops.names[row],
            requested_bytes=error.requested_bytes,
            segment_bytes=error.segment_bytes,
            allocated_bytes=error.allocated_bytes,
            reserved_bytes=error.reserved_bytes,
            message=out_of_memory_message(
                error,
                total_bytes=device.gpu.capacity_bytes,
                context_bytes=device.gpu.context_bytes,
                used_by_others_bytes=device.used_by_others_bytes,
            ),
        )


class _RanOutError(Exception):
    """The request at `position` of the program found no memory."""

    def __init__(self, error: OutOfMemoryError, position: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.position = position


class _Log:
    """Allocated and reserved bytes after every event, and where the last step's highest moment was."""

    def __init__(self) -> None:
        self._allocated: list[int] = []
        self._reserved: list[int] = []
        self._positions: list[int] = []
        self._step_starts: list[int] = []
        self._last_update = 0

    def begin_step(self, events_before_update: int) -> None:
        self._step_starts.append(len(self._allocated))
        self._last_update = len(self._allocated) + events_before_update

    def add(self, allocator: CachingAllocator, position: int) -> None:
        self._allocated.append(allocator.allocated_bytes)
        self._reserved.append(allocator.reserved_bytes)
        self._positions.append(position)

    def peak_position(self) -> int:
        values = self._allocated[self._last_update :]
        return self._positions[self._last_update + values.index(max(values))]

    def timeline(self, phase_starts: tuple[tuple[int, int], ...]) -> Timeline:
        starts = [position for position, _phase in phase_starts]
        phases = [phase for _position, phase in phase_starts]
        return Timeline(
            allocated=np.array(self._allocated, dtype=np.int64),
            reserved=np.array(self._reserved, dtype=np.int64),
            phase=np.array([phases[bisect_right(starts, p) - 1] for p in self._positions], dtype=np.int64),
            step_starts=tuple(self._step_starts),
        )
