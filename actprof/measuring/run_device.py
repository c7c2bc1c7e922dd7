"""The seam between a run and the device that it is on: what `steps.py` asks, and nothing else.

`CudaDevice` answers for a GPU, `RunDevice` itself for the CPU; tests have a stand-in.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actprof.measurement import DeviceFacts
from actprof.processes.fork_server import forked_from
from actprof.units import KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorCounters:
    """The allocator's counters; peaks since `update_policy` last reset them. All zero on the CPU."""

    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0
    retries: int = 0
    ooms: int = 0


class RunDevice:
    """What a run asks of its device; as it stands, the CPU: no allocator, and work is done at once."""

    torch_device = torch.device("cpu")

    def facts(self) -> DeviceFacts:
        """Return what it is: the processor's name, the machine's memory and torch's threads."""
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return DeviceFacts(
            type="cpu", name=processor_name(), total_bytes=total, threads=torch.get_num_threads()
        )

    def prepare(self, *, cap_bytes: int | None, cudnn_benchmark: bool) -> None:
        """Set what lerobot's training script sets, and hold the allocator to `cap_bytes`."""

    def mark(self) -> Any:
        """Return a moment in the device's queue."""
        return time.perf_counter()

    def seconds_between(self, start: Any, end: Any) -> float:
        """Return the seconds between two moments that the device has passed."""
        return float(end - start)

    def synchronize(self) -> None:
        """Wait until all queued work is done."""

    def memory(self) -> AllocatorCounters:
        """Return the allocator's counters."""
        return AllocatorCounters()

    def record_history(self) -> None:
        """Begin to write down what the allocator does."""

    def dump_snapshot(self, path: str) -> None:
        """Leave a memory snapshot of PyTorch in `path`."""
        raise NotImplementedError(path)


class CudaDevice(RunDevice):
    """The first GPU that this process sees."""

    torch_device = torch.device("cuda")

    def __init__(self, *, index: int = 0, driver: str = "") -> None:
        self._index = index
        self._driver = driver

    def facts(self) -> DeviceFacts:
        """Return what torch says of it; index and driver are NVML's."""
        properties = torch.cuda.get_device_properties(0)
        return DeviceFacts(
            type="cuda",
            name=properties.name,
            index=self._index,
            total_bytes=properties.total_memory,
            compute_capability=(properties.major, properties.minor),
            driver=self._driver,
            cuda=torch.version.cuda or "",
            cudnn=str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call] # torch's
        )

    def prepare(self, *, cap_bytes: int | None, cudnn_benchmark: bool) -> None:
        """Do what `lerobot.scripts.lerobot_train.train` does; the cap is PyTorch's memory fraction."""
        torch.backends.cudnn.benchmark = cudnn_benchmark
        torch.backends.cudnn.deterministic = not cudnn_benchmark
        torch.backends.cuda.matmul.allow_tf32 = True
        if cap_bytes is not None:
            total = torch.cuda.get_device_properties(0).total_memory
            # PyTorch cuts `fraction * total` to whole bytes: half a byte more gives exactly the cap.
            torch.cuda.set_per_process_memory_fraction(min((cap_bytes + 0.5) / total, 1.0))

    def mark(self) -> torch.cuda.Event:
        """Return an event of the current stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's
        event.record()
        return event

    def seconds_between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the device's own seconds."""
        return float(start.elapsed_time(end)) / 1000

    def synchronize(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize()

    def memory(self) -> AllocatorCounters:
        """Return the caching allocator's counters."""
        counters = torch.cuda.memory_stats()  # empty before the first use of CUDA
        return AllocatorCounters(
            peak_allocated_bytes=counters.get("allocated_bytes.all.peak", 0),
            peak_reserved_bytes=counters.get("reserved_bytes.all.peak", 0),
            retries=counters.get("num_alloc_retries", 0),
            ooms=counters.get("num_ooms", 0),
        )

    def record_history(self) -> None:
        """Record every event of the allocator, with Python stacks."""
        torch.cuda.memory._record_memory_history(stacks="python", max_entries=5_000_000)

    def dump_snapshot(self, path: str) -> None:
        """Write PyTorch's pickle."""
        torch.cuda.memory._dump_snapshot(path)  # type: ignore[no-untyped-call] # torch's


def processor_name() -> str:
    """Return the name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def resident_bytes() -> int:
    """Return the highest resident memory of this process so far.

    Where Linux tells it, of this program alone: `ru_maxrss` is no less than what started it held. A fork
    takes over what its parent has written, but not the pages of libraries that the parent has read: those
    count as well, as they would in a process that has imported them itself.
    """
    parent = forked_from()
    own = os.getpid()
    read = 0 if parent is None else max(_status_bytes(parent, "RssFile") - _status_bytes(own, "RssFile"), 0)
    highest = _status_bytes(own, "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    return highest + read


def _status_bytes(pid: int, name: str) -> int:
    """Return one of the sizes that Linux tells of a process; 0 where it does not."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0) * KIB
