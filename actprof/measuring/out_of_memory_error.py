"""Read what PyTorch says when it runs out of device memory, and find the module that asked."""

from __future__ import annotations

import re
from traceback import walk_tb
from types import TracebackType
from typing import Any

import torch

from actprof.out_of_memory import OutOfMemory
from actprof.units import GIB, KIB, MIB

_UNITS = {"bytes": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
# What the libraries raise where the device's memory is at an end and nobody asked PyTorch's allocator.
_WITHOUT_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
# cuDNN's plans were tried one after the other; that each failed for memory shows in the allocator's counter.
_NO_PLAN = "unable to find an engine to execute this computation"
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


def is_out_of_memory(error: BaseException, *, ooms: int) -> bool:
    """Tell whether `error` says that the device's memory is at an end, in PyTorch's words or a library's.

    Args:
        error: what a step raised.
        ooms: the allocator's `num_ooms`: requests that it refused so far.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    message = str(error)
    return any(text in message for text in _WITHOUT_MEMORY) or (_NO_PLAN in message and ooms > 0)


def parse_message(message: str) -> dict[str, int]:
    """Return the bytes that PyTorch's out-of-memory message names, by `_PATTERNS`; those that it has.

    PyTorch prints two decimals, so that a figure in GiB is exact to 5 MiB only.
    """
    found = {name: re.search(pattern, message) for name, pattern in _PATTERNS.items()}
    return {name: round(float(hit[1]) * _UNITS[hit[2]]) for name, hit in found.items() if hit}


def describe_failure(error: BaseException, *, step: int, phase: str, policy: Any) -> OutOfMemory:
    """Return the record of an out-of-memory error.

    `requested_bytes` is 0: PyTorch's message names the segment only. The op is not known from outside.

    Args:
        error: torch's `OutOfMemoryError`, or another for which `is_out_of_memory` holds.
        step: counted from 1; 0 while the run is set up.
        phase: of the step.
        policy: whose modules may have asked, or None.
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
    paths = {id(module): path for path, module in policy.named_modules()}
    owners = [id(frame.f_locals.get("self")) for frame, _line in walk_tb(trace)]
    return next((paths[owner] for owner in reversed(owners) if owner in paths), "")
