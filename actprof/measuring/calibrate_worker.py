"""What runs in the process of a calibration: short work on the GPU and its time, and what the host takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Protocol

import torch

from actprof.hardware import find_gpu
from actprof.hardware.gpu import Gpu
from actprof.measurement import DeviceFacts
from actprof.measuring.calibrate import Found, Timed
from actprof.measuring.calibrate_probes import PROBES, New, Probe, Work, half_of, play_probe
from actprof.measuring.run_device import CudaDevice, processor_name
from actprof.measuring.small_step import play_small_step, seconds_of_passes
from actprof.measuring.training_steps import is_out_of_memory
from actprof.processes.child import tell
from actprof.step_time.rates import default_rates

_ROUNDS, _ROUND_SECONDS, _MOST_CALLS = 5, 0.1, 400
_AHEAD_CYCLES = 80_000  # of the GPU for each call, in which the host queues it: 40 us
_MOST_CYCLES = 100_000_000
_USED_SHARE = 0.9  # of the free memory
_STEPS = 40
_STAND_IN = "H100 80 GB"  # where the speed of the card is not known: launching costs as much


class Timer(Protocol):
    """A GPU that takes the time of work; tests have one that does not exist."""

    def facts(self) -> DeviceFacts:
        """Return which GPU it is."""

    def seconds_of(self, probe: Probe) -> float:
        """Return the seconds that the GPU works on a piece.

        Raises:
            RuntimeError: there is not enough memory, or the GPU cannot do it.
        """

    def launching(self) -> Mapping[str, float]:
        """Return the seconds of the host for the passes of a small step."""

    def is_out_of_memory(self, error: RuntimeError) -> bool:
        """Tell whether an error says that the memory is at an end."""


class CudaTimer(CudaDevice):
    """The first GPU that this process sees, set up as lerobot sets it up."""

    def __init__(self, *, index: int, driver: str) -> None:
        super().__init__(index=index, driver=driver)
        free, _total = torch.cuda.mem_get_info()
        self.prepare(cap_bytes=int(free * _USED_SHARE), cudnn_benchmark=True)

    def seconds_of(self, probe: Probe) -> float:
        """Return the median of some rounds; see `Timer`."""
        with torch.no_grad():
            work = probe.make(New(half_of(self.facts().compute_capability)))
            self._round(work, 3)  # plans are chosen, clocks rise
            once = self._round(work, 3)
            calls = max(3, min(_MOST_CALLS, round(_ROUND_SECONDS / once)))
            return median(self._round(work, calls) for _ in range(_ROUNDS))

    def _round(self, work: Work, calls: int) -> float:
        """Return the seconds of one of so many calls, which all wait in the queue before the first begins."""
        torch.cuda._sleep(min(calls * _AHEAD_CYCLES, _MOST_CYCLES))  # type: ignore[no-untyped-call] # torch's
        start = self.mark()
        for _ in range(calls):
            work()
        end = self.mark()
        self.synchronize()
        return self.seconds_between(start, end) / calls

    def launching(self) -> Mapping[str, float]:
        """Return the medians of some steps; the GPU works on one while the host is ahead of it."""
        return seconds_of_passes("cuda", steps=_STEPS, synchronize=self.synchronize)

    def is_out_of_memory(self, error: RuntimeError) -> bool:
        """Tell it by PyTorch's words and the allocator's counter."""
        return is_out_of_memory(error, ooms=self.memory().ooms)


def calibrate_host() -> Found:
    """Take the time of the host alone, in this process."""
    tell("a small training step on the CPU")
    return Found(processor=processor_name(), dispatching=_dispatching())


def calibrate_gpu(gpu: Gpu, index: int, driver: str) -> Found:
    """Take the time of the first GPU that this process sees, and of the host."""
    return time_probes(gpu, CudaTimer(index=index, driver=driver))


def time_probes(gpu: Gpu, timer: Timer, probes: Sequence[Probe] = PROBES) -> Found:
    """Return what `probes` take on the GPU of `timer`, beside what is predicted of `gpu`, and the host."""
    notes: list[str] = []
    timed: list[Timed] = []
    for place, probe in enumerate(probes, start=1):
        tell(f"{probe.name}, {place} of {len(probes)}")
        played = play_probe(probe, gpu)
        if played is None:
            notes.append(f"nobody knows the {gpu.name}'s bandwidth or FLOP/s: only the host was measured")
            break
        try:
            seconds = timer.seconds_of(probe)
        except RuntimeError as error:
            why = "not enough free memory" if timer.is_out_of_memory(error) else str(error).splitlines()[0]
            notes.append(f"{probe.name} was left out: {why}")
            continue
        gaps = len(played.kernels) * default_rates().gap
        timed.append(Timed(probe.name, probe.group, seconds, played.kernels, played.times, gaps))
    tell("a small training step")
    played = play_small_step(gpu) or play_small_step(find_gpu(_STAND_IN))
    return Found(
        processor=processor_name(),
        device=timer.facts(),
        timed=tuple(timed),
        launching=timer.launching(),
        expected_seconds=0.0 if played is None else sum(launch.host for launch in played.launches),
        dispatching=_dispatching(),
        notes=tuple(notes),
    )


def _dispatching(now: Callable[[], float] = time.process_time) -> Mapping[str, float]:
    """Return the processor's own seconds: what other programs take meanwhile is not counted."""
    torch.set_num_threads(1)
    return seconds_of_passes("cpu", steps=_STEPS, now=now)
