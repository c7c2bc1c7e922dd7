"""Running out of device memory: the error of the allocator, and PyTorch's message, written and read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actprof.errors import ActprofError
from actprof.units import GIB, KIB, MIB

_ADVICE = (
    "If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    " to avoid fragmentation.  See documentation for Memory Management  "
    "(https://docs.pytorch.org/docs/stable/notes/cuda.html"
    "#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
)
_UNITS = {"bytes": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_SIZE = r"(\d+(?:\.\d+)?) (bytes|KiB|MiB|GiB)"
_PATTERNS = {
    "tried": rf"Tried to allocate {_SIZE}",
    "total": rf"total capacity of {_SIZE}",
    "free": rf"of which {_SIZE} is free",
    "process": rf"this process has {_SIZE} memory in use",
    "allowed": rf"{_SIZE} allowed",
    "allocated": rf"Of the allocated memory {_SIZE} is allocated by PyTorch",
    "unused": rf"{_SIZE} is reserved by PyTorch but unallocated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """The allocation that found no memory.

    Attributes:
        step: training step, counted from 1; 0 while the run is set up.
        phase: of the step (`forward`, `backward`, …).
        module: path of the module that asked; empty outside the policy.
        op: ATen op that asked.
        requested_bytes: what the op asked for.
        segment_bytes: what PyTorch tried to get from the device, as its message says.
        allocated_bytes, reserved_bytes: at that moment, with the cache released.
        message: PyTorch's own text.
    """

    step: int
    phase: str
    module: str
    op: str
    requested_bytes: int
    segment_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    message: str


@dataclass(kw_only=True, eq=False)
class OutOfMemoryError(ActprofError):
    """A request that found no memory, even after the cache had been released: that of then.

    Attributes:
        rounded_bytes: the block that it would have got.
        segment_bytes: the segment that it would have needed: what PyTorch says it "tried to allocate".
        allowed_bytes: the cap of the memory fraction, where one is set.
    """

    requested_bytes: int
    rounded_bytes: int
    segment_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    allowed_bytes: int | None = None

    def __str__(self) -> str:
        return (
            f"CUDA out of memory. Tried to allocate {_format(self.segment_bytes)} "
            f"with {_format(self.allocated_bytes)} allocated and {_format(self.reserved_bytes)} reserved."
        )


def out_of_memory_message(
    error: OutOfMemoryError,
    *,
    total_bytes: int,
    context_bytes: int = 0,
    used_by_others_bytes: int = 0,
    device: int = 0,
) -> str:
    """Return what PyTorch 2.11 says when `error` happens (DeviceCachingAllocator::malloc).

    Args:
        error: what the allocator raised.
        total_bytes: the device's memory as torch reports it.
        context_bytes: what this process holds outside the allocator (CUDA context, libraries).
        used_by_others_bytes: what other processes and the driver hold.
        device: the index of the GPU.
    """
    in_use = error.reserved_bytes + context_bytes
    unused = error.reserved_bytes - error.allocated_bytes
    free = max(total_bytes - in_use - used_by_others_bytes, 0)
    allowed = "" if error.allowed_bytes is None else f"{_format(error.allowed_bytes)} allowed; "
    return (
        f"CUDA out of memory. Tried to allocate {_format(error.segment_bytes)}. "
        f"GPU {device} has a total capacity of {_format(total_bytes)} of which {_format(free)} is free. "
        f"Including non-PyTorch memory, this process has {_format(in_use)} memory in use. {allowed}"
        f"Of the allocated memory {_format(error.allocated_bytes)} is allocated by PyTorch, "
        f"and {_format(unused)} is reserved by PyTorch but unallocated. " + _ADVICE
    )


def _format(size: int) -> str:
    """Write a size as c10's `format_size` does: two decimals from KiB on, whole bytes below."""
    if size <= KIB:
        return f"{size} bytes"
    for unit, scale in (("GiB", GIB), ("MiB", MIB)):
        if size > scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size / KIB:.2f} KiB"


def parse_message(message: str) -> dict[str, int]:
    """Return the bytes that PyTorch's out-of-memory message names, by `_PATTERNS`; those that it has.

    PyTorch prints two decimals, so that a figure in GiB is exact to 5 MiB only.
    """
    found = {name: re.search(pattern, message) for name, pattern in _PATTERNS.items()}
    return {name: round(float(hit[1]) * _UNITS[hit[2]]) for name, hit in found.items() if hit}
